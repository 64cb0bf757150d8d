"""The database: a page commits with everything it implies; findings follow the events, and analysts keep theirs."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from poller import migrate, schema
from poller.errors import DatabaseError, UsageError
from poller.raw import decompress
from poller.rules.timelines import records
from poller.store import Store, epoch_ms_of, read_records
from tests.delivery import NOW, deliver, found, push_fatigue, turn

ATTACK = """
    09:00:00  alice  push_rejected
    09:01:00  alice  push_rejected
    09:02:00  alice  mfa_succeeded
"""
UNDOES_THE_APP = "08:00:00  alice  app_opened  session=S"
ATTACK_WITH_AN_APP = """
    09:00:00  alice  push_rejected
    09:01:00  alice  push_rejected
    09:02:00  alice  app_opened  session=S
"""


def rows(store: Store, table: sa.Table) -> list[dict[str, Any]]:
    with store.reading() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def test_a_page_its_findings_its_quarantine_and_its_cursor_commit_together(store: Store) -> None:
    batch = read_records([*records(ATTACK), b'{"no": "uuid"}'])
    following = replace(turn(), next_link="https://acme.okta.com/api/v1/logs?after=1%2C2&x=%20")
    stored = store.commit_poll("acme", batch, following, push_fatigue(), NOW)
    assert (stored.new, stored.seen, stored.quarantined, stored.found) == (3, 0, 1, 1)
    assert store.cursor("acme") == "https://acme.okta.com/api/v1/logs?after=1%2C2&x=%20"
    assert [row["reason"] for row in rows(store, schema.quarantine)] == ["no uuid"]
    assert len(found(store)) == 1


def test_a_page_whose_rules_fail_leaves_nothing_behind(store: Store) -> None:
    broken = [replace(rule, sql="select no_such_column from events") for rule in push_fatigue()]
    with pytest.raises(DatabaseError):
        store.commit_poll("acme", read_records([*records(ATTACK), b"5"]), turn(), broken, NOW)
    assert store.cursor("acme") is None
    assert not any(rows(store, table) for table in schema.metadata.sorted_tables)


def test_an_event_is_stored_once_however_often_it_comes(store: Store) -> None:
    page = records(ATTACK)
    for batch in (page + page, page, page[1:]):
        store.commit_poll("acme", read_records([*batch, b"[]"]), turn(), push_fatigue(), NOW)
    assert len(rows(store, schema.events)) == 3
    assert len(rows(store, schema.quarantine)) == 1
    assert len(found(store)) == 1


def test_the_same_events_in_two_orgs_are_two_stories(store: Store) -> None:
    first, *rest = records(ATTACK)
    deliver(store, [first], org="acme")
    deliver(store, rest, org="other")
    assert not found(store)
    deliver(store, rest, org="acme")
    deliver(store, [first], org="other")
    one, other = found(store)
    assert {one["org"], other["org"]} == {"acme", "other"}
    assert one["uid"] != other["uid"]


def test_the_raw_event_is_kept_byte_for_byte(store: Store) -> None:
    odd = b'{"uuid":"1",  "published":"2026-03-01T00:00:00Z","client":{"userAgent":"\\ud800 \\u0000 \xff\xfe"}}'
    deliver(store, [odd])
    [row] = rows(store, schema.events)
    assert decompress(row["raw"]) == odd
    assert row["user_agent"] == "\ufffd \ufffd \ufffd\ufffd"


def test_a_new_database_file_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'deep' / 'new.db'}") as store:
        migrate.upgrade(store)
    for name in os.listdir(tmp_path / "deep"):
        assert stat.S_IMODE((tmp_path / "deep" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "url",
    ["postgresql://nobody:s3cret@127.0.0.1:1/none", "sqlite:////proc/nowhere/poller.db", "sqlite:////proc/version"],
)
def test_a_database_out_of_reach_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(DatabaseError) as caught, Store(url) as store:
        store.cursor("acme")
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_two_writers_of_one_org_store_each_event_once(database_url: str) -> None:
    stories = [records(f"09:{minute:02}:00  alice  push_rejected") for minute in range(30)]
    events = [story[0].replace(b"0 09:", f"{n} 09:".encode()) for n, story in enumerate(stories)]
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with Store(database_url) as store:
                for start in range(0, len(events), 5):
                    deliver(store, events[start : start + 5])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with Store(database_url) as store:
        assert len(rows(store, schema.events)) == 30


def test_a_late_event_takes_back_a_finding_that_nobody_has_touched(store: Store) -> None:
    deliver(store, records(ATTACK_WITH_AN_APP))
    assert len(found(store)) == 1
    deliver(store, records(UNDOES_THE_APP))
    assert not found(store)
    assert not rows(store, schema.finding_evidence)


def test_a_finding_that_an_analyst_has_touched_stays_and_is_marked_superseded(store: Store) -> None:
    deliver(store, records(ATTACK_WITH_AN_APP))
    [finding] = found(store)
    store.set_status(finding["uid"], "in_progress", None, "calling her", NOW)
    deliver(store, records(UNDOES_THE_APP))
    [kept] = found(store)
    assert kept["superseded_time"] is not None
    assert kept["status"] == "in_progress"
    assert kept["evidence"] == finding["evidence"]


def test_a_late_event_that_adds_evidence_keeps_status_and_uid(store: Store) -> None:
    first, *rest = records(ATTACK_WITH_AN_APP)
    deliver(store, [first, *rest])
    [before] = found(store)
    store.set_status(before["uid"], "resolved", "true_positive", None, NOW)
    [late] = records("08:59:00  alice  push_rejected  sign_in=Z")
    deliver(store, [late])
    [after] = found(store)
    assert after["uid"] == before["uid"]
    assert after["status"] == "resolved"
    assert after["evidence_count"] == before["evidence_count"] + 1
    assert "3 Okta Verify pushes" in after["summary"]


def test_triage_keeps_its_history(store: Store) -> None:
    deliver(store, records(ATTACK))
    [finding] = found(store)
    store.set_status(finding["uid"], "in_progress", None, "calling her", NOW)
    store.set_status(finding["uid"], "resolved", "true_positive", "password reset", NOW + timedelta(minutes=5))
    history = [(row["status"], row["reason"], row["comment"]) for row in rows(store, schema.finding_history)]
    assert history == [("in_progress", None, "calling her"), ("resolved", "true_positive", "password reset")]
    assert found(store)[0]["status"] == "resolved"


@pytest.mark.parametrize(("status", "reason"), [("closed", None), ("resolved", "because"), ("", None)])
def test_an_unknown_word_of_triage_changes_nothing(store: Store, status: str, reason: str | None) -> None:
    deliver(store, records(ATTACK))
    [finding] = found(store)
    with pytest.raises(UsageError):
        store.set_status(finding["uid"], status, reason, None, NOW)
    assert found(store) == [finding]
    assert not rows(store, schema.finding_history)


def test_triage_of_a_finding_that_is_gone_says_so(store: Store) -> None:
    with pytest.raises(UsageError, match="no finding"):
        store.set_status("f" * 32, "resolved", None, None, NOW)


def test_old_events_go_but_findings_and_their_evidence_stay(store: Store) -> None:
    deliver(store, records(ATTACK + "\n12:00:00 bob app_opened\n12:01:00 alice app_opened session=T"))
    [finding] = found(store)
    day = datetime(2026, 3, 10, tzinfo=UTC)
    assert store.prune(day + timedelta(hours=12, seconds=30)) == 1
    assert store.prune(day + timedelta(days=2)) == 1
    assert {row["uid"] for row in rows(store, schema.events)} == {uid for uid, _ in finding["evidence"]}
    assert found(store) == [finding]


def test_a_finding_from_where_events_are_deleted_is_not_judged_again(store: Store) -> None:
    deliver(
        store,
        records("""
        09:00:00.000  alice  push_rejected
        09:01:00.000  alice  push_rejected
        09:02:00.000  alice  session_started  sign_in=C
        09:02:01.000  alice  sign_on_allowed  sign_in=C
    """),
    )
    before = found(store)
    assert (
        store.prune(datetime(2026, 3, 10, 12, tzinfo=UTC)) == 1
    )  # what said that the session was no mere password step
    deliver(store, records("09:01:59  alice  password_succeeded  sign_in=C"))
    store.run_rules("acme", push_fatigue(), datetime(2026, 3, 1, tzinfo=UTC), NOW, NOW)
    assert found(store) == before


def test_a_backfill_from_before_the_retention_is_still_judged(store: Store) -> None:
    deliver(store, records("20:00:00  bob  app_opened"))
    store.prune(datetime(2026, 3, 10, 12, tzinfo=UTC))
    deliver(store, records(ATTACK))
    assert len(found(store)) == 1


def test_the_rules_find_in_what_was_stored_before_they_were_on(store: Store) -> None:
    deliver(store, records(ATTACK), rules=[])
    assert not found(store)
    day = datetime(2026, 3, 10, tzinfo=UTC)
    assert store.run_rules("acme", push_fatigue(), day, day + timedelta(hours=9, minutes=2), NOW).found == 0
    assert store.run_rules("acme", push_fatigue(), day, day + timedelta(days=1), NOW).found == 1


def test_times_and_addresses_of_a_finding_are_what_people_read(store: Store) -> None:
    deliver(store, records(ATTACK))
    with store.reading() as connection:
        row = connection.execute(sa.text("select first_seen_time, last_seen_time, src_ips from findings")).one()
    if store.is_postgres:
        assert row.first_seen_time == datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
        assert isinstance(row.src_ips, list)
    else:
        assert row.first_seen_time == "2026-03-10T09:00:00.000Z"
        assert isinstance(json.loads(row.src_ips), list)


def test_the_newest_event_time_only_moves_forward(store: Store) -> None:
    deliver(store, records("09:00:00  alice  app_opened"))
    deliver(store, records("08:00:00  bob  app_opened"))
    [org] = rows(store, schema.orgs)
    assert org["last_event_time"] == epoch_ms_of(datetime(2026, 3, 10, 9, tzinfo=UTC))
