"""Rules of users, and those that look far back: run after the page, from what it notes, and never in its way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from poller import schema, store, watch
from poller.errors import RuleError
from poller.rules import Rule, load_rules, read_rule
from poller.store import Store, read_records
from tests.delivery import NOW, clear, deliver, found, turn, wire

HEADER = """/*
title: An API token was created
id: 6f1d2f4e-53f0-4c7e-9b57-2f3c5b0b7d11
level: low
parameters: {}
lookback: LOOKBACK
*/
"""
GOOD = """select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'created' as role
from api_token_created
where org = :org and time >= :since and time < :until
"""
# Fails on both databases as soon as there is an event from the second of March on.
FAILING = GOOD + "  and abs(case when time >= 1772409600000 then -9223372036854775807 - 1 else 1 end) > 0\n"
ENDLESS = """with recursive n as (
    select cast(1 as bigint) as i union all select case when i > 5 then 1 else i + 1 end from n
)
select :org as org, e.user_uid, e.uid as trigger_uid, e.time as trigger_time, e.uid as evidence_uid, 'x' as role
from api_token_created as e, n where e.org = :org and e.time >= :since and e.time < :until and n.i = 7
"""


def write_rule(folder: Path, query: str, name: str = "mine", lookback: str = "0s") -> Path:
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "rule.sql").write_text(HEADER.replace("LOOKBACK", lookback) + query)
    (path / "README.md").write_text("# mine\n")
    return path


def own(folder: Path, query: str, lookback: str = "0s") -> list[Rule]:
    return [read_rule(write_rule(folder, query, lookback=lookback), is_own=True)]


def created(number: int, day: int = 1) -> dict:
    return {
        "uuid": f"event-{number}",
        "published": f"2026-03-{day:02}T09:00:00Z",
        "eventType": "system.api_token.create",
        "outcome": {"result": "SUCCESS"},
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
    }


def commit(store: Store, rules: list[Rule], *events: dict) -> None:
    store.commit_poll("acme", read_records([wire(event) for event in events]), turn(), rules, NOW)


def backlog(store: Store) -> list:
    with store.reading() as connection:
        return list(connection.execute(sa.select(schema.rule_backlog).order_by(schema.rule_backlog.c.id)))


def test_a_rule_of_the_users_is_run_after_the_page(store: Store, tmp_path: Path) -> None:
    rules = own(tmp_path, GOOD)
    commit(store, rules, created(1), created(2, day=2))
    assert found(store) == []
    assert [row.rule for row in backlog(store)] == ["mine", "mine"]
    done, failed = store.work_off("acme", rules, NOW)
    assert (done.found, failed, backlog(store)) == (2, [], [])
    assert [row["trigger_uid"] for row in found(store)] == ["event-1", "event-2"]
    assert store.work_off("acme", rules, NOW)[0].found == 0


def test_spans_that_meet_become_one(store: Store, tmp_path: Path) -> None:
    rules = own(tmp_path, GOOD, lookback="36h")
    for number in (1, 5, 3):
        commit(store, rules, created(number, day=number))
    assert len(backlog(store)) == 3
    commit(store, rules, created(2, day=2))
    assert len(backlog(store)) == 2
    commit(store, rules, created(4, day=4))
    [row] = backlog(store)
    first = datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert (row.since, row.until) == (
        store_ms(first),
        store_ms(first + timedelta(days=4, hours=36)) + 1,
    )
    assert store.work_off("acme", rules, NOW)[0].found == 5


def store_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_a_rule_that_fails_is_run_again_from_where_it_failed(store: Store, database_url: str, tmp_path: Path) -> None:
    rules = own(tmp_path, FAILING, lookback="24h")
    commit(store, rules, created(1), created(2, day=2), created(3, day=3))
    done, [(name, error)] = store.work_off("acme", rules, NOW)
    assert (done.found, name) == (1, "mine")
    assert str(tmp_path / "mine" / "rule.sql") in error
    assert "\n" not in error
    [row] = backlog(store)
    assert row.since == store_ms(datetime(2026, 3, 2, 9, tzinfo=UTC))
    assert (row.error, row.tries) == (error, 1)
    assert [row["trigger_uid"] for row in found(store)] == ["event-1"]
    # Not at once again, but by who has no limit; and the same error is told once.
    assert store.work_off("acme", rules, NOW, seconds=60) == (store_done(), [])
    assert backlog(store)[0].tries == 1
    assert store.work_off("acme", rules, NOW + timedelta(minutes=2), seconds=60) == (store_done(), [])
    assert backlog(store)[0].tries == 2
    assert store.work_off("acme", rules, NOW + timedelta(minutes=2)) == (store_done(), [])
    assert backlog(store)[0].tries == 3
    # A process that begins may have a mended rule.
    with Store(database_url) as begun:
        assert begun.work_off("acme", rules, NOW, seconds=60) == (store_done(), [])
        assert begun.work_off("acme", rules, NOW, seconds=60) == (store_done(), [])
    assert backlog(store)[0].tries == 4
    # What comes in meanwhile waits with it.
    commit(store, rules, created(4, day=3))
    mended = own(tmp_path, GOOD, lookback="24h")
    done, failed = store.work_off("acme", mended, NOW + timedelta(hours=3))
    assert (done.found, failed, backlog(store)) == (3, [], [])


def store_done() -> object:
    return store.Stored()


def test_a_rule_without_end_is_ended_and_the_page_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poller.store._PATIENCE", 1)
    rules = own(tmp_path, ENDLESS)
    commit(store, rules, created(1))
    _, [(_, error)] = store.work_off("acme", rules, NOW)
    assert "it took longer than 1 s" in error
    good = own(tmp_path, GOOD)
    assert store.work_off("acme", good, NOW + timedelta(hours=1))[0].found == 1


WRITING = [
    "with gone as (delete from events where org = :org returning uid) select * from gone",
    "select set_config('transaction_read_only', 'off', true)",
    "delete from events",
    "update orgs set next_link = null",
    "drop table events",
    "pragma user_version = 7",
    "attach database 'other.db' as other",
    "select pg_sleep(0), uid from events where :since < :until",
    "commit",
    "rollback",
    "insert into findings select * from findings",
    "create temp table t as select 1",
    "copy events to '/tmp/poller-events'",
    "select lo_create(0)",
    "select load_extension('x')",
    "set statement_timeout = 0",
]


@pytest.mark.parametrize(
    "query", ["select 1; delete from events", "select 1) as x; delete from events; select * from (select 1"]
)
def test_a_rule_is_one_statement(tmp_path: Path, query: str) -> None:
    with pytest.raises(RuleError, match="more than one statement"):
        own(tmp_path, query)


@pytest.mark.parametrize("query", WRITING)
def test_a_rule_can_do_nothing_but_read(store: Store, tmp_path: Path, query: str) -> None:
    rules = own(tmp_path, query)
    commit(store, rules, created(1))
    done, failed = store.work_off("acme", rules, NOW)
    assert done.found == 0
    assert len(failed) == 1
    deliver(store, [created(2, day=3)], rules=[])
    with store.reading() as connection:
        assert sorted(connection.scalars(sa.select(schema.events.c.uid))) == ["event-1", "event-2"]
        assert connection.scalar(sa.select(schema.orgs.c.next_link)) is not None
    good = own(tmp_path, GOOD)
    assert store.work_off("acme", good, NOW + timedelta(hours=2))[0].found == 1


ODD = [
    "select 1 as one",
    GOOD.replace("select org", "select 'other' as org"),
    GOOD.replace("time as trigger_time", "'soon' as trigger_time"),
    GOOD.replace("time as trigger_time", "time + 86400000 as trigger_time"),
    GOOD.replace("uid as evidence_uid", "'nothing' as evidence_uid"),
    GOOD.replace("uid as trigger_uid", "null as trigger_uid"),
    GOOD.replace("'created' as role", "null as role"),
    GOOD.replace("'created' as role", "'created' as role, 'sure' as confidence"),
    GOOD.replace("'created' as role", "'created' as role, 'long ago' as first_seen"),
    GOOD.replace("'created' as role", "'created' as role, 'x' as last_attempt"),
    GOOD.replace("org, user_uid", "org, 7 as user_uid"),
    GOOD.replace("'created' as role", f"'{'r' * 101}' as role"),
    GOOD + "union all " + GOOD.replace("org, user_uid", "org, 'x' as user_uid"),
]


@pytest.mark.parametrize("query", ODD)
def test_rows_that_are_no_findings_are_said(store: Store, tmp_path: Path, query: str) -> None:
    rules = own(tmp_path, query)
    commit(store, rules, created(1))
    done, failed = store.work_off("acme", rules, NOW)
    assert (done.found, len(failed)) == (0, 1), failed
    assert found(store) == []


def test_a_trigger_has_its_own_time(store: Store, tmp_path: Path) -> None:
    rules = own(tmp_path, GOOD.replace("time as trigger_time", ":since + 1 as trigger_time"), lookback="1h")
    commit(store, rules, created(1))
    _, [(_, error)] = store.work_off("acme", rules, NOW)
    assert "not that of its trigger" in error


def test_too_many_rows_are_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.store._MOST_ROWS", 2)
    rules = own(tmp_path, GOOD)
    commit(store, rules, *(created(number) for number in range(3)))
    _, [(_, error)] = store.work_off("acme", rules, NOW)
    assert "more than 2 rows" in error


def test_too_many_findings_are_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.store._MOST_FINDINGS", 2)
    rules = own(tmp_path, GOOD)
    commit(store, rules, *(created(number) for number in range(3)))
    _, [(_, error)] = store.work_off("acme", rules, NOW)
    assert "more than 2 things" in error


@pytest.mark.parametrize("lookback", ["0s", "5d"])
def test_events_dated_ahead_are_judged_in_any_order(store: Store, tmp_path: Path, lookback: str) -> None:
    rules = own(tmp_path, GOOD, lookback=lookback)
    before = NOW - timedelta(days=240)
    events = [created(1, day=1), created(2, day=9), created(3, day=12)]
    for order in (events, events[::-1]):
        clear(store)
        for event in order:
            store.commit_poll("acme", read_records([wire(event)]), turn(), rules, before)
        store.work_off("acme", rules, before)
        assert [row["trigger_uid"] for row in found(store)] == ["event-1", "event-2", "event-3"]
        assert backlog(store) == []


def test_an_event_dated_ahead_that_is_there_is_judged_with_what_comes_later(store: Store, tmp_path: Path) -> None:
    query = (
        GOOD
        + """and exists (
        select 1 from events as b
        where b.org = :org and b.uid = 'event-1' and b.time < api_token_created.time
    )
"""
    )
    rules = own(tmp_path, query, lookback="5d")
    before = datetime(2026, 3, 1, 10, tzinfo=UTC)
    for order in ((1, 4), (4, 1)):
        clear(store)
        for number in order:
            batch = read_records([wire(created(number, day=number))])
            store.commit_poll("acme", batch, turn(), rules, before)
            store.work_off("acme", rules, before)
        assert [row["trigger_uid"] for row in found(store)] == ["event-4"]


def test_names_in_sql_are_in_any_case(tmp_path: Path) -> None:
    joined = GOOD.replace("from api_token_created", "from api_token_created cross join {}")
    [rule] = own(tmp_path, joined.format("api_token_revoked"))
    assert rule.event_types == {"system.api_token.create", "system.api_token.revoke"}
    assert own(tmp_path, joined.format("Events"))[0].event_types is None


def test_a_finding_that_is_there_is_not_counted_again(store: Store, tmp_path: Path) -> None:
    """Though its slice was re-opened by way of another of the same user, from before all events that the rule reads."""
    rule = read_rule(write_rule(tmp_path, GOOD, lookback="0s\nlookahead: 1h"))
    at = {1: "09:30", 2: "10:10", 3: "10:00", 4: "15:00"}
    events = {number: created(number) | {"published": f"2026-03-01T{time}:00Z"} for number, time in at.items()}
    events[1]["actor"] = {"id": "00u2", "type": "User"}
    events[3]["eventType"] = "user.session.end"
    commit(store, [rule], events[1], events[2])
    assert store.commit_poll("acme", read_records([wire(events[n]) for n in (3, 4)]), turn(), [rule], NOW).found == 1


@pytest.mark.parametrize(
    "query",
    [
        "delete from orgs returning org, 0 as trigger_time",
        "select org, 'soon' as trigger_time from orgs",
        "select org from orgs",
        "select 1 as one",
    ],
)
def test_a_rule_of_the_users_about_poller_can_do_nothing_but_read(store: Store, tmp_path: Path, query: str) -> None:
    commit(store, [], created(1))
    for name, its in (("bad", query), ("good", "select org, 0 as trigger_time from orgs")):
        file = write_rule(tmp_path, its, name=name) / "rule.sql"
        file.write_text(file.read_text().replace("lookback: 0s", "watches: poller"))
    rules = [rule for rule in load_rules({}, tmp_path) if rule.is_own]
    watch.look(store, rules, ["acme"], NOW, NOW, timedelta(minutes=1))
    assert [row["rule"] for row in found(store)] == ["good"]
    assert store.cursor("acme") is not None


def test_a_page_runs_the_rules_that_it_can_matter_to(store: Store) -> None:
    ran = []
    store.on_rule = lambda name, seconds: ran.append(name)
    deliver(store, [created(1)], rules=load_rules())
    assert "push_fatigue" in ran
    assert "fastpass_phishing_refused" not in ran
    assert set(ran) == {
        rule.name
        for rule in load_rules()
        if rule.is_about_events() and (rule.event_types is None or "system.api_token.create" in rule.event_types)
    }


def test_what_is_new_is_not_held_up_by_old_events(store: Store, tmp_path: Path) -> None:
    rules = [read_rule(write_rule(tmp_path, GOOD, name=name), is_own=True) for name in ("old", "new")]
    ran = []
    store.on_rule = lambda name, seconds: ran.append(name)
    store.run_rules("acme", rules[:1], NOW - timedelta(days=300), NOW - timedelta(days=270), NOW)
    commit(store, rules[1:], created(1, day=28))
    store.work_off("acme", rules, NOW)
    assert ran == ["new", *["old"] * 30]


def test_a_folder_that_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    write_rule(tmp_path, GOOD)
    write_rule(tmp_path, GOOD, name="push_fatigue")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "rule.sql").write_bytes(b"\xff\xfe")
    odd = write_rule(tmp_path, GOOD, name="odd") / "rule.sql"
    odd.write_text(odd.read_text().replace("parameters: {}", "parameters: [1, 2]"))
    heard: list[RuleError] = []
    rules = {rule.name: rule for rule in load_rules({}, tmp_path, heard.append)}
    assert rules["mine"].is_own
    assert not rules["push_fatigue"].is_own
    assert len(heard) == 3
    assert all(str(tmp_path) in str(error) for error in heard)
    with pytest.raises(RuleError, match="UTF-8"):
        load_rules({}, tmp_path)
    with pytest.raises(RuleError, match="no folder"):
        load_rules({}, tmp_path / "nowhere")


def test_what_looks_far_back_is_put_off_when_old_events_come(store: Store, tmp_path: Path) -> None:
    """And found all the same, as if they had come in time."""
    rule = read_rule(write_rule(tmp_path, GOOD, lookback="30d"))
    events = [created(number, day=number) for number in range(1, 29)]
    deliver(store, events, rules=[rule])
    expected = found(store)
    clear(store)
    for event in events[5:]:
        commit(store, [rule], event)
    assert len(found(store)) == 23
    assert backlog(store) == []
    commit(store, [rule], *events[:5])
    assert len(found(store)) == 23
    assert len(backlog(store)) == 1
    assert store.work_off("acme", [rule], NOW, seconds=0)[0].found == 0
    assert store.work_off("acme", [rule], NOW)[0].found == 5
    assert found(store) == expected


def test_a_colon_in_a_string_is_no_bind(store: Store, tmp_path: Path) -> None:
    rules = own(tmp_path, GOOD.replace("'created' as role", "'created' as role, 'a :since of it' as attempt"))
    commit(store, rules, created(1))
    done, failed = store.work_off("acme", rules, NOW)
    assert (done.found, failed) == (1, [])


def test_the_events_of_a_page_are_one_span(store: Store, tmp_path: Path) -> None:
    """Else each would be a transaction of its own."""
    rules = own(tmp_path, GOOD)
    minutes = [{**created(n), "published": f"2026-03-01T09:{n:02}:00Z"} for n in range(0, 60, 7)]
    commit(store, rules, *minutes)
    commit(store, rules, {**created(99), "published": "2026-03-01T09:58:00Z"})
    [row] = backlog(store)
    assert row.until - row.since == 58 * 60_000 + 1
    assert store.work_off("acme", rules, NOW)[0].found == 10
