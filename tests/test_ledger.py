"""The ledger: what pages prove about a span of time. Minutes after 2026-03-02 09:00 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from poller import ledger, schema
from poller.ledger import FIRST, REOPENED, Coverage, Turn
from poller.slices import Slice
from poller.store import Store, epoch_ms_of, read_records

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ORG = "acme"


def ms(minute: float) -> int:
    return epoch_ms_of(START + timedelta(minutes=minute))


def link(number: int) -> str:
    return f"https://acme.okta.com/api/v1/logs?after={number}"


class Log:
    """Pages of a live cursor, one after the other."""

    def __init__(self, store: Store) -> None:
        self.store, self.number = store, 0

    def page(self, at: float, *times: float, opened: str | None = None, since: float | None = None, **more) -> None:
        records = [
            f'{{"uuid": "{time}", "published": "{(START + timedelta(minutes=time)).isoformat()}"}}'.encode()
            for time in times
        ]
        step = 1 if times or opened else 0
        turn = Turn(
            link(self.number),
            link(self.number + step),
            ms(at),
            is_end=more.get("is_end", True),
            opened=opened,
            since=None if since is None else ms(since),
        )
        self.number += step
        self.store.commit_poll(ORG, read_records(records), turn, [], START + timedelta(minutes=at))

    def proof(self, since: float, until: float) -> Coverage:
        with self.store.reading() as connection:
            return ledger.coverage(connection, ORG, Slice(ms(since), ms(until)))


def gaps(proof: Coverage) -> list[tuple[float, float, str]]:
    return [((gap.since - ms(0)) / 60_000, (gap.until - ms(0)) / 60_000, gap.reason) for gap in proof.gaps]


def pages(store: Store) -> list[sa.Row]:
    with store.reading() as connection:
        return list(connection.execute(sa.select(schema.pages).order_by(schema.pages.c.id)))


def test_pages_that_follow_one_another_cover_their_time(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    log.page(10, 5, 7)
    log.page(20, 15)
    proof = log.proof(-60, 20)
    assert (gaps(proof), proof.pages, proof.records, proof.verified) == ([], 3, 3, False)
    first, second, third = pages(store)
    assert (first.opened, second.opened, third.opened) == (FIRST, None, None)
    assert (first.link_out, second.link_out) == (second.link_in, third.link_in)
    assert [(page.since, page.until) for page in pages(store)] == [(ms(-60), ms(0)), (ms(0), ms(10)), (ms(10), ms(20))]
    assert len({first.hash, second.hash, third.hash}) == 3


def test_what_lies_before_and_behind_the_pages_is_named(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    assert gaps(log.proof(-90, 10)) == [
        (-90, -60, "before the first page of the ledger"),
        (0, 10, "not read yet"),
    ]


def test_an_org_that_was_never_polled_is_one_gap(store: Store) -> None:
    assert gaps(Log(store).proof(0, 10)) == [(0, 10, "never fetched")]


def test_a_page_in_the_middle_of_a_run_covers_no_more_than_its_newest_event(store: Store) -> None:
    log = Log(store)
    log.page(100, 5, 7, opened=FIRST, since=0, is_end=False)
    assert gaps(log.proof(0, 100)) == [(7, 100, "not read yet")]
    log.page(101, 8, 9)
    assert gaps(log.proof(0, 100)) == []


def test_an_event_that_is_dated_ahead_covers_nothing_ahead(store: Store) -> None:
    log = Log(store)
    log.page(10, 5000, opened=FIRST, since=0, is_end=False)
    assert gaps(log.proof(0, 20)) == [(0, 20, "not read yet")]


def test_an_answer_dated_ahead_by_an_hour_claims_next_to_nothing_of_it(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    link = "https://acme.okta.com/api/v1/logs?after=1"
    store.commit_poll(ORG, read_records([]), Turn(link, link, ms(60), is_end=True), [], START)
    assert gaps(log.proof(-60, 60)) == [(5, 60, "not read yet")]


def test_what_okta_no_longer_keeps_is_not_proved_by_reading_it(store: Store) -> None:
    log = Log(store)
    day = 24 * 60
    log.page(0, opened=FIRST, since=-100 * day)
    assert gaps(log.proof(-100 * day, 0)) == [(-100 * day, -90 * day, "before the first page of the ledger")]
    log.page(100 * day)
    assert [(since, until) for since, until, _ in gaps(log.proof(-1, 100 * day))] == [(0, 10 * day)]


def test_an_empty_page_that_comes_again_and_again_is_one_row(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    for minute in range(1, 100):
        log.page(minute)
    assert [(page.answers, page.until) for page in pages(store)] == [(1, ms(0)), (99, ms(99))]
    assert gaps(log.proof(-60, 99)) == []


def test_a_cursor_that_was_reopened_in_time_leaves_no_gap(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    log.number = 50
    log.page(90, 3, opened=REOPENED, since=-70)
    assert gaps(log.proof(-60, 90)) == []


def test_a_cursor_that_was_reopened_too_late_does(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    log.number = 50
    log.page(90, opened=REOPENED, since=30)
    assert gaps(log.proof(-60, 90)) == [(0, 30, "the cursor was lost, and Okta no longer gave what came before")]


def test_a_page_that_is_missing_from_the_ledger_is_a_gap_and_a_broken_chain(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    log.page(10, 5)
    log.page(20, 15)
    lost = pages(store)[1]
    with store.writing() as connection:
        connection.execute(sa.delete(schema.pages).where(schema.pages.c.id == lost.id))
    assert gaps(log.proof(-60, 20)) == [
        (0, 10, "no page of the ledger covers it"),
        (0, 10, f"{ledger._BREAK}: page {lost.id + 1} does not go on from page {lost.id - 1}"),
    ]
    assert gaps(log.proof(12, 20)) == [
        (12, 12, f"{ledger._BREAK}: page {lost.id + 1} does not go on from page {lost.id - 1}")
    ]


def test_a_date_range_that_was_fetched_fills_a_gap(store: Store) -> None:
    log = Log(store)
    log.page(90, opened=FIRST, since=30)
    part, _ = store.open_backfill(ORG, "0 .. 30", START, START + timedelta(minutes=30), START)
    later = START + timedelta(minutes=95)
    batch = read_records([f'{{"uuid": "b", "published": "{(START + timedelta(minutes=9)).isoformat()}"}}'.encode()])
    store.commit_backfill(part, batch, Turn("a", "b", ms(91), False, FIRST, ms(0)), [], later)
    assert gaps(log.proof(0, 90)) == [(9, 30, "before the first page of the ledger")]
    store.commit_backfill(part, read_records([]), Turn("b", None, ms(92), True), [], later)
    proof = log.proof(0, 90)
    assert (gaps(proof), proof.pages, proof.verified) == ([], 3, False)


def test_what_was_read_a_second_time_is_said(store: Store) -> None:
    log = Log(store)
    log.page(90, opened=FIRST, since=0)
    part, _ = store.open_backfill(ORG, "x", START, START + timedelta(minutes=30), START, kind="verification")
    later = START + timedelta(minutes=95)
    store.commit_backfill(part, read_records([]), Turn("a", None, ms(91), True, FIRST, ms(0)), [], later)
    assert log.proof(0, 30).verified
    assert not log.proof(0, 31).verified


def test_what_retention_deleted_is_no_longer_proved(store: Store) -> None:
    log = Log(store)
    log.page(0, opened=FIRST, since=-60)
    log.page(10, 5)
    store.prune(START + timedelta(minutes=7))
    assert gaps(log.proof(-60, 10)) == [(-60, 7, "older than POLLER_RETENTION, and deleted")]
    assert len(pages(store)) == 1


def test_events_from_before_the_last_look_are_late(store: Store) -> None:
    log = Log(store)
    log.page(10, opened=FIRST, since=0)
    log.page(20, 5, 15, 16)
    assert [page.late for page in pages(store)] == [0, 1]
