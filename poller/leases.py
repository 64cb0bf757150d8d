"""Who polls which org, when several processes work on one database: leases that run out, with a fencing epoch.

A process is one row of `daemons`, alive until a moment that it moves on with each beat. An org is held by one process;
each new holder gets the next epoch, and every page that is committed checks both (`Store.commit_poll`), so that a
holder that was stopped and wakes up again can't commit. All by ordinary rows: advisory locks don't survive connection
poolers, and the clock that counts is the database's.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from pathlib import Path

import sqlalchemy as sa
import structlog

from poller.errors import PollerError
from poller.schema import daemons, orgs
from poller.store import Store

LEAST_TTL = 1.0  # seconds; a busy machine may not come to renew a lease more often
TTL = 0.6  # of a poll interval: with the checks below, an org changes hands within one
BEATS = 4  # in the life of a lease
IMPATIENCE = 0.5  # seconds after which one that is there for a moment looks again
FORGOTTEN = 86_400_000  # ms after which the row of a process that is gone is deleted

logger = structlog.get_logger()


@dataclass(frozen=True)
class Lease:
    """The right to commit pages of an org, as long as nobody else has taken it over."""

    org: str
    holder: str
    epoch: int


class Leases:
    """The orgs that this process holds, of those that it would poll. `close()` it in the end.

    Args:
        wanted: the orgs to poll, shared evenly with the other processes that want the same ones.
        interval: how often orgs are polled: within it a process that died is replaced.
        shares: False for one that is there for a moment only (`run --once`): it takes what it can get.
        on_beat: called after each beat, with what went wrong.
    """

    def __init__(
        self,
        store: Store,
        wanted: Sequence[str],
        interval: timedelta,
        *,
        shares: bool = True,
        on_beat: Callable[[PollerError | None], object] = lambda error: None,
    ) -> None:
        self.holder = uuid.uuid4().hex
        self.on_gained: Callable[[Sequence[str]], object] = lambda orgs: None  # hears what has become this process's
        self._store, self._wanted, self._on_beat = store, list(wanted), on_beat
        self._ttl = max(LEAST_TTL, TTL * interval.total_seconds())
        self._fleet = hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest() if shares else self.holder
        self._pause = self._ttl / BEATS if shares else min(self._ttl / BEATS, IMPATIENCE)
        self._held: dict[str, Lease] = {}
        self._in_use: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None
        self._last_beat = time.monotonic()

    def close(self) -> None:
        """Give everything back."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join(timeout=1)
        with suppress(PollerError):
            self._leave()

    def start(self) -> None:
        """Take what is free, and keep on doing so, in a thread of its own."""
        self._beating = threading.Thread(target=self._beat_on, name="leases", daemon=True)
        self._beating.start()

    @contextmanager
    def using(self, org: str) -> Iterator[Lease | None]:
        """The lease on an org, not to be given away meanwhile; None where another process has it."""
        with self._lock:
            lease = self._held.get(org)
            if lease is not None:
                self._in_use.add(org)
        try:
            yield lease
        finally:
            with self._lock:
                self._in_use.discard(org)

    def lost(self, lease: Lease) -> None:
        """A commit has found that another process holds the org now."""
        with self._lock:
            if self._held.get(lease.org) == lease:
                del self._held[lease.org]

    @property
    def seconds_since_beat(self) -> float:
        return time.monotonic() - self._last_beat

    def has(self, org: str) -> bool:
        with self._lock:
            return org in self._held

    @property
    def held(self) -> list[str]:
        with self._lock:
            return sorted(self._held)

    def beat(self) -> None:
        """Say that this process is alive, take orgs that nobody holds, up to a fair share, and give back what is more
        than that. Raises DatabaseError."""
        with self._store.writing() as connection:
            now = self._now(connection)
            self._renew(connection, now)
            live = self._live(connection, now)
            mine, free = self._survey(connection, live)
            most = ceil(len(self._wanted) / max(1, sum(1 for fleet in live.values() if fleet == self._fleet)))
            random.shuffle(free)
            gained = self._take(connection, free[: max(0, most - len(mine))], live)
            with self._lock:
                spare = [org for org in mine if org in self._held and org not in self._in_use]
                given = spare[: max(0, len(mine) - most)]
                for org in given:
                    del self._held[org]
            self._give(connection, given)
            self._renew(connection, self._now(connection))  # what came before may have taken its time
        with self._lock:
            self._held = {org: Lease(org, self.holder, epoch) for org, epoch in mine.items() if org not in given} | {
                lease.org: lease for lease in gained
            }
        if gained and not self._ended.is_set():
            logger.debug("leases.taken", orgs=[lease.org for lease in gained])
            self.on_gained([lease.org for lease in gained])

    # ---- in the database ----

    def _now(self, connection: sa.Connection) -> int:
        """Epoch ms by the database's clock, so that those of the machines may differ."""
        if self._store.is_postgres:
            sql = "select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)"
        else:
            sql = "select cast((julianday('now') - 2440587.5) * 86400000 as integer)"
        return int(connection.exec_driver_sql(sql).scalar_one())

    def _renew(self, connection: sa.Connection, now: int) -> None:
        until = now + int(self._ttl * 1000)
        renewed = connection.execute(
            sa.update(daemons).where(daemons.c.uid == self.holder).values(alive_until=until)
        ).rowcount
        if not renewed:
            connection.execute(sa.delete(daemons).where(daemons.c.alive_until < now - FORGOTTEN))
            connection.execute(
                sa.insert(daemons).values(
                    uid=self.holder, fleet=self._fleet, process=_this_process(), alive_until=until
                )
            )
            self._store.ensure_orgs(connection, self._wanted)

    def _live(self, connection: sa.Connection, now: int) -> dict[str, str]:
        """The fleet of each process that is alive. One of this very machine that has died is known at once."""
        rows = connection.execute(sa.select(daemons).where(daemons.c.alive_until > now)).all()
        return {row.uid: row.fleet for row in rows if row.uid == self.holder or not _is_dead(row.process)}

    def _survey(self, connection: sa.Connection, live: dict[str, str]) -> tuple[dict[str, int], list[str]]:
        """Of the wanted orgs: the epochs of those that this process holds, and those that are free."""
        mine: dict[str, int] = {}
        free: list[str] = []
        query = sa.select(orgs.c.org, orgs.c.lease_holder, orgs.c.lease_epoch)
        wanted = set(self._wanted)
        for org, holder, epoch in connection.execute(query):
            if org not in wanted:
                continue
            if holder == self.holder:
                mine[org] = epoch
            elif holder not in live:
                free.append(org)
        return mine, free

    def _give(self, connection: sa.Connection, given: Sequence[str]) -> None:
        if given:
            mine = (orgs.c.lease_holder == self.holder) & orgs.c.org.in_(given)
            connection.execute(self._unlocked(mine).values(lease_holder=None))

    def _take(self, connection: sa.Connection, free: Sequence[str], live: Mapping[str, str]) -> list[Lease]:
        """Take over orgs, but those where somebody else was faster, or where the last holder stands in the middle of a
        commit."""
        if not free:
            return []
        still_free = orgs.c.lease_holder.is_(None) | orgs.c.lease_holder.not_in(live)
        taking = self._unlocked(orgs.c.org.in_(free) & still_free).values(
            lease_holder=self.holder, lease_epoch=orgs.c.lease_epoch + 1
        )
        rows = connection.execute(taking.returning(orgs.c.org, orgs.c.lease_epoch)).all()
        return [Lease(org, self.holder, epoch) for org, epoch in rows]

    @staticmethod
    def _unlocked(which: sa.ColumnElement[bool]) -> sa.Update:
        """An update of those orgs that nobody has locked."""
        names = sa.select(orgs.c.org).where(which).with_for_update(skip_locked=True)
        return sa.update(orgs).where(orgs.c.org.in_(names))

    def _leave(self) -> None:
        """What this process held is free at once: a holder without a row is gone."""
        with self._store.writing() as connection:
            connection.execute(sa.delete(daemons).where(daemons.c.uid == self.holder))

    def _beat_on(self) -> None:
        self._try_to_beat()
        while not self._ended.wait(self._pause):
            self._try_to_beat()

    def _try_to_beat(self) -> None:
        self._last_beat = time.monotonic()
        try:
            self.beat()
        except PollerError as error:
            self._on_beat(error)
        except Exception:
            logger.exception("leases.failed")
        else:
            self._on_beat(None)


def _machine() -> str:
    """This machine since its last start; in a container, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int | str) -> str | None:
    """When a process of this machine was started, in ticks since the machine was; None: it is dead, '-': nobody tells.
    Source: proc_pid_stat(5)."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return None if state in "ZX" else numbers[18]
    except OSError:
        pass
    try:
        os.kill(int(pid), 0)  # it may be there, and hidden from this user
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "-"


def _this_process() -> str:
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def _is_dead(process: str) -> bool:
    """Whether a process of this very machine is no more; of others nothing is known."""
    machine, pid, started = process.rsplit(" ", 2)
    if machine != _machine():
        return False
    now = _started(pid)
    return now is None or ("-" not in (now, started) and now != started)
