"""The timelines beside the rules, on both databases and in both orders; and what `timelines.yml` may say."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import KINDS
from poller.activities import activity_views
from poller.errors import RuleError
from poller.normalize import Event, normalize
from poller.rules import RULES_FOLDER, load_rules, read_rule
from poller.rules.timeline_events import KEYS, activities
from poller.rules.timelines import Timeline, agree, read_timelines, records, run
from poller.store import Store
from tests.command_line import ROOT, CommandLine

FOLDERS = sorted(path.parent for path in RULES_FOLDER.glob("*/rule.sql"))
ORGS = (f"timeline-{number}" for number in itertools.count())
HEADER = """/*
title: Something
id: 5f0c7b0e-6a3c-4d5e-9a55-3f6f2a1f4f10
level: low
parameters: {tokens: 2, window: 1h}
lookback: window
*/
"""
TWO_TOKENS = """
with counted as (
    select *, count(*) over (partition by org, user_uid order by time, uid) as tokens
    from api_token_created where org = :org and time >= :since - :window and time < :until
)
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'token' as role
from counted where tokens = :tokens and time >= :since
"""
FIRES = """\
- title: fires at the second token
  timeline: |
    09:00  alice  api_token_created
    09:01  alice  api_token_created
  findings: ["alice 09:01:00-09:01:00 1 event"]
"""


def timelines() -> Iterator[Any]:
    """Each timeline of each rule about events; a rule whose file can't be read is one case, which fails."""
    for folder in FOLDERS:
        try:
            rule = read_rule(folder)
            for timeline in read_timelines(rule) if rule.is_about_events() else ():
                yield pytest.param(timeline, id=f"{folder.name}: {timeline.title}")
        except RuleError as error:
            yield pytest.param(error, id=f"{folder.name}: can't be read")


@pytest.fixture(scope="module", params=KINDS)
def shared_store(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> Iterator[Store]:
    """One database for all timelines: each has an org of its own."""
    with Store(new_database(request.param)) as store:
        yield store


@pytest.mark.parametrize("is_reversed", [False, True], ids=["at once", "last first, one by one"])
@pytest.mark.parametrize("timeline", list(timelines()))
def test_a_rule_finds_what_its_timelines_say(
    shared_store: Store, timeline: Timeline | RuleError, is_reversed: bool
) -> None:
    if isinstance(timeline, RuleError):
        raise timeline
    page = 1 if is_reversed else 1000
    found = run(shared_store, timeline, next(ORGS), page=page, is_reversed=is_reversed)
    assert agree(found, timeline.expected), f"{timeline.where}: found {found}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_rule_about_events_has_a_timeline_that_fires_and_one_that_is_quiet(folder: Path) -> None:
    rule = read_rule(folder)
    if not rule.is_about_events():
        return
    expected = [timeline.expected for timeline in read_timelines(rule)]
    assert any(expected)
    assert not all(expected)


# ---- the records ----


def event(line: str) -> Event:
    (record,) = records(line)
    return normalize(record)


@pytest.mark.parametrize("activity", sorted(activities().keys() & activity_views().keys()))
def test_an_activity_by_its_name_is_in_the_view_of_that_name(shared_store: Store, activity: str) -> None:
    org = next(ORGS)
    rule = read_rule(RULES_FOLDER / "push_fatigue")
    run(shared_store, Timeline("", rule, "", records(f"09:00 alice {activity}"), (), ""), org)
    with shared_store.reading() as connection:
        query = sa.text(f"select activity from {activity} where org = :org")
        assert connection.execute(query, {"org": org}).scalars().all() == [activity]


PLACES = "ip=198.51.100.7 country=Romania city=Cluj lat=46.77 lon=-23.6"
DEVICE = "agent='curl/8 (x)' os=iOS device=Mobile token=T"


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        ("09:00 alice app_opened", "time", 1773133200000),
        ("-20d09:00:01.250 alice app_opened", "time", 1773133200000 - 20 * 86_400_000 + 1250),
        ("09:00 alice app_opened", "user_uid", "00ualice"),
        ("09:00 alice app_opened", "user_name", "alice@example.com"),
        ("09:00 ?alice password_refused", "user_uid", "unknown"),
        ("09:00 ?alice password_refused", "user_name", "alice@example.com"),
        ("09:00 - system.api_token.create", "user_uid", None),
        ("09:00 - system.api_token.create", "actor_type", "SystemPrincipal"),
        ("09:00 - system.api_token.create", "event_type", "system.api_token.create"),
        ("09:00 - user.account.lock user=bob", "user_uid", "00ubob"),
        ("09:00 alice app_opened actor_type=PublicClientApp", "actor_type", "PublicClientApp"),
        ("09:00 ?somebody password_refused name=Winter!2026", "actor_name", "Winter!2026"),
        ("09:00 - system.api_token.create", "actor_name", "system@okta.com"),
        ("09:00 alice app_opened", "outcome", "SUCCESS"),
        ("09:00 alice app_opened outcome=", "outcome", None),
        ("09:00 alice app_opened outcome=FAILURE reason='no way'", "outcome_reason", "no way"),
        ("09:00 alice app_opened", "src_ip", "192.0.2.1"),
        (f"09:00 alice app_opened {PLACES}", "src_ip", "198.51.100.7"),
        (f"09:00 alice app_opened {PLACES}", "src_country", "Romania"),
        (f"09:00 alice app_opened {PLACES}", "src_city", "Cluj"),
        (f"09:00 alice app_opened {PLACES}", "src_lat", 46.77),
        (f"09:00 alice app_opened {PLACES}", "src_lon", -23.6),
        ("09:00 alice app_opened country=Romania", "src_city", None),
        ("09:00 alice app_opened asn=64500", "src_asn", 64500),
        ("09:00 alice app_opened asn=64500", "src_as_org", None),
        ("09:00 alice app_opened network='example hosting'", "src_as_org", "example hosting"),
        ("09:00 alice app_opened proxy=true", "is_proxy", True),
        (f"09:00 alice app_opened {DEVICE}", "user_agent", "curl/8 (x)"),
        (f"09:00 alice app_opened {DEVICE}", "device", "Mobile"),
        (f"09:00 alice app_opened {DEVICE}", "device_token", "T"),
        ("09:00 alice push_rejected", "factor", "OKTA_VERIFY_PUSH"),
        ("09:00 alice mfa_succeeded factor=FIDO_WEBAUTHN", "factor", "FIDO_WEBAUTHN"),
        ("09:00 alice push_rejected", "push_response", "OV_RESPONSE_DENY"),
        ("09:00 alice push_rejected response=X", "push_response", "X"),
        ("09:00 alice push_rejected number=X", "number_challenge_response", "X"),
        ("09:00 alice push_rejected intent=X", "factor_intent", "X"),
        ("09:00 alice push_rejected challenge=08:59", "challenge_time", 1773133140000),
        ("09:00 alice push_rejected sign_in=A", "authn_request_uid", "A"),
        ("09:00 alice push_rejected sign_in=A", "session_uid", "idxA"),
        ("09:00 alice push_rejected sign_in=A", "root_session_uid", "idxA"),
        ("09:00 alice push_rejected_classic", "authn_request_uid", None),
        ("09:00 alice app_opened session=S", "session_uid", "S"),
        ("09:00 alice app_opened session=S", "root_session_uid", "S"),
        ("09:00 alice app_opened session=S root=R", "root_session_uid", "R"),
        ("09:00 alice app_opened transaction=T", "transaction_uid", "T"),
        ('09:00 alice app_opened app="Okta Admin Console"', "app_name", "Okta Admin Console"),
        ('09:00 alice app_opened app="Okta Admin Console"', "app_uid", "AppInstance-Okta-Admin-Console"),
        ("09:00 alice zone.update target=Blocked target_type=NetworkZone", "target_name", "Blocked"),
        ("09:00 alice zone.update target=Blocked target_type=NetworkZone", "target_type", "NetworkZone"),
        ("09:00 alice zone.update target=Blocked target_type=NetworkZone", "target_uid", "NetworkZone-Blocked"),
        ("09:00 alice factors_reset user=bob", "user_uid", "00ualice"),
        ("09:00 alice factors_reset user=bob", "target_user_uid", "00ubob"),
        ("09:00 alice factors_reset user=bob", "target_user_name", "bob@example.com"),
        ("09:00 alice factor_removed", "target_user_uid", "00ualice"),
        ("09:00 alice admin_role_granted user=bob role='Super Administrator'", "privilege", "Super Administrator"),
        ("09:00 alice admin_role_revoked user=bob role='Super Administrator'", "privilege", "Super Administrator"),
        ("09:00 alice iam.resourceset.bindings.add role=R", "privilege", "R"),
        ("09:00 alice app_opened uri=/app/x", "request_uri", "/app/x"),
        (
            "09:00 alice app_opened behaviors='New IP,New Device'",
            "behaviors",
            "{New Geo-Location=NEGATIVE, New Device=POSITIVE, New IP=POSITIVE, New State=NEGATIVE,"
            " New Country=NEGATIVE, Velocity=NEGATIVE, New City=NEGATIVE}",
        ),
        ("09:00 alice app_opened risk=HIGH", "risk_level", "HIGH"),
        ("09:00 alice app_opened threat=true", "threat_suspected", True),
        ("09:00 - threat_detected threats='{Password Spray=HIGH}'", "threat_detections", "{Password Spray=HIGH}"),
        ("09:00 alice app_opened message=Hello", "message", "Hello"),
        ("09:00 alice app_opened severity=ERROR", "severity", "ERROR"),
        ("09:00 alice push_rejected", "severity", "WARN"),
    ],
)
def test_what_a_line_says_is_in_the_event(line: str, column: str, value: object) -> None:
    assert getattr(event(line), column) == value


def test_every_key_is_tried_above_and_documented() -> None:
    told = (ROOT / "docs/rules.md").read_text("utf-8").split("## Timelines")[1].split("\n## ")[0]
    (tried,) = (mark.args[1] for mark in test_what_a_line_says_is_in_the_event.pytestmark)
    lines = " ".join(line for line, *_ in tried)
    for key in KEYS:
        assert f"`{key}`" in told, key
        assert f" {key}=" in lines or key == "uuid", key


def test_the_timelines_of_the_documents_are_right(shared_store: Store, tmp_path: Path) -> None:
    shutil.copytree(RULES_FOLDER / "push_fatigue", tmp_path / "push_fatigue")
    told = (ROOT / "docs/rules.md").read_text("utf-8").split("## Timelines")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "push_fatigue/timelines.yml").write_text(told)
    made = read_timelines(read_rule(tmp_path / "push_fatigue"))
    assert [agree(run(shared_store, timeline, next(ORGS)), timeline.expected) for timeline in made] == [True, True]


def test_events_are_each_of_a_user_at_an_address_and_in_a_sign_in_of_its_own() -> None:
    made = [normalize(record) for record in records("09:00 alice app_opened\n\n# then\n09:00 bob app_opened\n" * 2)]
    assert [item.src_ip for item in made] == ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]
    for column in ("uid", "session_uid", "transaction_uid", "authn_request_uid"):
        assert len({getattr(item, column) for item in made}) == 4


def test_a_uuid_that_is_given_twice_is_one_event_that_comes_twice() -> None:
    first, second = records("09:00 alice app_opened uuid=X\n09:00 alice app_opened uuid=X sign_in=Z")
    assert normalize(first).uid == normalize(second).uid


# ---- the file ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A rule of a user, with timelines."""
    folder = tmp_path / "rules" / "two_tokens"
    folder.mkdir(parents=True)
    (folder / "rule.sql").write_text(HEADER + TWO_TOKENS)
    (folder / "README.md").write_text("# Runbook\n")
    (folder / "timelines.yml").write_text(FIRES)
    return folder


@pytest.mark.parametrize(
    ("before", "after", "line", "complaint"),
    [
        ("api_token_created\n    09:01", "api_token_made\n    09:01", 3, "there is no activity 'api_token_made'"),
        ("09:01  alice  api_token_created", "09:01  alice  api_token_created  adress=x", 4, "there is no key 'adress'"),
        ("09:01  alice", "9:01  alice", 4, "'9:01' is no time"),
        ("09:01  alice", "24:01  alice", 4, "'24:01' is no time"),
        ("09:01  alice", "09:01  al/ice", 4, "is no user"),
        ("09:01  alice  api_token_created", "09:01  alice", 4, "a line is TIME WHO ACTIVITY"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened app='x", 4, "the quotes do not match"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened oops", 4, "'oops' is not key=value"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened ip=x ip=x", 4, "ip is given twice"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened lat=91", 4, "lat=91 is no number of degrees"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened asn=AS1", 4, "asn=AS1 is no whole number"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened proxy=no", 4, "neither true nor false"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened challenge=x", 4, "'x' is no time"),
        ("09:01  alice  api_token_created", "09:01 alice app_opened target_type=x", 4, "without a target"),
        ("- title: fires at the second token\n  timeline", "- timeline", 1, "the timeline has no `title`"),
        ('  findings: ["alice 09:01:00-09:01:00 1 event"]\n', "", 1, "the timeline has no `findings`"),
        ("  timeline: |", "  timeline: >", 2, "begins with `timeline: |`"),
        ("  findings:", "  finding:", 5, "a timeline has no key 'finding'; there are: title, timeline"),
        ("  findings:", "  title: x\n  findings:", 5, "title is given twice"),
        ("  findings:", "  settings: {tokns: 3}\n  findings:", 5, "`settings` has no key 'tokns'"),
        ("  findings:", "  settings: {tokens: 0}\n  findings:", 5, "out of range"),
        ("  findings:", "  settings: {tokens: 1h}\n  findings:", 5, "is not in the form of its default"),
        ("  findings:", "  settings: {tokens: [1]}\n  findings:", 5, "tokens: it is not a number or a duration"),
        ('["alice 09:01:00-09:01:00 1 event"]', "alice", 5, "`findings` is not a list"),
        ('["alice 09:01:00-09:01:00 1 event"]', '["alice"]', 5, "'alice' is not in the form"),
        ('["alice 09:01:00-09:01:00 1 event"]', "[", 6, "it is not YAML"),
        (FIRES, "{}", 1, "it is not a list of timelines"),
        (FIRES, "- x", 1, "a timeline is not a mapping"),
        (FIRES, FIRES + FIRES, 6, "there are two timelines 'fires at the second token'"),
        (FIRES, "[" * 5000, 1, "it is not YAML"),
        ("fires", "fires \x9b", 1, "it is not YAML: special characters are not allowed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    folder: Path, before: str, after: str, line: int, complaint: str
) -> None:
    path = folder / "timelines.yml"
    assert before in FIRES
    path.write_text(FIRES.replace(before, after))
    with pytest.raises(RuleError) as caught:
        read_timelines(read_rule(folder, is_own=True))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert complaint in str(caught.value)


# ---- the command ----


@pytest.fixture
def poller(folder: Path, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"POLLER_RULES_PATH": str(folder.parent)})


def test_all_rules_are_tested_those_of_poller_and_those_of_the_user(poller: CommandLine) -> None:
    told = poller("rules", "test")
    assert (told.code, told.err) == (0, "")
    lines = [line.split(maxsplit=1) for line in told.out.splitlines()]
    assert [name for name, _ in lines] == [rule.name for rule in load_rules(own=poller.folder / "rules")]
    assert ["two_tokens", "1 timeline ok"] in lines
    assert ["poller_lagging", "skipped: it watches poller, not events"] in lines
    assert not (poller.folder / "poller.db").exists()


def test_settings_of_the_user_are_not_those_of_a_timeline(poller: CommandLine) -> None:
    (poller.folder / "poller.toml").write_text("[rules.two_tokens]\ntokens = 5\nenabled = false\n")
    assert poller("rules", "test", "two_tokens").out == "two_tokens  1 timeline ok\n"


def test_a_timeline_that_fails_is_shown_with_what_was_found(poller: CommandLine, folder: Path) -> None:
    path = folder / "timelines.yml"
    quiet = FIRES.replace("fires at the second token", r'"is quiet \e[31mred"').split("findings:")[0] + "findings: []\n"
    path.write_text(FIRES + quiet)
    told = poller("rules", "test", "two_tokens")
    expected = f"""\
two_tokens  1 of 2 timelines failed
  {path}:6: is quiet \\x1b[31mred
    expected  nothing
    found     alice 09:01:00-09:01:00 1 event
        09:00  alice  api_token_created
        09:01  alice  api_token_created
"""
    assert (told.code, told.out) == (1, expected)
    assert told.err == "poller: 1 of 1 rules did not pass: see above.\n"


def test_a_query_that_fails_fails_its_timelines(poller: CommandLine, folder: Path) -> None:
    (folder / "rule.sql").write_text(HEADER + TWO_TOKENS.replace("user_uid, uid as", "usr_uid, uid as"))
    told = poller("rules", "test", "two_tokens")
    assert told.code == 1
    assert "no such column: usr_uid" in told.out


@pytest.mark.parametrize("content", [None, "", "# soon\n"])
def test_a_rule_without_timelines_fails(poller: CommandLine, folder: Path, content: str | None) -> None:
    (folder / "timelines.yml").unlink()
    if content is not None:
        (folder / "timelines.yml").write_text(content)
    told = poller("rules", "test", "two_tokens")
    assert (told.code, told.out) == (1, "two_tokens  failed: it has no timelines.yml, or an empty one\n")


def test_a_folder_that_can_not_be_used_fails_and_the_others_are_tested(poller: CommandLine, folder: Path) -> None:
    (folder / "README.md").unlink()
    told = poller("rules", "test")
    assert told.code == 1
    assert "there is no runbook beside the rule" in told.out
    assert "push_fatigue" in told.out
    assert poller("rules", "test", "two_tokens").code == 2
    assert poller("rules", "test", "push_fatigue").code == 0


def test_wrong_usage_says_so(poller: CommandLine) -> None:
    for words in (("nonsense",), ("--database", "sqlite:///x.db"), ("--database", "nonsense")):
        told = poller("rules", "test", *words)
        assert (told.code, told.out) == (2, "")


def test_on_a_postgres_they_leave_nothing_behind(poller: CommandLine, new_database: Callable[[str], str]) -> None:
    url = new_database("postgres")
    told = poller("rules", "test", "two_tokens", "--database", url)
    assert (told.code, told.out, told.err) == (0, "two_tokens  1 timeline ok\n", "")
    with Store(url) as store, store.reading() as connection:
        assert connection.scalar(sa.text("select count(*) from events")) == 0
        assert connection.scalar(sa.text("select count(*) from orgs")) == 0
        schemas = "select count(*) from information_schema.schemata where schema_name like 'poller%'"
        assert connection.scalar(sa.text(schemas)) == 0
