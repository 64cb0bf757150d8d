"""The line: Okta → system_log → normalize → store → (rule × slice) → findings; over a date range it is a backfill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from poller.errors import OktaRefused, Stopped
from poller.findings import moment
from poller.rules import Rule
from poller.schema import orgs
from poller.store import Backfill, Batch, Store, Stored, epoch_ms_of, read_records, utc_now

if TYPE_CHECKING:
    from poller.system_log import SystemLog

OVERLAP = timedelta(hours=1)  # how far before the last committed event a lost cursor is opened anew
KEPT = timedelta(days=90)  # Okta gives nothing older, and refuses to look back twice as far
AT_WORK = threading.Semaphore(4)  # pages being read and stored at once: more would take memory, and no less time
_STALE = (400, 404, 410)  # what Okta may answer to a link that it no longer knows

logger = structlog.get_logger()
Clock = Callable[[], datetime]
Progress = Callable[[datetime, int], None]  # how far in time, and how many new events are stored


@dataclass(frozen=True)
class Fetched:
    """What a poll or a backfill did: pages committed, and what was stored and found."""

    pages: int = 0
    stored: Stored = field(default_factory=Stored)

    def __add__(self, other: Fetched) -> Fetched:
        return Fetched(self.pages + other.pages, self.stored + other.stored)


def poll(
    store: Store, log: SystemLog, org: str, rules: Sequence[Rule], lookback: timedelta, now: Clock = utc_now
) -> Fetched:
    """Follow the live cursor of an org until it is caught up; each page commits with the cursor behind it.

    A cursor that Okta no longer takes, or that leads to a former address of the org, is opened anew a little before
    the last committed event: uids absorb the repeats. Raises OktaError, DatabaseError or Stopped.
    """
    cursor = store.cursor(org)
    if cursor is None:
        return _follow(store, log, org, rules, log.polling_link(now() - lookback), now)
    try:
        if log.owns(cursor):
            return _follow(store, log, org, rules, cursor, now)
    except OktaRefused as error:
        if error.status not in _STALE:
            raise
    return _reopen(store, log, org, rules, now)


def _follow(store: Store, log: SystemLog, org: str, rules: Sequence[Rule], link: str, now: Clock) -> Fetched:
    """Commit page after page from a link on. An answer without a link to go on with leaves the cursor where it was."""
    done, began = Fetched(), 0
    with closing(log.pages(link)) as pages:
        for page in pages:
            began = began or page.time
            with AT_WORK:
                batch = read_records(page.records)
                # Chasing every trickle would burn the rate limit. Pages follow the order in which Okta persists: with
                # an event from after the beginning, all that there was at the beginning has come.
                is_news = page.is_short and page.next_link is not None and _has_event(batch, began, page.time)
                caught_up = page.is_last or is_news
                stored = store.commit_poll(org, batch, page.next_link or page.link, rules, now(), caught_up=caught_up)
            _log_page(org, stored)
            done += Fetched(1, stored)
            if caught_up:
                break
    logger.debug("cycle.finished", org=org, pages=done.pages, new=done.stored.new, findings=done.stored.found)
    return done


def _reopen(store: Store, log: SystemLog, org: str, rules: Sequence[Rule], now: Clock) -> Fetched:
    """Follow a cursor from before the last commit, or where that is too long ago for Okta, from what it still keeps."""
    since, oldest = _last_committed(store, org, now()) - OVERLAP, now() - KEPT
    try:
        done = _follow(store, log, org, rules, log.polling_link(since), now)
    except OktaRefused as error:
        if error.status not in _STALE or since >= oldest:
            raise
        since = oldest
        done = _follow(store, log, org, rules, log.polling_link(since), now)
    logger.warning("cursor.reopened", org=org, since=since.isoformat())
    return done


def backfill(
    store: Store,
    log: SystemLog,
    org: str,
    rules: Sequence[Rule],
    asked: str,
    since: datetime,
    until: datetime,
    now: Clock = utc_now,
    progress: Progress = lambda reached, events: None,
) -> Fetched:
    """Fetch and store what was published in `[since, until)`, and run the rules over it. The live cursor stays.

    An unfinished backfill that was `asked` for in the same words is gone on with first; then comes what it leaves of
    the range (the same age means a later range on another day). `progress` hears after each page how far it has come.
    Raises OktaError, DatabaseError or Stopped.
    """
    since, until = _whole_ms(since), _whole_ms(until)
    if since < now() - KEPT:
        logger.warning("backfill.limited", org=org, reason="Okta keeps 90 days of events and gives nothing older")
    total, remaining = Fetched(), [(since, until)] if since < until else []
    while remaining:
        part, is_resumed = store.open_backfill(org, asked, *remaining[0], now())
        if is_resumed:
            logger.info("backfill.resumed", org=org, since=part.since.isoformat(), until=part.until.isoformat())
        total += _fetch_range(store, log, part, rules, now, progress)
        total += Fetched(0, store.run_rules(org, rules, part.since, part.until, now()))
        remaining = [rest for span in remaining for rest in _without(span, (part.since, part.until))]
    logger.info("backfill.finished", org=org, pages=total.pages, new=total.stored.new, findings=total.stored.found)
    return total


def _fetch_range(
    store: Store, log: SystemLog, part: Backfill, rules: Sequence[Rule], now: Clock, progress: Progress
) -> Fetched:
    """Fetch a range from where it was left; from its beginning where Okta no longer takes the stored link."""
    if part.next_link is not None and log.owns(part.next_link):
        try:
            return _follow_range(store, log, part, part.next_link, rules, now, progress)
        except OktaRefused as error:
            if error.status not in _STALE:
                raise
            logger.warning("backfill.restarted", org=part.org, reason=str(error))
    return _follow_range(store, log, part, log.bounded_link(part.since, part.until), rules, now, progress)


def _follow_range(
    store: Store, log: SystemLog, part: Backfill, link: str, rules: Sequence[Rule], now: Clock, progress: Progress
) -> Fetched:
    done, reached = Fetched(), part.since
    try:
        with closing(log.pages(link, bounded=True)) as pages:
            for page in pages:
                batch = read_records(page.records)
                next_link = None if page.is_last else page.next_link or page.link
                stored = store.commit_backfill(part, batch, next_link, rules, now())
                _log_page(part.org, stored)
                done += Fetched(1, stored)
                newest = max((moment(event.time) for event, _ in batch.events), default=reached)
                reached = part.until if page.is_last else min(max(reached, newest), part.until)
                progress(reached, part.events_stored + done.stored.new)
    except Stopped:
        events = part.events_stored + done.stored.new
        raise Stopped(
            f"stopped at {reached:%Y-%m-%d %H:%M:%S} UTC, with {events} new events stored. "
            "The same command goes on from there."
        ) from None
    return done


def _has_event(batch: Batch, after: int, until: int) -> bool:
    return any(after < event.time <= until for event, _ in batch.events)


def _last_committed(store: Store, org: str, default: datetime) -> datetime:
    """The last event committed or the last poll, whichever is older: everything persisted before it is stored."""
    with store.reading() as connection:
        query = sa.select(orgs.c.last_event_time, orgs.c.last_poll_time).where(orgs.c.org == org)
        row = connection.execute(query).first()
    event = moment(row.last_event_time) if row and row.last_event_time is not None else None
    return min((time for time in (event, row.last_poll_time if row else None) if time is not None), default=default)


def _whole_ms(time: datetime) -> datetime:
    """Milliseconds are what Okta is asked in, and what both databases keep."""
    return moment(epoch_ms_of(time))


def _without(span: tuple[datetime, datetime], done: tuple[datetime, datetime]) -> list[tuple[datetime, datetime]]:
    """What is left of a half-open span once another is done."""
    (since, until), (done_since, done_until) = span, done
    parts = [(since, min(until, done_since)), (max(since, done_until), until)]
    return [(start, end) for start, end in parts if start < end]


def _log_page(org: str, stored: Stored) -> None:
    if stored.new or stored.quarantined:
        logger.info(
            "page.stored",
            org=org,
            new=stored.new,
            seen=stored.seen,
            quarantined=stored.quarantined,
            findings=stored.found,
        )
