"""Exceptions: what they hold for, what they do to a finding, and that they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from poller import exceptions, schema
from poller.errors import UsageError
from poller.exceptions import Wanted
from poller.findings import Finding
from poller.reading import reading
from poller.store import Store
from tests.command_line import CommandLine
from tests.delivery import NOW, deliver, found
from tests.timelines import Record, approved, denied


def attack(**more: Any) -> list[bytes]:
    events = [denied("a", "09:00:00", **more), denied("b", "09:01:00", **more), approved("c", "09:02:00", **more)]
    return [event.wire() for event in events]


def add(store: Store, **wanted: Any) -> int:
    fields = dict.fromkeys(("rule", "org", "user", "network")) | {
        "reason": "a red team",
        "owner": "sec@acme.example",
        "end": NOW + timedelta(days=30),
    }
    return exceptions.add(store, Wanted(**(fields | wanted)), NOW)


def statuses(store: Store) -> list[str]:
    return [row["status"] for row in found(store)]


def history(store: Store) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(sa.select(schema.finding_history)))


def hits(store: Store) -> int:
    with reading(store.engine.url.render_as_string(hide_password=False), False) as database:
        return sum(row["hits"] for row in database.exceptions())


def finding(**more: Any) -> Finding:
    fields = dict.fromkeys(Finding.__dataclass_fields__) | {
        "rule": "push_fatigue",
        "org": "acme",
        "user_uid": "00u1",
        "user_name": "Alice@Example.com",
        "src_ips": ("203.0.113.7", "203.0.113.9"),
    }
    return Finding(**(fields | more))


@pytest.mark.parametrize(
    ("names", "holds"),
    [
        ({}, True),
        ({"rule": "push_fatigue"}, True),
        ({"rule": "push_flood"}, False),
        ({"org": "acme"}, True),
        ({"org": "other"}, False),
        ({"user_name": "00u1"}, True),
        ({"user_name": "00U1"}, False),
        ({"user_name": "alice@EXAMPLE.com"}, True),
        ({"user_name": "bob@example.com"}, False),
        ({"network": "203.0.113.0/24"}, True),
        ({"network": "203.0.113.7/32"}, False),
        ({"network": "2001:db8::/32"}, False),
        ({"rule": "push_fatigue", "network": "203.0.113.0/28", "user_name": "00u1", "org": "acme"}, True),
        ({"rule": "push_fatigue", "network": "198.51.100.0/24"}, False),
    ],
)
def test_everything_that_it_names_has_to_hold(names: dict[str, str], holds: bool) -> None:
    row = SimpleNamespace(**(dict.fromkeys(("rule", "org", "user_name", "network")) | names))
    assert exceptions.matches(row, finding()) is holds


def test_an_address_that_is_none_or_absent_is_in_no_network() -> None:
    row = SimpleNamespace(rule=None, org=None, user_name=None, network="0.0.0.0/0")
    assert not exceptions.matches(row, finding(src_ips=()))
    assert not exceptions.matches(row, finding(src_ips=("203.0.113.7", "\x1b[2J")))
    assert not exceptions.matches(row, finding(user_name=None, src_ips=("::1",)))


def test_an_excepted_match_is_a_finding_marked_suppressed(store: Store) -> None:
    number = add(store, rule="push_fatigue")
    deliver(store, attack())
    assert statuses(store) == ["suppressed"]
    [told] = history(store)
    assert (told.exception_id, told.status) == (number, "suppressed")
    assert "a red team" in told.comment
    assert hits(store) == 1
    deliver(store, attack())
    assert hits(store) == 1


def test_it_ends(store: Store) -> None:
    number = add(store, rule="push_fatigue")
    exceptions.expire(store, number, NOW)
    deliver(store, attack())
    assert statuses(store) == ["new"]
    with pytest.raises(UsageError, match="ended already"):
        exceptions.expire(store, number, NOW)
    with pytest.raises(UsageError, match="no exception 777"):
        exceptions.expire(store, 777, NOW)


def test_a_finding_that_late_events_undo_is_gone_though_an_exception_touched_it(store: Store) -> None:
    add(store, rule="push_fatigue")
    deliver(store, attack())
    deliver(store, [approved("in between", "09:00:30").wire(), approved("and again", "09:01:30").wire()])
    assert all(row["superseded_time"] is None for row in found(store))
    assert len(history(store)) == len(found(store))


def at(address: str, record: Record) -> bytes:
    record.raw["client"]["ipAddress"] = address
    return record.wire()


def test_a_finding_that_grows_an_address_is_no_longer_excepted(store: Store) -> None:
    events = [denied("a", "09:00:00"), denied("b", "09:01:00"), approved("c", "09:02:00")]
    add(store, network="203.0.113.7")
    deliver(store, [at("203.0.113.7", event) for event in events])
    assert statuses(store) == ["suppressed"]
    deliver(store, [at("198.51.100.9", denied("late", "09:00:30"))])
    assert statuses(store) == ["new"]
    assert history(store) == []


def test_the_exception_that_holds_now_is_named(store: Store) -> None:
    first, second = add(store, network="203.0.113.7"), add(store, rule="push_fatigue")
    deliver(store, [at("203.0.113.7", event) for event in (denied("a", "09:00:00"), denied("b", "09:01:00"))])
    deliver(store, [at("203.0.113.7", approved("c", "09:02:00"))])
    assert [row.exception_id for row in history(store)] == [first]
    deliver(store, [at("198.51.100.9", denied("late", "09:00:30"))])
    assert statuses(store) == ["suppressed"]
    assert [row.exception_id for row in history(store)] == [first, second]


def test_what_a_person_said_of_a_finding_stays(store: Store) -> None:
    deliver(store, attack())
    [row] = found(store)
    store.set_status(row["uid"], "in_progress", None, None, NOW)
    add(store, rule="push_fatigue")
    deliver(store, [denied("late", "09:00:30").wire()])
    assert statuses(store) == ["in_progress"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, "hides everything"),
        ({"rule": "x", "reason": "  "}, "a reason and an owner"),
        ({"rule": "x", "owner": ""}, "a reason and an owner"),
        ({"rule": "x", "end": NOW}, "ends after now"),
        ({"rule": "x", "end": NOW + timedelta(days=367)}, "366 days"),
        ({"network": "203.0.113.0/40"}, "no network"),
        ({"network": "office"}, "no network"),
    ],
)
def test_an_unsound_exception_is_refused(store: Store, wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        add(store, **wanted)


def test_the_commands(database_url: str, tmp_path) -> None:
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": database_url})
    because = ("--reason", "a \x1b[2J red team", "--owner", "sec@acme.example")
    added = poller("exceptions", "add", "--rule", "push_fatigue", "--ip", "203.0.113.9/24", "--until", "30d", *because)
    assert added.code == 0, added.err
    number = added.out.split()[1]
    listed = poller("exceptions", "list", "--rule", "push_fatigue", "--format", "table")
    assert "203.0.113.0/24" in listed.out
    assert "\x1b" not in listed.out
    assert (
        "No exception touches this rule"
        in poller("exceptions", "list", "--rule", "poller_lagging", "--format", "table").out
    )
    assert poller("exceptions", "list", "--rule", "nothing").code == 2
    assert poller("exceptions", "add", "--until", "30d", *because).code == 2
    astray = poller("exceptions", "add", "--org", "nowhere", "--until", "1d", *because)
    assert (astray.code, "no org 'nowhere' was ever polled" in astray.err) == (0, True)
    assert poller("exceptions", "expire", astray.out.split()[1]).code == 0
    assert poller("exceptions", "add", "--rule", "push_fatigue", "--until", "2d ago", *because).code == 2
    assert poller("exceptions", "expire", number).code == 0
    assert poller("exceptions", "list", "--format", "json").out.split() == ["[]"]
    assert '"hits":0' in poller("exceptions", "list", "--all", "--format", "json").out.replace(" ", "")


def test_a_user_of_whom_nothing_is_known_may_be_misspelled(store: Store, database_url: str, tmp_path) -> None:
    event = {
        "uuid": "a",
        "eventType": "user.session.start",
        "published": datetime.now(UTC).isoformat(),
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
    }
    deliver(store, [json.dumps(event).encode()])
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": database_url})
    for name, is_known in {"00u1": True, "Alice@ACME.example": True, "alicia@acme.example": False}.items():
        added = poller("exceptions", "add", "--user", name, "--until", "1d", "--reason", "a test")
        assert (added.code, "no event of the last 30 days" in added.err) == (0, not is_known), added.err
