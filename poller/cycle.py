"""The line: Okta → system_log → normalize → store → (rule × slice) → findings; over a date range it is a backfill."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from poller import metrics
from poller.errors import LostCursor, OktaError, OktaRefused, Stopped
from poller.findings import moment
from poller.ledger import FIRST, KEPT, REOPENED, Turn
from poller.rules import Rule
from poller.schema import orgs, pages
from poller.store import Backfill, Batch, Store, Stored, epoch_ms_of, read_records, utc_now

if TYPE_CHECKING:
    from poller.leases import Lease
    from poller.normalize import Event
    from poller.system_log import SystemLog

OVERLAP = timedelta(hours=1)  # how far before the last committed event a lost cursor is opened anew
AT_WORK = threading.Semaphore(4)  # pages being read and stored at once: more would take memory, and no less time
VERIFIED_AT_ONCE = timedelta(hours=1)
MOST_REPEATS = 3  # of one page in a run; Okta may repeat a page, but doesn't go on and on with it
MOST_SHOWN = 1000  # missing events that a verification names
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
    store: Store,
    log: SystemLog,
    org: str,
    rules: Sequence[Rule],
    lookback: timedelta,
    now: Clock = utc_now,
    lease: Lease | None = None,
    patience: float = float("inf"),
) -> Fetched:
    """Follow the live cursor of an org until it is caught up; each page commits with the cursor behind it. Then, for
    about `patience` seconds, run the rules that were put off.

    A cursor that Okta no longer takes, that leads in a circle, or that leads to a former address of the org, is opened
    anew a little before the last committed event: uids absorb the repeats. Raises OktaError, DatabaseError, LeaseLost
    or Stopped.
    """
    line = _Line(store, log, org, rules, now, lease)
    try:
        done = _catch_up(line, lookback)
    except OktaError:
        work_off(store, org, rules, now(), patience)
        raise
    return done + Fetched(0, work_off(store, org, rules, now(), patience))


def work_off(store: Store, org: str, rules: Sequence[Rule], now: datetime, patience: float = float("inf")) -> Stored:
    """Run the rules that were put off, or failed: those of users, and those that look far back."""
    done, failed = store.work_off(org, rules, now, patience)
    for rule, error in failed:
        logger.error("rule.failed", org=org, rule=rule, error=error)
        metrics.RULE_FAILURES.labels(rule).inc()
    if done.found or done.undone:
        metrics.FINDINGS.labels(org).inc(done.found)
        logger.info("rules.worked_off", org=org, findings=done.found, undone=done.undone)
    return done


def _catch_up(line: _Line, lookback: timedelta) -> Fetched:
    cursor = line.store.cursor(line.org)
    try:
        if cursor is None:
            return line.open(line.now() - lookback, FIRST)
        if line.log.owns(cursor):
            return line.follow(cursor)
        reason = "the org has another address now"
    except LostCursor as error:
        reason = str(error)
    except OktaRefused as error:
        if cursor is None or error.status not in _STALE:
            raise
        reason = str(error)
    return line.reopen(reason)


@dataclass(frozen=True)
class _Line:
    """What a poll works with."""

    store: Store
    log: SystemLog
    org: str
    rules: Sequence[Rule]
    now: Clock
    lease: Lease | None

    def open(self, since: datetime, opened: str) -> Fetched:
        since = _whole_ms(since)
        return self.follow(self.log.polling_link(since), opened, epoch_ms_of(since))

    def follow(self, link: str, opened: str | None = None, since: int | None = None) -> Fetched:
        """Commit page after page from a link on. An answer without a link to go on with leaves the cursor there."""
        done, began, given = Fetched(), 0, Counter[str]()
        with closing(self.log.pages(link)) as pages:
            for page in pages:
                began = began or page.time
                with AT_WORK:
                    batch = read_records(page.records)
                    _check_progress(given, batch, self.org)
                    # Chasing every trickle would burn the rate limit. Pages follow the order in which Okta persists:
                    # with an event from after the beginning, all that there was at the beginning has come.
                    is_news = page.is_short and page.next_link is not None and _has_event(batch, began, page.time)
                    is_end = page.is_last or is_news
                    complete = None if page.is_last else began
                    turn = Turn(page.link, page.next_link or page.link, page.time, is_end, opened, since, complete)
                    stored = self.store.commit_poll(self.org, batch, turn, self.rules, self.now(), self.lease)
                opened = since = None
                _tell(self.org, stored)
                done += Fetched(1, stored)
                if is_end:
                    break
        logger.debug("cycle.finished", org=self.org, pages=done.pages, new=done.stored.new, findings=done.stored.found)
        return done

    def reopen(self, reason: str) -> Fetched:
        """Go on from before the last commit, or where that is too long ago for Okta, from what it still keeps."""
        time = self.now()
        since, oldest = _last_committed(self.store, self.org, time) - OVERLAP, time - KEPT
        logger.warning("cursor.reopened", org=self.org, since=since.isoformat(), reason=reason)
        try:
            return self.open(since, REOPENED)
        except LostCursor as error:  # at the same page again: go on behind it
            since, reason = _last_event(self.store, self.org, time), str(error)
        except OktaRefused as error:
            if error.status not in _STALE or since >= oldest:
                raise
            since, reason = oldest, str(error)
        logger.warning("cursor.reopened", org=self.org, since=since.isoformat(), reason=reason)
        return self.open(since, REOPENED)


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
    Raises OktaError, DatabaseError, LeaseLost or Stopped.
    """
    total = Fetched()
    for part in _parts(store, org, asked, since, until, now, "backfill"):
        total += _fetch_range(store, log, part, rules, now, progress)
        total += Fetched(0, store.run_rules(org, rules, part.since, part.until, now()))
        total += Fetched(0, work_off(store, org, rules, now()))
        store.finish_backfill(part, now())
    logger.info("backfill.finished", org=org, pages=total.pages, new=total.stored.new, findings=total.stored.found)
    return total


def verify(
    store: Store,
    log: SystemLog,
    org: str,
    rules: Sequence[Rule],
    since: datetime,
    until: datetime,
    now: Clock = utc_now,
    progress: Progress = lambda reached, events: None,
    patience: float = float("inf"),
) -> tuple[Fetched, list[Event]]:
    """Read once more what was published in `[since, until)`, and store what was missing; the rules run on it, those
    that were put off for about `patience` seconds.

    Returns what was done, and the first of the missing events. Raises as `backfill` does.
    """
    total = Fetched()
    missing: list[Event] = []

    def found(fresh: Sequence[Event]) -> None:
        missing.extend(fresh[: MOST_SHOWN - len(missing)])

    for part in _parts(store, org, f"since {since.isoformat()}", since, until, now, "verification"):
        total += _fetch_range(store, log, part, rules, now, progress, found)
        total += Fetched(0, work_off(store, org, rules, now(), patience))
        store.finish_backfill(part, now())
    metrics.RECOVERED.labels(org).inc(total.stored.new)
    say = logger.warning if total.stored.new else logger.info
    span = {"since": since.isoformat(), "until": until.isoformat()}
    say("range.verified", org=org, **span, pages=total.pages, missing=total.stored.new, findings=total.stored.found)
    return total, missing


def verify_next(
    store: Store,
    log: SystemLog,
    org: str,
    rules: Sequence[Rule],
    after: timedelta,
    now: Clock = utc_now,
    patience: float = float("inf"),
) -> Fetched | None:
    """Verify the next hour that is `after` old by now; None where there is none. What was that old when it was read
    first needs no second look. Raises as `backfill` does."""
    with store.reading() as connection:
        state = connection.execute(sa.select(orgs).where(orgs.c.org == org)).first()
        if state is None:
            return None
        begin, pruned_before = state.verified_until, state.pruned_before
        if begin is None:
            live = (pages.c.org == org) & pages.c.backfill_id.is_(None)
            oldest = sa.select(pages).where(live).order_by(pages.c.backfill_id, pages.c.id).limit(1)
            first = connection.execute(oldest).first()
            if first is None:
                return None
            begin = max(first.since, first.time - after // timedelta(milliseconds=1))
    kept = max(now() - KEPT + VERIFIED_AT_ONCE, moment(pruned_before or 0))
    since = max(moment(begin), _whole_ms(kept))
    until = since + VERIFIED_AT_ONCE
    if until > now() - after:
        return None
    done, _ = verify(store, log, org, rules, since, until, now, patience=patience)
    store.note_verified(org, epoch_ms_of(until))
    return done


def _parts(
    store: Store, org: str, asked: str, since: datetime, until: datetime, now: Clock, kind: str
) -> Iterator[Backfill]:
    """The ranges to fetch, each to be done before the next is asked for: first an unfinished one, then the rest."""
    since, until = _whole_ms(since), _whole_ms(until)
    if since < now() - KEPT:
        logger.warning(f"{kind}.limited", org=org, reason="Okta keeps 90 days of events and gives nothing older")
    remaining = [(since, until)] if since < until else []
    while remaining:
        part, is_resumed = store.open_backfill(org, asked, *remaining[0], now(), kind)
        if is_resumed:
            logger.info(f"{kind}.resumed", org=org, since=part.since.isoformat(), until=part.until.isoformat())
        yield part
        remaining = [rest for span in remaining for rest in _without(span, (part.since, part.until))]


def _fetch_range(
    store: Store,
    log: SystemLog,
    part: Backfill,
    rules: Sequence[Rule],
    now: Clock,
    progress: Progress,
    found: Callable[[Sequence[Event]], None] = lambda fresh: None,
) -> Fetched:
    """Fetch a range from where it was left; from its beginning where Okta no longer takes the stored link."""
    if part.is_fetched:
        return Fetched()
    link, opened, since = log.bounded_link(part.since, part.until), FIRST, epoch_ms_of(part.since)
    if part.next_link is not None and log.owns(part.next_link):
        try:
            return _follow_range(store, log, part, part.next_link, None, None, rules, now, progress, found)
        except (OktaRefused, LostCursor) as error:
            if isinstance(error, OktaRefused) and error.status not in _STALE:
                raise
            logger.warning("backfill.restarted", org=part.org, reason=str(error))
            opened = REOPENED
    return _follow_range(store, log, part, link, opened, since, rules, now, progress, found)


def _follow_range(
    store: Store,
    log: SystemLog,
    part: Backfill,
    link: str,
    opened: str | None,
    since: int | None,
    rules: Sequence[Rule],
    now: Clock,
    progress: Progress,
    found: Callable[[Sequence[Event]], None],
) -> Fetched:
    done, reached, given = Fetched(), part.since, Counter[str]()
    going: str | None = link
    try:
        while going is not None:
            with closing(log.pages(going, bounded=True)) as pages:
                for page in pages:
                    batch = read_records(page.records)
                    _check_progress(given, batch, part.org)
                    newest = max((moment(event.time) for event, _ in batch.events), default=reached)
                    going = page.next_link or page.link
                    if page.is_last:  # a full one may only have lost its `next`: what lies behind it is asked for
                        has_more = not page.is_short and reached < newest < part.until
                        going = log.bounded_link(newest, part.until) if has_more else None
                    turn = Turn(page.link, going, page.time, going is None, opened, since)
                    stored, fresh = store.commit_backfill(part, batch, turn, rules, now())
                    opened = since = None
                    found(fresh)
                    _tell(part.org, stored)
                    done += Fetched(1, stored)
                    reached = part.until if going is None else min(max(reached, newest), part.until)
                    progress(reached, part.events_stored + done.stored.new)
    except Stopped:
        events = part.events_stored + done.stored.new
        raise Stopped(
            f"stopped at {reached:%Y-%m-%d %H:%M:%S} UTC, with {events} new events stored. "
            "The same command goes on from there."
        ) from None
    return done


def _check_progress(given: Counter[str], batch: Batch, org: str) -> None:
    """Raises LostCursor where the same page comes again and again in one run, by whatever links."""
    if batch.events:
        given[batch.hash] += 1
        if given[batch.hash] > MOST_REPEATS:
            raise LostCursor(
                f"the log of {org} leads in a circle: the same page came {MOST_REPEATS + 1} times. Try poller doctor."
            )


def _last_event(store: Store, org: str, default: datetime) -> datetime:
    with store.reading() as connection:
        time = connection.execute(sa.select(orgs.c.last_event_time).where(orgs.c.org == org)).scalar()
    return default if time is None else min(moment(time), default)


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


def _tell(org: str, stored: Stored) -> None:
    metrics.PAGES.labels(org).inc()
    for metric, count in (
        (metrics.EVENTS, stored.new),
        (metrics.REPEATED, stored.seen),
        (metrics.LATE, stored.late),
        (metrics.QUARANTINED, stored.quarantined),
        (metrics.FINDINGS, stored.found),
    ):
        metric.labels(org).inc(count)
    if stored.new or stored.quarantined:
        logger.info(
            "page.stored",
            org=org,
            new=stored.new,
            seen=stored.seen,
            quarantined=stored.quarantined,
            findings=stored.found,
        )
