"""The System Log that a simulated Okta serves: its order, its queries and its cursors, without the HTTP around them.

A log has two orders. *Persistence* is when Okta committed an event, and is what polling requests follow; `published`
is when it happened, and is what bounded requests follow. A late event was published long before it was persisted.
Times are epoch milliseconds, UTC.
Source: https://developer.okta.com/docs/reference/system-log-query/
"""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
DAY = 86_400_000
RETENTION = 90 * DAY  # older events are not returned
OLDEST_SINCE = 180 * DAY  # asking for an older `since` is an error
DEFAULT_SINCE = 7 * DAY


class BadQuery(Exception):
    """A query that Okta answers with 400."""

    def __init__(self, code: str, summary: str) -> None:
        super().__init__(summary)
        self.code, self.summary = code, summary


@dataclass(frozen=True)
class Page:
    """One page: the events as bytes, and the `after` of the next page (None: this is the last one).

    `caught_up`: a polling request found nothing new, so that its next link is the same as its own.
    """

    events: list[bytes]
    after: str | None
    caught_up: bool = False

    @property
    def body(self) -> bytes:
        return b"[" + b",".join(self.events) + b"]"


class EventLog:
    """Events in their persistence order. Safe to append to and query from different threads.

    `clock` is the org's, in epoch seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: list[bytes] = []
        self._persisted: list[int] = []  # never decreasing
        self._by_published: list[tuple[int, int]] = []  # (published, position)

    def __len__(self) -> int:
        return len(self._events)

    def append(self, events: Iterable[Mapping[str, Any] | bytes], persisted: int | None = None) -> None:
        """Commit events, in this order.

        Each is persisted at `persisted`, or when it was published; but never before its predecessor, so that an event
        published earlier than those before it is a late one. Bytes are served as they are, whatever they hold.
        """
        for event in events:
            raw = event if isinstance(event, bytes) else msgspec.json.encode(event)
            published = _published(raw)
            with self._lock:
                latest = self._persisted[-1] if self._persisted else 0
                fallback = published or latest or self._now()
                committed = max(latest, fallback if persisted is None else persisted)
                insort(self._by_published, (published or committed, len(self._events)))
                self._events.append(raw)
                self._persisted.append(committed)

    def query(self, parameters: Mapping[str, str], most: int = MAX_LIMIT) -> Page:
        """The page that a request with these query parameters gets, with so many events at most. Raises BadQuery."""
        now = self._now()
        unknown = parameters.keys() - {"since", "until", "after", "limit", "sortOrder"}
        if unknown:
            raise BadQuery(
                "E0000001", f"Api validation failed: this simulated Okta has no {', '.join(sorted(unknown))}"
            )
        limit = min(_limit(parameters.get("limit")), most)
        descending = _descending(parameters.get("sortOrder", "ASCENDING"))
        after = _cursor(parameters["after"]) if "after" in parameters else None
        until = _instant("until", parameters["until"]) if "until" in parameters else None
        polling = until is None and not descending
        until = now if until is None else until
        since = _instant("since", parameters["since"]) if "since" in parameters else until - DEFAULT_SINCE
        # A cursor is good for ever: what stands beside it says only where its first page began.
        if after is None and since < now - OLDEST_SINCE:
            raise BadQuery("E0000053", "Invalid date. The 'since' date should be within 180 days from the current date")
        since = max(since, now - RETENTION)
        with self._lock:
            if polling:
                return self._poll(since, after, limit)
            if since > until:
                raise BadQuery("E0000001", "Api validation failed: 'since' must be before 'until'")
            return self._bounded(since, until, after, limit, descending)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _poll(self, since: int, after: tuple[int, int] | None, limit: int) -> Page:
        start = bisect_left(self._persisted, since)
        if after is not None:
            start = max(start, after[1])
        events = self._events[start : start + limit]
        if not events:
            return Page([], None, caught_up=True)
        end = start + len(events)
        return Page(events, f"{self._persisted[end - 1]}_{end}")

    def _bounded(self, since: int, until: int, after: tuple[int, int] | None, limit: int, descending: bool) -> Page:
        index = self._by_published
        low, high = bisect_left(index, (since, 0)), bisect_left(index, (until, 0))
        if after is not None and descending:
            high = min(high, bisect_left(index, after))
        elif after is not None:
            low = max(low, bisect_right(index, after))
        found = index[max(low, high - limit) : high][::-1] if descending else index[low : min(low + limit, high)]
        more = high - low > len(found) > 0
        after_next = f"{found[-1][0]}_{found[-1][1]}" if more else None
        return Page([self._events[position] for _, position in found], after_next)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PUBLISHED = re.compile(rb'"published"\s*:\s*"([^"\\]{10,40})"')


def _published(raw: bytes) -> int | None:
    """When the event was published, as far as it says so: it need not be JSON that a strict decoder takes."""
    match = _PUBLISHED.search(raw)
    try:
        return milliseconds(match[1].decode()) if match else None
    except ValueError:
        return None


def milliseconds(text: str) -> int:
    """An ISO 8601 instant as epoch milliseconds. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def iso(milliseconds: int) -> str:
    """Epoch milliseconds as Okta writes an instant."""
    seconds, fraction = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:03d}Z"


def _instant(name: str, text: str) -> int:
    try:
        return milliseconds(text)
    except (ValueError, OverflowError):
        raise BadQuery("E0000001", f"Api validation failed: '{name}' is not an ISO 8601 timestamp") from None


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MAX_LIMIT):
        raise BadQuery("E0000001", f"Api validation failed: 'limit' must be between 0 and {MAX_LIMIT}")
    return int(text)


def _descending(text: str) -> bool:
    if text not in ("ASCENDING", "DESCENDING"):
        raise BadQuery("E0000001", "Api validation failed: 'sortOrder' must be ASCENDING or DESCENDING")
    return text == "DESCENDING"


def _cursor(text: str) -> tuple[int, int]:
    moment, _, position = text.partition("_")
    if not (text.isascii() and moment.isdigit() and position.isdigit() and len(text) < 40):
        raise BadQuery("E0000001", "Api validation failed: 'after' is not a cursor of this org")
    return int(moment), int(position)
