"""APScheduler calls the cycle on a clock, and nothing else. Nothing that one org does or suffers ends the daemon."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import FrameType

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor as JobPool
from apscheduler.schedulers.background import BackgroundScheduler

from poller import __version__, cycle, metrics, migrate, watch
from poller.errors import DatabaseError, LeaseLost, PollerError, Stopped
from poller.health import Health, Heartbeat
from poller.leases import Lease, Leases
from poller.rules import Rule
from poller.settings import OrgSettings, Settings, exposed_file
from poller.store import Store, utc_now
from poller.system_log import SystemLog

THREADS = 32  # orgs that are polled at the same time, at most: those that answer don't wait for many that don't
WATCHING = timedelta(minutes=1)  # how often poller looks at itself, at least
MOST_WAITING = 120  # seconds that `run --once` waits, at least, for another process that has an org
VERIFY_AGAIN = 900  # seconds after which a verification that failed is tried again
STUCK = 300  # seconds without a try to renew leases, after which the process is not well
WAITS = (0.5, 15.0)  # seconds between tries to reach a database that is away at the start: the first, and the longest
PATIENCE = 20  # seconds that a poll of the daemon works off rules that were put off; the next one goes on
GRACE = 1.5  # seconds that a page in hand is given to be finished once asked to stop

logger = structlog.get_logger()


def run(settings: Settings, store: Store, rules: Sequence[Rule]) -> None:
    """Poll every org every `poll_interval` until SIGTERM or SIGINT; returns within two seconds of it.

    With several processes on one database, each polls its share of the orgs. A database that is away is waited for.
    Raises DatabaseError: it is there, and can't be used.
    """
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a poll that outlasts its interval is nothing to warn of
    with stop_on_signals() as stop:
        work = _Work(settings, store, rules, stop)
        orgs, interval = settings.all_orgs(), settings.poll_interval
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": JobPool(min(THREADS, len(orgs))), "upkeep": JobPool(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

        def poll_now(gained: Sequence[str]) -> None:
            apart = interval / 4 / len(gained)
            for number, org in enumerate(gained):
                scheduler.modify_job(org, next_run_time=datetime.now(UTC) + number * apart)

        for org in orgs:
            scheduler.add_job(_Poll(work, org), "interval", id=org.name, seconds=interval.total_seconds())
        work.leases.on_gained = poll_now
        upkeep = {"trigger": "interval", "executor": "upkeep"}
        scheduler.add_job(work.tell_versions, executor="upkeep")
        scheduler.add_job(work.prune, hours=1, **upkeep)
        scheduler.add_job(work.look, seconds=min(WATCHING, interval).total_seconds(), **upkeep)
        gc.freeze()  # the SDK's many objects live for ever: no collection needs to look at them
        work.health.start()
        _await_database(work)
        if work.is_database_there:
            logger.info("daemon.started", orgs=len(orgs), interval_seconds=interval.total_seconds())
            scheduler.start()
            work.leases.start()
            stop.wait()
            _shut_down(scheduler, work)
    logger.info("daemon.stopped")


def run_once(settings: Settings, store: Store, rules: Sequence[Rule]) -> int:
    """Poll every org until it is caught up. Returns the exit code: 0 when all of them were, else 1. A signal ends it
    within two seconds."""
    gc.freeze()
    caught_up: list[bool] = []
    with stop_on_signals() as stop:
        work = _Work(settings, store, rules, stop, shares=False)
        polls = [_Poll(work, org) for org in settings.all_orgs()]

        def work_off() -> None:
            with closing(work.leases), ThreadPoolExecutor(min(THREADS, len(polls))) as pool:
                work.prune_hourly()
                work.leases.start()
                caught_up.extend(pool.map(_Poll.in_turn, polls))
                work.look()

        _finish(threading.Thread(target=work_off, daemon=True), stop, code=1)
        is_well = len(caught_up) == len(polls) and all(caught_up)
        if is_well:
            work.heartbeat.beat_now(stop)
    return 0 if is_well else 1


@contextmanager
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


class _Work:
    """What the jobs of one process share."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        rules: Sequence[Rule],
        stop: threading.Event,
        shares: bool = True,
    ) -> None:
        self.settings, self.store, self.rules, self.stop = settings, store, rules, stop
        if exposed := exposed_file():
            logger.warning("settings.exposed", reason=exposed)
        self.started = utc_now()
        self.patience = PATIENCE if shares else float("inf")
        self.database = _Database()
        self.is_database_there = False  # with its schema: until then the daemon does nothing but wait for it
        names = [org.name for org in settings.all_orgs()]
        self.leases = Leases(store, names, settings.poll_interval, shares=shares, on_beat=self._beaten)
        self.heartbeat = Heartbeat(settings.heartbeat_url)
        self.health = Health(settings.health_address, is_alive=self._is_alive, is_ready=self._is_ready)
        self.failing: set[str] = set()
        self.last_heartbeat = float("-inf")
        store.on_rule = lambda rule, seconds: metrics.RULE_SECONDS.labels(rule).observe(seconds)
        metrics.DATABASE_UP.set(1)

    def await_database(self) -> None:
        """Returns once the database is there, its schema that of this program, or once asked to stop. Raises
        DatabaseError: waiting would not help."""
        pause, longest = WAITS
        while not self.stop.is_set():
            try:
                migrate.ensure(self.store, self.settings.auto_migrate)
            except DatabaseError as error:
                if not migrate.is_away(error):
                    raise
                self.database.failed("the start", error)
            else:
                self.is_database_there = True
                self.database.worked("the start")
                return
            self.stop.wait(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, longest)

    def tell_versions(self) -> None:
        with suppress(PollerError):
            metrics.INFO.labels(__version__, self.store.version).set(1)

    def look(self) -> None:
        """How poller itself is: once a minute, and at the end of `run --once`."""
        held = set(self.leases.held)
        interval = self.settings.poll_interval
        try:
            watch.look(self.store, self.rules, held, utc_now(), self.started, interval)
            watch.count_open(self.store, held)
            watch.tell_lag(self.store, held)
        except PollerError as error:
            self.database.failed("poller itself", error)
        except Exception:
            logger.exception("watch.failed")
        else:
            self.database.worked("poller itself")

    def prune_hourly(self) -> None:
        """For who calls once: in the first call of an hour, and before it polls, so that what it brings is there to be
        looked at."""
        with suppress(PollerError):  # the polls will say it better
            last = self.store.last_poll()
            if last is not None and last < utc_now().replace(minute=0, second=0, microsecond=0):
                self.prune()

    def prune(self) -> None:
        try:
            deleted = self.store.prune(utc_now() - self.settings.retention)
        except PollerError as error:
            self.database.failed("retention", error)
        else:
            self.database.worked("retention")
            if deleted:
                logger.info("events.pruned", deleted=deleted)

    def polled(self, org: str, is_well: bool) -> None:
        """After each poll. The heartbeat, one in a poll interval, says that no org fails."""
        metrics.UP.labels(org).set(is_well)
        metrics.RECOVERED.labels(org).inc(0)  # a counter has to be seen at 0 for its first step to be one
        if is_well:
            self.failing.discard(org)
        else:
            self.failing.add(org)
        due = time.monotonic() >= self.last_heartbeat + 0.9 * self.settings.poll_interval.total_seconds()
        if is_well and due and not self.failing.intersection(self.leases.held):
            self.last_heartbeat = time.monotonic()
            self.heartbeat.beat()

    def _beaten(self, error: PollerError | None) -> None:
        held = self.leases.held
        metrics.LEASES.set(len(held))
        if error is None:
            self.database.worked("leases")
            self.database.forget_all_but({*held, "leases", "poller itself"})
        else:
            self.database.failed("leases", error)

    def _is_alive(self) -> str | None:
        if self.is_database_there and self.leases.seconds_since_beat > STUCK:
            return f"no sign of life for {self.leases.seconds_since_beat:.0f} s"
        return None

    def _is_ready(self) -> str | None:
        return self.database.reason or (None if self.is_database_there else "the database has not answered yet")


class _Database:
    """Trouble with the database, said once, however many run into it."""

    def __init__(self) -> None:
        self._troubled: set[str] = set()
        self._lock = threading.Lock()
        self.reason: str | None = None

    def failed(self, who: str, error: PollerError) -> None:
        with self._lock:
            if not self._troubled:
                logger.error("database.failed", error=str(error))
                metrics.DATABASE_UP.set(0)
            self.reason = str(error)
            self._troubled.add(who)

    def worked(self, who: str) -> None:
        with self._lock:
            self._keep(self._troubled - {who})

    def forget_all_but(self, who: Collection[str]) -> None:
        """Others poll the rest by now, or it is tried again by and by."""
        with self._lock:
            self._keep(self._troubled.intersection(who))

    def _keep(self, troubled: set[str]) -> None:
        if self._troubled and not troubled:
            self.reason = None
            logger.info("database.recovered")
            metrics.DATABASE_UP.set(1)
        self._troubled = troubled


class _Poll:
    """The job of one org. Calling it says whether the org was caught up; it raises nothing."""

    def __init__(self, work: _Work, org: OrgSettings) -> None:
        self._work, self._org = work, org.name
        self._log = SystemLog(org, work.settings.rate_limit_share, work.stop)
        self._error: str | None = None
        self._verify_again = 0.0  # by time.monotonic

    def in_turn(self) -> bool:
        """For who calls once: where another process has the org, wait until that one is done with it, or gone."""
        began = utc_now()
        patience = time.monotonic() + max(MOST_WAITING, 2 * self._work.settings.poll_interval.total_seconds())
        while not self._work.leases.has(self._org):
            if self._was_caught_up(began):
                logger.info("org.caught_up_by_another", org=self._org)
                return True
            if self._work.database.reason is not None or self._work.stop.wait(0.1):
                return False
            if time.monotonic() > patience:
                self._note("another process polls this org, and has not caught up with it. See poller status.")
                return False
        return self()

    def __call__(self) -> bool:
        with self._work.leases.using(self._org) as lease:
            return lease is not None and self._poll(lease)

    def _poll(self, lease: Lease) -> bool:
        work = self._work
        try:
            lookback, patience = work.settings.initial_lookback, work.patience
            cycle.poll(work.store, self._log, self._org, work.rules, lookback, lease=lease, patience=patience)
        except Stopped:
            return False
        except LeaseLost as error:
            logger.info("lease.lost", org=self._org, reason=str(error))
            work.leases.lost(lease)
            return False
        except DatabaseError as error:
            work.database.failed(self._org, error)
            self._fail(str(error), lease)
            return False
        except PollerError as error:
            work.database.worked(self._org)
            self._note(str(error), kind=getattr(error, "kind", None))
            self._fail(str(error), lease)
            return False
        except Exception as error:
            message = f"{type(error).__name__} (a bug in poller): {error}"
            self._note(message, is_bug=True)
            self._fail(message, lease)
            return False
        if self._error is not None:
            logger.info("org.recovered", org=self._org)
            self._error = None
        work.database.worked(self._org)
        metrics.LAST_POLL.labels(self._org).set_to_current_time()
        metrics.LAG.labels(self._org).set(0)
        work.polled(self._org, is_well=True)
        self._verify()
        return True

    def _verify(self) -> None:
        """Read an hour again that is old enough by now. What goes wrong with it is no failure of the poll, and does not
        hold up the next ones."""
        work = self._work
        if time.monotonic() < self._verify_again:
            return
        try:
            after, patience = work.settings.verify_after, work.patience
            cycle.verify_next(work.store, self._log, self._org, work.rules, after, patience=patience)
        except Stopped:
            pass
        except PollerError as error:
            self._verify_again = time.monotonic() + VERIFY_AGAIN
            logger.warning("verification.failed", org=self._org, reason=str(error))
        except Exception:
            self._verify_again = time.monotonic() + VERIFY_AGAIN
            logger.exception("verification.failed", org=self._org)

    def _note(self, message: str, kind: str | None = None, is_bug: bool = False) -> None:
        """Log an error when it is new, not at each poll."""
        if message != self._error:
            fields = {"kind": kind} if kind else {}
            logger.error("org.failed", org=self._org, **fields, error=message, exc_info=is_bug)
            self._error = message

    def _fail(self, message: str, lease: Lease) -> None:
        """Keep an error for `poller status`, and for who asks since when."""
        self._work.polled(self._org, is_well=False)
        with suppress(PollerError):
            self._work.store.note_error(self._org, message, utc_now(), lease)

    def _was_caught_up(self, since: datetime) -> bool:
        with suppress(PollerError):
            then = self._work.store.caught_up(self._org)
            return then is not None and then >= since
        return False


def _await_database(work: _Work) -> None:
    """In a thread of its own, since a try may take longer than a stop may. Raises what went wrong in it."""
    wrong: list[Exception] = []

    def wait() -> None:
        try:
            work.await_database()
        except Exception as error:
            wrong.append(error)

    _finish(threading.Thread(target=wait, daemon=True), work.stop, code=0)
    if wrong:
        raise wrong[0]


def _shut_down(scheduler: BackgroundScheduler, work: _Work) -> None:
    """Let the pages in hand be finished. What takes longer is cut off: its transaction has not happened."""

    def end() -> None:
        work.health.stop()
        scheduler.shutdown()
        work.leases.close()

    _finish(threading.Thread(target=end, daemon=True), work.stop, code=0)


def _finish(work: threading.Thread, stop: threading.Event, code: int) -> None:
    """Wait for a thread to end. Once asked to stop, what it has in hand is given a moment, and then cut off: its
    transaction has not happened."""
    work.start()
    while work.is_alive() and not stop.is_set():
        work.join(0.05)
    work.join(GRACE)
    if work.is_alive():
        logger.info("daemon.stopped", cut_off=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
