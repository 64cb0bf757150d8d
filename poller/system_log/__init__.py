"""The Okta edge: raw System Log records, page by page. Imported only by who polls: the okta SDK behind it is heavy.

`links` finds and checks what may be followed, `chain` knows where it ends or breaks, `answer` reads what Okta says
beside a page, `connection` sends signed requests; the retries and the pace are here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TypeVar
from urllib.parse import urlencode

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result, wait_exponential, wait_random
from yarl import URL

from poller import metrics
from poller.errors import MalformedPage, OktaError, Stopped, UnsafeLink
from poller.normalize import split_page
from poller.settings import OrgSettings
from poller.system_log.answer import Answer, TryAgain
from poller.system_log.chain import PAGE_LIMIT, Chain, Step
from poller.system_log.connection import ANSWER_SECONDS, Connection
from poller.system_log.links import LOGS_PATH, check_link, find_link
from poller.text import iso

ATTEMPTS = 6  # of one request that fails
LIMITED_ATTEMPTS = 20  # of one that is merely limited
LINK_ATTEMPTS = 2  # of one whose page comes without a `next` that can be followed
PATIENCE = 120  # seconds after which a request is given up, however few its attempts; waits that Okta named don't count
BACKOFF = 0.5  # seconds, about, before a failed request is sent a second time; each further wait is twice as long ...
LONGEST_BACKOFF = 16  # ... up to so many times the first
JITTER = 2  # times the first wait, at most, that chance adds to each
BESIDES = {  # what else a token could be good for, and the address that tells
    "users": "/api/v1/users?limit=1",
    "apps": "/api/v1/apps?limit=1",
    "admin roles": "/api/v1/iam/assignees/users?limit=1",
}

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
    """What a few requests told about an org.

    `can_also`: what the credentials are good for beyond reading the log, scopes or keys of BESIDES; None where that is
    not known. `clock_skew`: how far this machine's clock is ahead of Okta's.
    """

    credentials: str
    can_also: tuple[str, ...] | None
    clock_skew: timedelta | None
    rate_limit: int | None
    rate_remaining: int | None


class SystemLog:
    """The System Log of one org. Its calls block, and raise Stopped as soon as `stop` is set.

    Args:
        share: the part of Okta's advertised rate limit that may be used, above 0 and up to 1.
        backoff: see BACKOFF.
        answer_seconds: what one answer may take, from first to last.
    """

    def __init__(
        self,
        org: OrgSettings,
        share: float,
        stop: threading.Event,
        *,
        backoff: float = BACKOFF,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.org, self._share, self._stop = org, share, stop
        self._backoff = backoff
        self._connection = Connection(org, answer_seconds)
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
        whose `next` is itself, a bounded one with the page that has no `next`. Raises UnsafeLink or LostCursor, once
        the page that can't be gone on from has been given; OktaRefused, or another OktaError.
        """
        url: URL | None = check_link(link, self.org.org_url)
        chain = Chain(self.org.org_url, bounded)
        ahead: concurrent.futures.Future[Answer] | None = None
        with self._connected():
            try:
                while url is not None:
                    turn = self._fetch(url, ahead, partial(self._turn, chain, link))
                    url, fault = self._checked(turn.next_link)
                    if fault is not None:
                        self._note(fault)
                    is_last = turn.step.is_end and fault is None
                    fault = fault or (None if is_last else turn.step.fault)
                    next_link = None if fault else turn.next_link
                    is_short = len(turn.records) < PAGE_LIMIT
                    goes_on = not is_last and next_link is not None
                    if url and goes_on and (bounded or not is_short) and not self._pause_due():
                        ahead = self._start(url)
                    else:
                        ahead = None
                    yield Page(link, turn.time, turn.records, next_link, is_last, is_short)
                    if fault is not None:
                        raise fault
                    if not goes_on or next_link is None:
                        return
                    link = next_link
            finally:
                if ahead is not None:
                    ahead.cancel()

    def check(self) -> Check:
        """Ask for one event, once, and what else the credentials are good for; say what was told. Raises OktaError."""
        link = self._link(since=iso(datetime.now(UTC) - timedelta(hours=1)), sortOrder="ASCENDING", limit=1)
        with self._connected():
            answer = self._result(self._start(check_link(link, self.org.org_url)))
            self._records(answer)
            can_also = self._connection.further_scopes if self.org.uses_oauth else self._besides()
        # A Date header names the second that has begun: on average half of it is over.
        skew = None if answer.date is None else timedelta(seconds=round(answer.received - answer.date - 0.5))
        limit, remaining = answer.number("Limit"), answer.number("Remaining")
        return Check(self._connection.credentials, can_also, skew, limit, remaining)

    def _besides(self) -> tuple[str, ...] | None:
        """What else an API token can read: it has all the rights of the admin who made it. Nothing is changed."""
        try:
            answers = {
                what: self._result(self._start(URL(f"{self.org.org_url}{path}", encoded=True)))
                for what, path in BESIDES.items()
            }
            for answer in answers.values():
                answer.raise_if_busy(self.org.org_url)
        except OktaError:
            return None
        return tuple(what for what, answer in answers.items() if answer.status == 200)

    def _link(self, **query: str | int) -> str:
        return f"{self.org.org_url}{LOGS_PATH}?{urlencode(query)}"

    def _checked(self, link: str | None) -> tuple[URL | None, OktaError | None]:
        try:
            return (None if link is None else check_link(link, self.org.org_url)), None
        except UnsafeLink as error:
            return None, error

    # ---- one page: retries and pace ----

    def _fetch(
        self, url: URL, ahead: concurrent.futures.Future[Answer] | None, read: Callable[[Answer], _Turn]
    ) -> _Turn:
        """The page of `url`; `ahead` is a request for it that is already on its way. Every failure is told once."""

        def attempt() -> _Turn:
            nonlocal ahead
            future, ahead = ahead or self._start(url), None
            return read(self._result(future))

        patience = _Patience(self._backoff)
        retrying = Retrying(
            retry=retry_if_exception_type((TryAgain, MalformedPage)) | retry_if_result(_is_faulty),
            wait=patience.wait,
            stop=patience.is_over,
            before_sleep=lambda state: self._note(_failure(state), state.upcoming_sleep),
            sleep=self._pause,
            retry_error_callback=_outcome,
        )
        try:
            turn: _Turn = retrying(attempt)
        except OktaError as error:
            self._note(error)
            raise
        if turn.step.fault is not None and not turn.step.is_end:
            self._note(turn.step.fault)
        return turn

    def _turn(self, chain: Chain, link: str, answer: Answer) -> _Turn:
        """What an answer to `link` says. Raises as `_records` does."""
        records = self._records(answer)
        next_link, itself = (find_link(answer.headers.getall("Link", []), name) for name in ("next", "self"))
        return _Turn(int(answer.time * 1000), records, next_link, chain.step(link, len(records), next_link, itself))

    def _records(self, answer: Answer) -> list[bytes]:
        """The records of an answer. Raises TryAgain, MalformedPage, or OktaRefused with what to do next."""
        limit, remaining, reset = answer.number("Limit"), answer.number("Remaining"), answer.seconds_to_reset()
        if limit and remaining is not None:  # a limit of 0 is that of concurrency
            metrics.RATE_LIMIT.labels(self.org.name).set(limit)
            metrics.RATE_REMAINING.labels(self.org.name).set(remaining)
            if reset is not None and remaining <= limit * (1 - self._share):
                self._ready = time.monotonic() + reset
        answer.raise_if_busy(self.org.org_url)
        if answer.status >= 400:
            raise self._connection.refused(answer)
        try:
            if answer.status != 200:
                raise MalformedPage(f"status {answer.status}")
            return split_page(answer.body)
        except MalformedPage as error:
            raise MalformedPage(
                f"{self.org.org_url} answered with a page that can't be read: {error}. "
                "Is something between here and Okta? Try poller doctor."
            ) from None

    def _note(self, failure: BaseException | None, wait: float | None = None) -> None:
        """One failed request: a count, and a line that says when it is sent again (`wait`, seconds). The failure that
        it is given up with is raised: whoever catches it says so, and knows whether that is news."""
        assert isinstance(failure, OktaError)
        failure.args = (self._connection.mask(str(failure)),)
        metrics.RETRIES.labels(self.org.name, failure.kind).inc()
        if wait is not None:
            fields = {"kind": failure.kind, "reason": str(failure), "wait_seconds": round(wait, 1)}
            log.warning("request.failed", org=self.org.name, **fields)

    def _pause_due(self) -> float:
        return max(0.0, self._ready - time.monotonic())

    def _start(self, url: URL) -> concurrent.futures.Future[Answer]:
        seconds = self._pause_due()
        if seconds:
            log.info("rate_limit.reached", org=self.org.name, wait_seconds=round(seconds, 1))
        self._pause(seconds)
        return asyncio.run_coroutine_threadsafe(self._connection.get(url), _loop())

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
        except OktaError as error:
            error.args = (self._connection.mask(str(error)),)
            raise
        finally:
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._connection.close(), _loop()).result(timeout=1)


@dataclass(frozen=True)
class _Turn:
    """One page as it came: when, by Okta's clock in epoch ms; its records; its `next` link, and what that means."""

    time: int
    records: list[bytes]
    next_link: str | None
    step: Step


class _Patience:
    """How long to wait before one request is sent again, and when it is given up."""

    def __init__(self, backoff: float) -> None:
        self._backoff = wait_exponential(multiplier=backoff, max=LONGEST_BACKOFF * backoff)
        self._jitter = wait_random(0, JITTER * backoff)
        self._named = self._next_named = 0.0  # seconds of the waits that Okta named: past, and to come

    def wait(self, state: RetryCallState) -> float:
        known: float | None = getattr(_failure(state), "wait", None)
        self._named, self._next_named = self._named + self._next_named, known or 0.0
        return (self._backoff(state) if known is None else known) + self._jitter(state)

    def is_over(self, state: RetryCallState) -> bool:
        """Asked after `wait`."""
        kind = getattr(_failure(state), "kind", None)
        most = {"rate_limit": LIMITED_ATTEMPTS, "concurrency_limit": LIMITED_ATTEMPTS, "lost_cursor": LINK_ATTEMPTS}
        is_late = (state.seconds_since_start or 0) - self._named >= PATIENCE
        return is_late or state.attempt_number >= most.get(str(kind), ATTEMPTS)


def _failure(state: RetryCallState) -> BaseException | None:
    if state.outcome is None:
        return None
    error: BaseException | None = state.outcome.exception()
    return error or state.outcome.result().step.fault


def _is_faulty(turn: _Turn) -> bool:
    return turn.step.fault is not None


def _outcome(state: RetryCallState) -> _Turn:
    """What the last attempt came to. Raises what it raised."""
    assert state.outcome is not None
    turn: _Turn = state.outcome.result()
    return turn


def _loop() -> asyncio.AbstractEventLoop:
    """One event loop for the requests of all orgs, in a thread of its own."""
    with _starting:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="okta", daemon=True).start()
    return loop
