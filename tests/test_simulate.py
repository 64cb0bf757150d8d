"""The tabletop: each attack trips its rule, the report says what each hop took, and no real org is ever touched."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from poller import exceptions, schema
from poller.demo import tabletop
from poller.demo.attacks import ATTACKS
from poller.demo.okta_events import Ids, as_written
from poller.demo.okta_log import milliseconds
from poller.demo.staff import hire
from poller.errors import UsageError
from poller.normalize import normalize
from poller.raw import decompress
from poller.rules import load_rules
from poller.settings import OrgSettings, Settings
from poller.store import Store
from tests.command_line import CommandLine
from tests.delivery import deliver
from tests.timelines import approved, denied

OPENAPI = Path(__file__).parents[2] / "shared" / "okta-openapi" / "system-log.yaml"
START = milliseconds("2026-11-24T12:00:00Z")
USER = "alice@example.com"
HOSTILE = "\x1b]0;owned\x07<b>[red]' or 1=1 --\u202eecila\n=cmd()|" + "x" * 3000

# What else may be said of each attack; each of them is told by an address that Okta knows as a proxy, but for some.
OTHERS = {
    "push_fatigue": {"number_challenge_stopped", "push_answered_elsewhere"},
    "push_fatigue_classic": {"push_answered_elsewhere"},
    "push_flood": {"push_answered_elsewhere"},
    "suspicious_activity_reported": {"mfa_downgraded"},
}
ANYWHERE = {"login_through_anonymizer"}
_OWN_RULE = """/*
title: A wrong number
id: 0d8f4b0c-5a53-4c1e-9f0e-5e9d5b0a1c11
status: experimental
description: A rule of one's own.
level: low
tags: [attack.credential-access]
parameters: {}
lookback: 1m
summary: ["{user}"]
*/
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'wrong' as role
from push_rejected
where org = :org and time >= :since and time < :until
"""


def enabled() -> list[Any]:
    return [rule for rule in load_rules() if rule.enabled]


def play(url: str, name: str = "push_fatigue", org: str = "simulated-drill", user: str = USER, **more: Any) -> Any:
    return tabletop.play(Settings(database_url=url, **more), org, ATTACKS[name], user, enabled())


def rows(url: str, but: str = "") -> dict[str, list[Any]]:
    """Every row of every table, but for those of one org."""
    with Store(url) as store, store.reading() as connection:
        if not but:
            return {table.name: dump(connection, sa.select(table)) for table in schema.metadata.sorted_tables}
        findings = schema.findings
        ours = sa.select(findings.c.uid).where(findings.c.org == but)
        kept = {}
        for table in schema.metadata.sorted_tables:
            query = sa.select(table)
            if "org" in table.c:
                query = query.where(sa.func.coalesce(table.c.org, "") != but)
            elif "finding_uid" in table.c:
                query = query.where(table.c.finding_uid.not_in(ours))
            kept[table.name] = dump(connection, query)
        return kept


def dump(connection: sa.Connection, query: Any) -> list[Any]:
    return sorted(repr(tuple(row)) for row in connection.execute(query))


def a_real_org(url: str, org: str = "acme.okta.com") -> None:
    attack = [denied("a", "09:00:00"), denied("b", "09:01:00"), approved("c", "09:02:00")]
    with Store(url) as store:
        deliver(store, [*(event.wire() for event in attack), b"no event"], org=org)
        uid = next(iter(rows_of(store, schema.findings))).uid
        store.set_status(uid, "resolved", "benign", "a test", datetime.now(UTC))


def rows_of(store: Store, table: sa.Table, org: str | None = None) -> list[Any]:
    with store.reading() as connection:
        query = sa.select(table)
        return list(connection.execute(query if org is None else query.where(table.c.org == org)))


# The attacks


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_trips_its_rule_and_only_plausible_others(database_url: str, name: str) -> None:
    played = play(database_url, name)
    rules = {found["rule"] for found in played.findings}
    assert played.has_fired
    assert rules - {ATTACKS[name].rule} <= OTHERS.get(name, set()) | ANYWHERE
    assert {found["org"] for found in played.findings} == {"simulated-drill"}
    about = {found["user_name"] for found in played.findings if found["rule"] == ATTACKS[name].rule}
    assert about <= {USER, None}


@pytest.mark.skipif(not OPENAPI.exists(), reason="Okta's OpenAPI document is not beside the repository")
@pytest.mark.parametrize("name", ATTACKS)
def test_every_event_is_one_by_oktas_openapi_document_and_is_normalized_whole(name: str) -> None:
    from openapi_schema_validator import OAS30ReadValidator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    document = yaml.safe_load(OPENAPI.read_text("utf-8"))
    registry = Registry().with_resource("okta", Resource(contents=document, specification=DRAFT4))
    schema = {"$ref": "okta#/components/schemas/LogEvent"}
    validator = OAS30ReadValidator(schema, registry=registry, format_checker=OAS30ReadValidator.FORMAT_CHECKER)
    chance = random.Random(name)
    for _, event in ATTACKS[name].timeline(Ids(chance), hire(chance, 4).person, START):
        event = tabletop.marked(event, "simulated-drill")
        assert [error.message for error in validator.iter_errors(event)] == []
        for form in (event, as_written(event)):
            row = normalize(json.dumps(form).encode())
            assert None not in (row.user_uid, row.src_ip, row.src_country, row.src_asn, row.user_agent)
            assert str(row.src_ip).startswith(("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:"))


def test_the_last_event_happens_now_and_every_event_says_that_it_is_simulated(database_url: str) -> None:
    before = datetime.now(UTC)
    played = play(database_url)
    with Store(database_url) as store:
        events = rows_of(store, schema.events, "simulated-drill")
    latest = datetime.fromtimestamp(max(event.time for event in events) / 1000, UTC)
    assert before - timedelta(milliseconds=1) <= latest <= datetime.now(UTC)
    assert len(events) == played.events
    for event in events:
        debug = json.loads(decompress(bytes(event.raw)))["debugContext"]["debugData"]
        assert (debug["simulatedBy"], debug["simulatedOrg"]) == ("poller simulate", "simulated-drill")


def test_one_org_can_be_played_into_again_and_each_play_has_findings_of_its_own(database_url: str) -> None:
    plays = [play(database_url, name) for name in ("push_fatigue", "push_abandoned_many_users", "push_fatigue")]
    assert all(played.has_fired for played in plays)
    uids = [found["uid"] for played in plays for found in played.findings]
    assert len(uids) == len(set(uids))


def test_the_hops_follow_one_another_and_add_up(database_url: str) -> None:
    played = play(database_url)
    assert [hop.step for hop in played.hops] == ["published", "served", "fetched", "committed", "visible"]
    assert all(hop.delay >= 0 and hop.events == played.events for hop in played.hops)
    assert played.hops[-1].findings == len(played.findings)
    assert played.total == pytest.approx(sum(hop.delay for hop in played.hops), abs=1)


# Nothing else is touched


def test_no_row_of_a_real_org_changes_by_a_play_or_by_its_removal(database_url: str) -> None:
    a_real_org(database_url)
    with Store(database_url) as store:
        wanted = exceptions.Wanted(
            rule=None,
            org=None,
            user=USER,
            network=None,
            reason="a red team",
            owner="sec@acme.example",
            end=datetime.now(UTC) + timedelta(days=9),
        )
        number = exceptions.add(store, wanted, datetime.now(UTC))
    before = rows(database_url)
    played = play(database_url)
    assert rows(database_url, but="simulated-drill") == before
    assert {one for one, _ in played.excepted} == {number}
    assert {found["status"] for found in played.findings} == {"new"}
    with Store(database_url) as store:
        store.set_status(played.findings[0]["uid"], "in_progress", None, "a drill", datetime.now(UTC))
        deleted = tabletop.remove(store, "simulated-drill", set())
    assert deleted["events"] == played.events
    assert deleted["finding_history"] == 1
    assert rows(database_url) == before


def test_what_is_not_a_simulated_org_is_never_removed(database_url: str) -> None:
    a_real_org(database_url)
    a_real_org(database_url, "simulated-but-real")
    before = rows(database_url)
    with Store(database_url) as store:
        for org, configured, said in (
            ("acme.okta.com", set(), "no simulated org"),
            ("Simulated-drill", set(), "no simulated org"),
            ("simulated-drill", {"simulated-drill"}, "an org of the settings"),
            ("simulated-but-real", set(), "may be a real org"),
            ("simulated-drill", set(), "there is no simulated org"),
        ):
            with pytest.raises(UsageError, match=said):
                tabletop.remove(store, org, configured)
    assert rows(database_url) == before


def test_a_simulated_org_that_took_in_something_real_is_real(database_url: str) -> None:
    play(database_url)
    with Store(database_url) as store:
        deliver(store, [denied("a", "09:00:00").wire()], org="simulated-drill")
        before = rows(database_url)
        with pytest.raises(UsageError, match="may be a real org"):
            tabletop.remove(store, "simulated-drill", set())
    with pytest.raises(UsageError, match="may be a real org"):
        play(database_url)
    assert rows(database_url) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda connection: connection.execute(sa.update(schema.orgs).values(lease_epoch=1)),
        lambda connection: connection.execute(sa.update(schema.orgs).values(next_link="https://acme.okta.com/x")),
        lambda connection: connection.execute(sa.update(schema.pages).values(link_in="https://acme.okta.com/x")),
        lambda connection: connection.execute(sa.delete(schema.orgs)),
    ],
    ids=["polled by a daemon", "a cursor from elsewhere", "a page from elsewhere", "no such org"],
)
def test_any_sign_of_another_hand_is_enough_to_leave_it_alone(
    new_database: Callable[[str], str], spoil: Callable[[sa.Connection], Any]
) -> None:
    url = new_database("sqlite")
    play(url, "refresh_token_reused")
    with Store(url) as store:
        with store.writing() as connection:
            spoil(connection)
        with pytest.raises(UsageError, match="may be a real org"):
            tabletop.remove(store, "simulated-drill", set())


def test_names_of_real_orgs_are_refused_as_that_of_a_simulated_one(database_url: str) -> None:
    a_real_org(database_url)
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    settings = Settings(
        database_url=database_url,
        okta_org_url="https://www.example.com",
        orgs=(OrgSettings(name="simulated-prod", org_url="https://prod.example.com"),),
    )
    assert tabletop.configured(settings) == {"www.example.com", "simulated-prod"}
    with Store(database_url) as store:

        def name(given: str) -> str:
            return tabletop.org_name(store, given, "push_flood", now, tabletop.configured(settings))

        assert name("") == "simulated-push_flood-20261124-120000"
        assert name("drill") == name("simulated-drill") == "simulated-drill"
        for given in (
            "acme.okta.com",
            "www.example.com",
            "simulated-prod",
            "a b",
            "../x",
            "x" * 81,
            "simulated-",
            "\x1b",
        ):
            with pytest.raises(UsageError):
                name(given)
    with pytest.raises(UsageError, match="an org of the settings"):
        tabletop.play(settings, "simulated-prod", ATTACKS["push_flood"], USER, enabled())
    with pytest.raises(UsageError, match="no simulated org"):
        tabletop.play(settings, "acme.okta.com", ATTACKS["push_flood"], USER, enabled())


# The command


@pytest.fixture
def poller(database_url: str, tmp_path: Path) -> CommandLine:
    # An org that can't be asked: nobody does.
    org = {"POLLER_OKTA_ORG_URL": "https://acme.invalid", "POLLER_OKTA_API_TOKEN_FILE": "/nowhere/token"}
    return CommandLine(tmp_path, {"POLLER_DATABASE_URL": database_url, **org})


def test_without_an_attack_the_attacks_are_listed(tmp_path: Path) -> None:
    poller = CommandLine(tmp_path, {"COLUMNS": "100"})
    told = poller("simulate")
    assert told.code == 0
    assert told.out == poller("simulate", "--list").out
    listed = poller("simulate", "--format", "json").json()
    assert [one["attack"] for one in listed] == list(ATTACKS)
    for one in listed:
        assert one["attack"] in told.out
        assert one["description"] in told.out
        assert one["rule"] in {rule.name for rule in load_rules()}
    assert not list(tmp_path.iterdir())


def test_a_play_is_reported_found_again_and_removed(poller: CommandLine) -> None:
    report = poller("simulate", "number_challenge_stopped", "--user", HOSTILE, "--org", "drill", "--format", "json")
    assert report.code == 0, report.err
    told = report.json()
    assert (told["org"], told["fired"], told["user"]) == ("simulated-drill", True, HOSTILE)
    assert [hop["step"] for hop in told["hops"]] == ["published", "served", "fetched", "committed", "visible"]
    assert all(isinstance(hop["delay_ms"], float | int) for hop in told["hops"])
    assert told["total_ms"] > 0
    found = poller("findings", "--org", "simulated-drill", "--format", "json").json()
    assert [one["uid"] for one in found] == [one["uid"] for one in told["findings"]]
    removed = poller(*told["remove"].split()[1:], "--format", "json").json()
    assert removed["deleted"]["events"] == told["events"]
    assert poller("findings", "--org", "simulated-drill", "--format", "json").json() == []


def test_the_page_is_safe_to_read_and_names_what_to_do_next(poller: CommandLine) -> None:
    report = poller("simulate", "number_challenge_stopped", "--user", HOSTILE, "--org", "drill")
    assert report.code == 0, report.err
    assert "number_challenge_stopped fired." in report.out
    assert not {"\x1b", "\x07", "\u202e"} & set(report.out)
    commands = [line.split()[1:] for line in report.out.splitlines() if line.startswith("  poller ")]
    assert [words[0] for words in commands] == ["findings", "findings", "events", "simulate"]
    assert [poller(*words).code for words in commands] == [0, 0, 0, 0]


def test_an_expected_rule_that_does_not_fire_is_an_exit_code_of_1(poller: CommandLine) -> None:
    (poller.folder / "poller.toml").write_text("[rules.push_denials]\nrejections = 9\n")
    report = poller("simulate", "push_denials", "--user", USER)
    assert report.code == 1
    assert "push_denials did NOT fire." in report.out


def test_a_rule_that_is_off_is_run_for_its_own_attack_only(poller: CommandLine) -> None:
    (poller.folder / "poller.toml").write_text(
        "[rules.push_denials]\nenabled = false\n[rules.login_through_anonymizer]\nenabled = false\n"
    )
    report = poller("simulate", "push_denials", "--user", USER, "--format", "json")
    assert report.code == 0, report.err
    assert report.json()["expected_rule_was_off"] is True
    assert {found["rule"] for found in report.json()["findings"]} == {"push_denials"}


def test_rules_of_ones_own_run_too_and_have_a_hop_of_their_own(poller: CommandLine) -> None:
    folder = poller.folder / "rules" / "wrong_number"
    folder.mkdir(parents=True)
    (folder / "rule.sql").write_text(_OWN_RULE)
    (folder / "README.md").write_text("# A wrong number\n")
    report = poller.having(POLLER_RULES_PATH="rules")(
        "simulate", "number_challenge_stopped", "--user", USER, "--format", "json"
    )
    assert report.code == 0, report.err
    told = report.json()
    assert {found["rule"] for found in told["findings"]} == {"number_challenge_stopped", "wrong_number", *ANYWHERE}
    assert [hop["step"] for hop in told["hops"]][-2:] == ["rules worked off", "visible"]
    assert told["hops"][-1]["findings"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("push_fatigue",), "who is attacked"),
        (("push_fatigue", "--user", " "), "who is attacked"),
        (("push_fatigues", "--user", USER), "there is no attack"),
        (("--user", USER), "which attack"),
        (("push_fatigue", "--user", USER, "--org", "acme.invalid"), "is a real org"),
        (("push_fatigue", "--user", USER, "--org", "a\x1bb"), "can't be the name"),
        (("push_fatigue", "--remove", "simulated-drill"), "--remove stands alone"),
        (("--remove", "acme.invalid"), "is no simulated org"),
        (("--remove", "simulated-drill"), "there is no simulated org"),
    ],
)
def test_wrong_usage_is_one_line_and_an_exit_code_of_2(
    new_database: Callable[[str], str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    settings = {"POLLER_DATABASE_URL": new_database("sqlite"), "POLLER_OKTA_ORG_URL": "https://acme.invalid"}
    result = CommandLine(tmp_path, settings)("simulate", *words)
    assert result.code == 2
    assert said in result.err
    assert (result.err.count("\n"), result.out) == (1, "")
    assert "\x1b" not in result.err


def test_a_postgres_without_the_schema_is_left_without_it(postgres_server: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute("drop database if exists simulate_empty")
        connection.execute("create database simulate_empty")
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": postgres_server.format("simulate_empty")})
    result = poller("simulate", "push_fatigue", "--user", USER)
    assert result.code == 1
    assert "poller migrate" in result.err
