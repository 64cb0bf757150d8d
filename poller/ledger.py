"""The ledger: every page that was committed, each with the span of time that it covers, so that "nothing is missing"
can be proved and what is missing can be named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from poller.schema import backfills, orgs, pages
from poller.slices import Slice

FIRST, REOPENED = "first", "reopened"
KEPT = timedelta(days=90)  # Okta gives nothing older, and refuses to look back twice as far
_KEPT_MS = KEPT // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Turn:
    """One request and its answer, as the ledger keeps them.

    `link` was asked, `time` is when it was answered (epoch ms, by Okta's clock), `next_link` goes on from there (None:
    a range is at its end). `is_end`: there was nothing more at that time. Where `link` is not the one that the page
    before ended with, `opened` says why (FIRST, REOPENED) and `since` from which time on it reads (epoch ms).
    """

    link: str
    next_link: str | None
    time: int
    is_end: bool
    opened: str | None = None
    since: int | None = None
    complete_until: int | None = None


@dataclass(frozen=True)
class Gap:
    """A span of time of which nobody can say that it was read, `[since, until)` in epoch ms, and why."""

    since: int
    until: int
    reason: str


@dataclass(frozen=True)
class Coverage:
    """What the ledger proves about a span of time of one org: it is complete if there are no gaps."""

    org: str
    since: int
    until: int
    pages: int
    records: int
    gaps: tuple[Gap, ...]
    verified: bool  # all of it was read a second time, later


_NEWEST = (pages.c.backfill_id.desc(), pages.c.id.desc())  # as the index of the chain has them


def last_page(connection: sa.Connection, org: str, backfill_id: int | None) -> Any:
    """The newest page of the live cursor, or of a backfill; None before the first."""
    chain = pages.c.backfill_id.is_(None) if backfill_id is None else pages.c.backfill_id == backfill_id
    query = sa.select(pages).where(pages.c.org == org, chain).order_by(*_NEWEST).limit(1)
    return connection.execute(query).first()


def covered(turn: Turn, before: int | None, newest: int | None, limit: int | None = None) -> Slice:
    """The span of time that a page covers.

    Args:
        before: how far the pages before it have come, epoch ms.
        newest: the time of its newest event that is not dated ahead of the answer.
        limit: the end of a date range.

    All that there was at the time of an answer has come when that was the end; before that, only what was published
    up to the newest event. Of what is older than Okta keeps, nothing can be said.
    """
    since = turn.since if turn.since is not None else before
    if since is None:
        since = turn.time if newest is None else newest
    since = max(since, turn.time - _KEPT_MS)
    if turn.is_end:
        until = turn.time if turn.complete_until is None else min(turn.complete_until, turn.time)
    else:
        until = since if newest is None else newest
    return Slice(since, max(since, until if limit is None else min(until, limit)))


def record(
    connection: sa.Connection,
    org: str,
    turn: Turn,
    part: Slice,
    counts: dict[str, int],
    digest: str,
    backfill_id: int | None = None,
) -> None:
    """Enter a page. An empty one that comes again and again is one row: its `until` and `answers` move on."""
    last = last_page(connection, org, backfill_id)
    is_again = (
        last is not None
        and turn.opened is None
        and last.opened is None
        and part.since <= last.until
        and counts["records"] == last.records == 0
        and last.link_in == last.link_out == turn.link == turn.next_link
    )
    if is_again:
        again = sa.update(pages).where(pages.c.id == last.id)
        connection.execute(again.values(until=part.until, time=turn.time, answers=pages.c.answers + 1))
        return
    connection.execute(
        sa.insert(pages).values(
            org=org,
            backfill_id=backfill_id,
            opened=turn.opened,
            link_in=turn.link,
            link_out=turn.next_link,
            since=part.since,
            until=part.until,
            time=turn.time,
            answers=1,
            hash=digest,
            **counts,
        )
    )


_BREAK = "the chain of the ledger is broken, and what lay between is not known"
_SPAN = (pages.c.id, pages.c.backfill_id, pages.c.opened, pages.c.since, pages.c.until, pages.c.records)


def coverage(connection: sa.Connection, org: str, span: Slice) -> Coverage:
    """What the ledger proves about a span of time: the pages that cover it, and what none of them covers."""
    touching = (pages.c.org == org) & (pages.c.until >= span.since) & (pages.c.since <= span.until)
    query = (
        sa.select(*_SPAN, backfills.c.kind)
        .join(backfills, backfills.c.id == pages.c.backfill_id, isouter=True)
        .where(touching)
        .order_by(pages.c.backfill_id, pages.c.id)
    )
    rows = connection.execute(query).all()
    state = connection.execute(sa.select(orgs).where(orgs.c.org == org)).first()
    live = [row for row in rows if row.backfill_id is None]
    again = [Slice(row.since, row.until) for row in rows if row.kind == "verification"]
    broken = (Gap(*_within(gap, span), gap.reason) for gap in _broken(connection, org, live))
    gaps = [
        *_uncovered(span, [Slice(row.since, row.until) for row in rows], live),
        # What a second look has covered is whole, whatever the first one was.
        *(gap for gap in broken if _without(Slice(gap.since, gap.until + 1), again)),
    ]
    kept_from = state.pruned_before if state is not None and state.pruned_before is not None else span.since
    if kept_from > span.since:
        deleted = Gap(span.since, min(kept_from, span.until), "older than POLLER_RETENTION, and deleted")
        later = (Gap(max(gap.since, kept_from), gap.until, gap.reason) for gap in gaps if gap.until > kept_from)
        gaps = [deleted, *later]
    first_look = [row for row in rows if row.kind != "verification"] or rows
    return Coverage(
        org=org,
        since=span.since,
        until=span.until,
        pages=len(first_look),
        records=sum(row.records for row in first_look),
        gaps=tuple(sorted(gaps, key=lambda gap: (gap.since, gap.until))),
        verified=span.since < span.until and not _without(span, again),
    )


def _uncovered(span: Slice, parts: Iterable[Slice], live: Sequence[Any]) -> list[Gap]:
    first, last = (live[0].since, max(row.until for row in live)) if live else (None, None)
    opened = {row.since for row in live if row.opened == REOPENED}
    gaps = []
    for gap in _without(span, parts):
        if first is None or last is None:
            reason = "never fetched"
        elif gap.until <= first:
            reason = "before the first page of the ledger"
        elif gap.since >= last:
            reason = "not read yet"
        elif gap.until in opened:
            reason = "the cursor was lost, and Okta no longer gave what came before"
        else:
            reason = "no page of the ledger covers it"
        gaps.append(Gap(*gap, reason))
    return gaps


def _broken(connection: sa.Connection, org: str, live: Sequence[Any]) -> list[Gap]:
    """Where a page of the live cursor does not begin at the link that the one before it ended with."""
    if not live:
        return []
    asked = {row.id for row in live}
    chain = (pages.c.org == org) & pages.c.backfill_id.is_(None)
    columns = sa.select(pages.c.id, pages.c.opened, pages.c.link_in, pages.c.link_out, pages.c.since, pages.c.until)
    before = connection.execute(columns.where(chain, pages.c.id < min(asked)).order_by(*_NEWEST).limit(1)).first()
    gaps = []
    within = columns.where(chain, pages.c.id >= min(asked), pages.c.id <= max(asked)).order_by(pages.c.id)
    for row in connection.execute(within):
        if before is not None and row.opened is None and row.link_in != before.link_out and row.id in asked:
            since, until = sorted((before.until, row.since))
            gaps.append(Gap(since, until, f"{_BREAK}: page {row.id} does not go on from page {before.id}"))
        before = row
    return gaps


def _within(gap: Gap, span: Slice) -> Slice:
    since, until = max(gap.since, span.since), min(gap.until, span.until)
    return Slice(min(since, span.until), max(until, span.since))


def _without(span: Slice, parts: Iterable[Slice]) -> list[Slice]:
    """What of a span no part covers, in order."""
    left, reached = [], span.since
    for part in sorted(parts):
        if part.since > reached and reached < span.until:
            left.append(Slice(reached, min(part.since, span.until)))
        reached = max(reached, part.until)
    if reached < span.until:
        left.append(Slice(reached, span.until))
    return left
