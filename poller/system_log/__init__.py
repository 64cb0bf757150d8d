"""The Okta edge: raw System Log records, page by page. Imported only by who polls: the okta SDK behind it is heavy.

`links` finds and checks what may be followed, `answer` reads what Okta says beside a page, `connection` sends signed
requests; the retries and the pace are here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar
from urllib.parse import urlencode

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random
from yarl import URL

from poller.errors import MalformedPage, Stopped, UnsafeLink
from poller.normalize import split_page
from poller.settings import OrgSettings
from poller.system_log.answer import Answer, TryAgain
from poller.system_log.connection import Connection
from poller.system_log.links import LOGS_PATH, check_link, find_link
from poller.text import iso

PAGE_LIMIT = 1000  # the most that Okta gives
ATTEMPTS, LIMITED_ATTEMPTS = 6, 20  # of one request: when it fails, and when it is merely limited
PATIENCE = 120  # seconds after which a failing request is given up, however few its attempts
EMPTY_PAGES = 10  # in a row, each with a `next` of its own, that are followed before this passes for being caught up

_starting = threading.Lock()

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """One answer: the link that was asked, its records as the very bytes Okta sent, and the `next` link, verbatim.

    `time`: when it was given, by Okta's clock or at most a second later, in epoch ms. `next_link` is None where there
    was none, or none that may be followed. `is_last`: nothing more is to be had now. `is_short`: fewer records than
    were asked for.
    """

    link: str
    time: int
    records: list[bytes]
    next_link: str | None
    is_last: bool
    is_short: bool


@dataclass(frozen=True)
class Check:
    """What one request told about an org. `clock_skew`: how far this machine's clock is ahead of Okta's."""

    credentials: str
    clock_skew: timedelta | None
    rate_limit: int | None
    rate_remaining: int | None


class SystemLog:
    """The System Log of one org. Its calls block, and raise Stopped as soon as `stop` is set.

    Args:
        share: the part of Okta's advertised rate limit that may be used, above 0 and up to 1.
        backoff: seconds, about, before a failed request is sent a second time; each further wait is twice as long, up
            to 16 times as long as the first.
    """

    def __init__(self, org: OrgSettings, share: float, stop: threading.Event, *, backoff: float = 0.5) -> None:
        self.org, self._share, self._stop = org, share, stop
        self._backoff = wait_exponential(multiplier=backoff, max=16 * backoff) + wait_random(0, 2 * backoff)
        self._connection = Connection(org)
        self._ready = 0.0  # when the next request may be sent, by time.monotonic

    def polling_link(self, since: datetime) -> str:
        """Where a live cursor starts: every event persisted from `since` on, in the order in which Okta persists."""
        return self._link(since=iso(since), sortOrder="ASCENDING", limit=PAGE_LIMIT)

    def bounded_link(self, since: datetime, until: datetime) -> str:
        """The beginning of a date range: what was published in `[since, until)`, in that order."""
        return self._link(since=iso(since), until=iso(until), sortOrder="ASCENDING", limit=PAGE_LIMIT)

    def owns(self, link: str) -> bool:
        """Whether a stored link leads to this org, at the address that it has now."""
        return self._checked(link)[1] is None

    def pages(self, link: str, *, bounded: bool = False) -> Generator[Page]:
        """The page of `link` and those behind it, one request at a time; close it (`contextlib.closing`) to end early.

        While the caller stores a page of a long run, the next one is on its way. A polling run ends with an empty page
        whose `next` is itself, a bounded one with the page that has no `next`; either one where Okta leads in a circle.
        Raises OktaRefused, UnsafeLink (once the page that brought the link has been given) or another OktaError.
        """
        url: URL | None = check_link(link, self.org.org_url)
        asked: set[str] = set()
        empty = 0  # pages in a row, up to this one
        ahead: concurrent.futures.Future[Answer] | None = None
        with self._connected():
            try:
                while url is not None:
                    asked.add(link)
                    answer, records = self._fetch(url, ahead)
                    next_link, itself = (find_link(answer.headers.getall("Link", []), r) for r in ("next", "self"))
                    url, unsafe = self._checked(next_link)
                    empty = 0 if records else empty + 1
                    is_end = next_link in asked or (not records and next_link == itself)
                    is_last = unsafe is None and (url is None or is_end or (empty > EMPTY_PAGES and not bounded))
                    if is_last and records and next_link is not None:
                        log.warning("link.repeated", org=self.org.name, records=len(records))
                    is_short = len(records) < PAGE_LIMIT
                    goes_on = url is not None and not is_last and (bounded or not is_short)
                    ahead = self._start(url) if url and goes_on and not self._pause_due() else None
                    yield Page(link, int(answer.time * 1000), records, next_link if url else None, is_last, is_short)
                    if unsafe is not None:
                        raise unsafe
                    if is_last or next_link is None:
                        return
                    link = next_link
            finally:
                if ahead is not None:
                    ahead.cancel()

    def check(self) -> Check:
        """Ask for one event, once, and say what the answer told. Raises OktaError."""
        link = self._link(since=iso(datetime.now(UTC) - timedelta(hours=1)), sortOrder="ASCENDING", limit=1)
        with self._connected():
            answer = self._result(self._start(check_link(link, self.org.org_url)))
            self._records(answer)
        # A Date header names the second that has begun: on average half of it is over.
        skew = None if answer.date is None else timedelta(seconds=round(answer.received - answer.date - 0.5))
        return Check(self._connection.credentials, skew, answer.number("Limit"), answer.number("Remaining"))

    def _link(self, **query: str | int) -> str:
        return f"{self.org.org_url}{LOGS_PATH}?{urlencode(query)}"

    def _checked(self, link: str | None) -> tuple[URL | None, UnsafeLink | None]:
        try:
            return (None if link is None else check_link(link, self.org.org_url)), None
        except UnsafeLink as error:
            return None, error

    # ---- one page: retries and pace ----

    def _fetch(self, url: URL, ahead: concurrent.futures.Future[Answer] | None) -> tuple[Answer, list[bytes]]:
        """The page of `url`; `ahead` is a request for it that is already on its way."""

        def attempt() -> tuple[Answer, list[bytes]]:
            nonlocal ahead
            future, ahead = ahead or self._start(url), None
            answer = self._result(future)
            return answer, self._records(answer)

        retrying = Retrying(
            retry=retry_if_exception_type((TryAgain, MalformedPage)),
            wait=self._wait,
            stop=_is_enough,
            before_sleep=self._say,
            sleep=self._pause,
            reraise=True,
        )
        return retrying(attempt)

    def _records(self, answer: Answer) -> list[bytes]:
        """The records of an answer. Raises TryAgain, MalformedPage, or OktaRefused with what to do next."""
        limit, remaining, reset = answer.number("Limit"), answer.number("Remaining"), answer.seconds_to_reset()
        if limit and remaining is not None and reset is not None and remaining <= limit * (1 - self._share):
            self._ready = time.monotonic() + reset
        answer.raise_if_busy(self.org.org_url)
        if answer.status >= 400:
            raise self._connection.refused(answer)
        try:
            return split_page(answer.body)
        except MalformedPage as error:
            raise MalformedPage(
                f"{self.org.org_url} answered with a page that can't be read: {error}. "
                "Is something between here and Okta? Try poller doctor."
            ) from None

    def _pause_due(self) -> float:
        return max(0.0, self._ready - time.monotonic())

    def _start(self, url: URL) -> concurrent.futures.Future[Answer]:
        seconds = self._pause_due()
        if seconds:
            log.info("rate_limit.reached", org=self.org.name, wait_seconds=round(seconds, 1))
        self._pause(seconds)
        return asyncio.run_coroutine_threadsafe(self._connection.get(url), _loop())

    def _wait(self, state: RetryCallState) -> float:
        known = getattr(_failure(state), "wait", None)
        return float(self._backoff(state) if known is None else known)

    def _say(self, state: RetryCallState) -> None:
        wait = round(state.next_action.sleep, 1) if state.next_action else 0
        log.warning("request.failed", org=self.org.name, reason=str(_failure(state)), wait_seconds=wait)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped("stopped.")

    def _result(self, future: concurrent.futures.Future[T]) -> T:
        """What the loop's thread has made of it. Ends at once when asked to stop."""
        try:
            while True:
                self._pause(0)
                if concurrent.futures.wait([future], timeout=0.05).done:
                    break
        except BaseException:
            future.cancel()
            raise
        return future.result()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Connections live for a run of pages: by the time of the next poll Okta has closed them."""
        try:
            self._result(asyncio.run_coroutine_threadsafe(self._connection.open(), _loop()))
            yield
        finally:
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._connection.close(), _loop()).result(timeout=1)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _is_enough(state: RetryCallState) -> bool:
    if getattr(_failure(state), "is_limit", False):
        return state.attempt_number >= LIMITED_ATTEMPTS
    return state.attempt_number >= ATTEMPTS or (state.seconds_since_start or 0) >= PATIENCE


def _loop() -> asyncio.AbstractEventLoop:
    """One event loop for the requests of all orgs, in a thread of its own."""
    with _starting:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="okta", daemon=True).start()
    return loop
