"""`poller completeness` as a process: the proof, the gaps, and a second read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from poller import cycle, schema
from poller.demo.okta import SimulatedOkta, okta_error
from poller.settings import OrgSettings
from poller.store import Store, epoch_ms_of
from poller.system_log import SystemLog
from tests.command_line import CommandLine
from tests.delivery import found, push_fatigue

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(hours=6)
ORG = "acme"
HOUR = timedelta(hours=1)


def event(number: int, **fields) -> dict:
    return {
        "uuid": f"event-{number}",
        "published": (START + timedelta(seconds=number)).isoformat(),
        "eventType": "user.session.end",
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
        "outcome": {"result": "SUCCESS"},
        **fields,
    }


def attack(first: int) -> list[dict]:
    return [
        event(first, eventType="user.mfa.okta_verify.deny_push", transaction={"id": "a"}),
        event(first + 60, eventType="user.mfa.okta_verify.deny_push", transaction={"id": "b"}),
        event(
            first + 120,
            eventType="user.authentication.auth_via_mfa",
            debugContext={"debugData": {"factor": "OKTA_VERIFY_PUSH"}},
        ),
    ]


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta([event(0), *attack(10)]) as server:
        yield server


@pytest.fixture
def poller(okta, database_url, tmp_path) -> CommandLine:
    return CommandLine(
        tmp_path,
        {
            "POLLER_DATABASE_URL": database_url,
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_API_TOKEN": okta.token,
            "POLLER_OKTA_ORG_NAME": ORG,
        },
    )


def lose(store: Store, *uids: str) -> None:
    """Events that Okta has, and that never came."""
    with store.writing() as connection:
        connection.execute(sa.delete(schema.events).where(schema.events.c.uid.in_(uids)))
        connection.execute(sa.delete(schema.findings))


def test_what_was_polled_is_contiguous(poller) -> None:
    poller("run", "--once")
    proof = poller("completeness", "--since", "23h")
    assert (proof.code, proof.err) == (0, "")
    assert "contiguous, 2 pages, 0 gaps, 4 records" in proof.out
    told = poller("completeness", "--since", "23h", "--format", "json").json()
    assert [(one["org"], one["contiguous"], one["gaps"]) for one in told] == [(ORG, True, [])]


def test_gaps_are_named_and_fail_the_command(poller) -> None:
    poller("run", "--once")
    proof = poller("completeness", "--since", "48h", "--until", "1h")
    assert proof.code == 1
    assert "1 gap" in proof.out
    assert "before the first page of the ledger" in proof.out
    assert "--verify" in proof.err


def test_what_has_not_been_read_for_long_is_a_gap(poller, store) -> None:
    poller("run", "--once")
    with store.writing() as connection:
        for table in (schema.pages, schema.orgs):
            column = table.c.get("until", table.c.get("covered_until"))
            connection.execute(sa.update(table).values({column: epoch_ms_of(NOW - HOUR)}))
        connection.execute(sa.update(schema.orgs).values(caught_up_time=NOW - HOUR))
    assert "not read yet" in poller("completeness", "--since", "5h").out


def test_a_second_read_finds_stores_and_judges_what_is_missing(poller, store) -> None:
    poller("run", "--once")
    before = found(store)
    lose(store, "event-10", "event-70")
    proof = poller("completeness", "--since", "23h", "--until", "1h", "--verify")
    assert proof.code == 0
    assert "Okta has 4 events there, 2 of them missing here, and stored now (1 new finding)" in proof.out
    assert "user.mfa.okta_verify.deny_push alice@acme.example event-10" in proof.out
    assert found(store) == before
    again = poller("completeness", "--since", "23h", "--until", "1h", "--verify", "--format", "json").json()
    assert again[0]["verification"]["missing"] == 0
    assert again[0]["read_twice"] is True


def test_a_second_read_fills_gaps_and_leaves_the_cursor_alone(poller, store, okta) -> None:
    poller("run", "--once")
    cursor = store.cursor(ORG)
    okta.append([event(-30 * 3600)])
    assert poller("completeness", "--since", "72h", "--until", "1h", "--verify").code == 0
    assert store.cursor(ORG) == cursor
    assert poller("completeness", "--since", "72h", "--until", "1h").code == 0


def test_a_second_read_that_is_refused_says_so(poller, okta) -> None:
    poller("run", "--once")
    okta.intercept = lambda _: okta_error(403, "E0000006", "You do not have permission")
    proof = poller("completeness", "--since", "5h", "--verify")
    assert proof.code == 1
    assert "not verified: Okta does not let this API token" in proof.out
    assert okta.token not in proof.out + proof.err


@pytest.mark.parametrize(
    "words", [("--since", "1h", "--org", "nowhere"), ("--since", "1h", "--until", "2h"), ("--since", "soon"), ()]
)
def test_wrong_words_are_wrong_usage(poller, words) -> None:
    result = poller("completeness", *words)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1


def test_it_needs_no_okta_settings_to_read_the_ledger(poller, database_url) -> None:
    poller("run", "--once")
    bare = CommandLine(poller.folder, {"POLLER_DATABASE_URL": database_url})
    assert json.loads(bare("completeness", "--since", "5h", "--format", "json").out)[0]["org"] == ORG


# ---- by itself, when an hour is old enough ----


def system_log(okta: SimulatedOkta) -> SystemLog:
    import threading

    return SystemLog(OrgSettings(name=ORG, org_url=okta.url, api_token=okta.token), 1.0, threading.Event())


def test_each_hour_is_read_again_once_when_it_is_old_enough(store, okta) -> None:
    log, rules, now = system_log(okta), push_fatigue(), datetime.now(UTC)
    half_an_hour = HOUR / 2
    cycle.poll(store, log, ORG, rules, HOUR, lambda: now)
    okta.append([event(number, published=(now + number * half_an_hour).isoformat()) for number in (-1, 1)])

    def verified(later: timedelta):
        return cycle.verify_next(store, log, ORG, rules, 2 * HOUR, lambda: now + later)

    assert verified(2 * HOUR - timedelta(seconds=1)) is None
    first = verified(2 * HOUR + half_an_hour)
    assert first is not None
    assert first.stored.new == 1
    assert verified(2 * HOUR + half_an_hour) is None
    second = verified(3 * HOUR + half_an_hour)
    assert second is not None
    assert second.stored.new == 1


def test_what_was_old_when_it_was_read_first_is_not_read_again(store, okta) -> None:
    log, rules = system_log(okta), push_fatigue()
    cycle.poll(store, log, ORG, rules, timedelta(hours=20))
    assert cycle.verify_next(store, log, ORG, rules, 2 * HOUR) is None
