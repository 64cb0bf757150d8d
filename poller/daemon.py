"""APScheduler calls the cycle on a clock, and nothing else. Nothing that one org does or suffers ends the daemon."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import FrameType

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor as JobPool
from apscheduler.schedulers.background import BackgroundScheduler

from poller import cycle
from poller.errors import PollerError, Stopped
from poller.rules import Rule
from poller.settings import OrgSettings, Settings
from poller.store import Store, utc_now
from poller.system_log import SystemLog

THREADS = 32  # orgs that are polled at the same time, at most: those that answer don't wait for many that don't
GRACE = 1.5  # seconds that a page in hand is given to be finished once asked to stop

logger = structlog.get_logger()


def run(settings: Settings, store: Store, rules: Sequence[Rule]) -> None:
    """Poll every org every `poll_interval` until SIGTERM or SIGINT; returns within two seconds of it."""
    orgs = settings.all_orgs()
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a poll that outlasts its interval is nothing to warn of
    with stop_on_signals() as stop:
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": JobPool(min(THREADS, len(orgs))), "retention": JobPool(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        start, apart = datetime.now(UTC), min(timedelta(seconds=1), settings.poll_interval / len(orgs))
        for number, org in enumerate(orgs):
            scheduler.add_job(
                _Poll(settings, store, rules, org, stop),
                "interval",
                seconds=settings.poll_interval.total_seconds(),
                next_run_time=start + number * apart,
            )
        scheduler.add_job(
            lambda: _prune(settings, store),
            "interval",
            hours=1,
            executor="retention",
        )
        gc.freeze()  # the SDK's many objects live for ever: no collection needs to look at them
        logger.info("daemon.started", orgs=len(orgs), interval_seconds=settings.poll_interval.total_seconds())
        scheduler.start()
        stop.wait()
        _shut_down(scheduler)
    logger.info("daemon.stopped")


def run_once(settings: Settings, store: Store, rules: Sequence[Rule]) -> int:
    """Poll every org until it is caught up. Returns the exit code: 0 when all of them were, else 1."""
    orgs = settings.all_orgs()
    gc.freeze()
    with stop_on_signals() as stop, ThreadPoolExecutor(min(THREADS, len(orgs))) as pool:
        _prune_hourly(settings, store)
        polls = [pool.submit(_Poll(settings, store, rules, org, stop)) for org in orgs]
        caught_up = [poll.result() for poll in polls]
    return 0 if all(caught_up) else 1


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set. The second signal acts as if nobody had listened. Main thread only."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_: int, __: FrameType | None) -> None:
        restore()
        # Not set here: the code that the signal interrupted may be holding the event's own lock.
        threading.Thread(target=stop.set).start()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()


class _Poll:
    """The job of one org. Calling it says whether the org was caught up; it raises nothing."""

    def __init__(
        self, settings: Settings, store: Store, rules: Sequence[Rule], org: OrgSettings, stop: threading.Event
    ) -> None:
        self._store, self._rules, self._org, self._stop = store, rules, org.name, stop
        self._lookback = settings.initial_lookback
        self._log = SystemLog(org, settings.rate_limit_share, stop)
        self._error: str | None = None

    def __call__(self) -> bool:
        try:
            cycle.poll(self._store, self._log, self._org, self._rules, self._lookback)
        except Stopped:
            return False
        except PollerError as error:
            self._note(str(error))
            return False
        except Exception as error:
            self._note(f"{type(error).__name__} (a bug in poller): {error}", is_bug=True)
            return False
        if self._error is not None:
            logger.info("org.recovered", org=self._org)
            self._error = None
        return True

    def _note(self, message: str, is_bug: bool = False) -> None:
        """Log an error when it is new, not at each poll, and keep it for `poller status`."""
        if message != self._error:
            logger.error("org.failed", org=self._org, error=message, exc_info=is_bug)
            self._error = message
        with contextlib.suppress(PollerError):
            self._store.note_error(self._org, message, utc_now())


def _prune_hourly(settings: Settings, store: Store) -> None:
    """For who calls once: in the first call of an hour, and before it polls, so that what it brings is there to be
    looked at."""
    with contextlib.suppress(PollerError):  # the polls will say it better
        last = store.last_poll()
        if last is not None and last < utc_now().replace(minute=0, second=0, microsecond=0):
            _prune(settings, store)


def _prune(settings: Settings, store: Store) -> None:
    try:
        deleted = store.prune(utc_now() - settings.retention)
    except PollerError as error:
        logger.error("retention.failed", error=str(error))  # noqa: TRY400
    else:
        if deleted:
            logger.info("events.pruned", deleted=deleted)


def _shut_down(scheduler: BackgroundScheduler) -> None:
    """Let the pages in hand be finished. One that takes longer is cut off: its transaction has not happened."""
    ending = threading.Thread(target=scheduler.shutdown, daemon=True)
    ending.start()
    ending.join(GRACE)
    if ending.is_alive():
        logger.info("daemon.stopped", cut_off=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
