"""Measure poller: from an HTTP server to committed findings, and what the history behind a page costs.

    python -m benchmarks.measure            a first impression, some two minutes
    python -m benchmarks.measure --full     with five million stored events, some twenty minutes and 15 GB of disk

What is measured, and what was measured where, is in docs/benchmarks.md. Needs Linux for the peak memory.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

import poller
from benchmarks import databases
from benchmarks.made_up import History, Stored, flood, serve
from poller.demo.company import DAY
from poller.rules import Rule, load_rules
from poller.schema import events
from poller.store import Store, utc_now

ORG = "benchmark"
PAGES = 20  # of 1000 events, whose rules are timed at either size of the history
FEW = 100_000  # stored events that the larger history is compared with
STARTS = 9  # cold starts of `poller findings`
EVENTS_PER_SECOND = {"sqlite": 10_000, "postgres": 15_000}  # the aims

say = Console(stderr=True).print


@dataclass(frozen=True)
class Figure:
    """One measured number beside what it should be."""

    name: str
    value: float
    form: str
    aim: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.aim is None:
            return ""
        return "yes" if (self.value >= self.aim) == self.at_least or self.value == self.aim else "no"


def main() -> None:
    told, *_ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=told)
    add = parser.add_argument
    add("--database", choices=(*databases.KINDS, "both"), default="both", help="default: %(default)s")
    add("--postgres", metavar="URL", help="a Postgres server to use (default: one of its own)")
    add("--events", type=int, default=60_000, metavar="N", help="events to fetch (default: %(default)s)")
    add("--history", type=int, default=400_000, metavar="N", help="stored events (default: %(default)s)")
    add("--full", action="store_true", help="the same as --events 200000 --history 5000000")
    add("--runs", type=int, default=1, metavar="N", help="times to fetch; the median is told (default: %(default)s)")
    asked = parser.parse_args()
    if asked.full:
        asked.events, asked.history = 200_000, 5_000_000

    compileall.compile_dir(Path(poller.__file__).parent, quiet=2)
    kinds = databases.KINDS if asked.database == "both" else (asked.database,)
    results = {kind: measured(kind, asked.postgres, asked.events, asked.history, asked.runs) for kind in kinds}
    show(results)


def measured(kind: str, server: str | None, count: int, history: int, times: int) -> list[Figure]:
    runs = []
    for _ in range(times):
        with databases.database(kind, server) as url, Store(url) as store:
            empty = databases.size(store)
            say(f"{kind}: fetching {count:,} events")
            runs.append(fetch(url, count))
            stored = (databases.size(store) - empty) / count
            cold = cold_start(url)
    rate = statistics.median(count / run.seconds for run in runs)
    peak = max(run.peak for run in runs)
    return [
        Figure("events/s, HTTP to committed findings", rate, ",.0f", EVENTS_PER_SECOND[kind], at_least=True),
        Figure("peak memory of the poller, MB", peak / 1e6, ".0f", 150),
        Figure("bytes stored per event", stored, ",.0f", 1000),
        Figure("`poller findings`, cold start, ms", cold * 1000, ".0f", 400),
        *rules_by_history(kind, server, history),
    ]


# ---- end to end ----


@dataclass(frozen=True)
class Run:
    """`poller run --once` against a simulated Okta: seconds from its first request to its end, peak memory in bytes."""

    seconds: float
    peak: int


def fetch(url: str, count: int) -> Run:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    okta = multiprocessing.get_context("spawn").Process(target=serve, args=(count, theirs), daemon=True)
    okta.start()
    address, token = ours.recv()
    environment = {
        "POLLER_DATABASE_URL": url,
        "POLLER_OKTA_ORG_URL": address,
        "POLLER_OKTA_ORG_NAME": ORG,
        "POLLER_OKTA_API_TOKEN": token,
        "POLLER_INITIAL_LOOKBACK": "80d",
        "POLLER_RATE_LIMIT_SHARE": "1",
        "POLLER_LOG_LEVEL": "warning",
    }
    with command("run", "--once", **environment) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_memory(process.pid))
            time.sleep(0.02)
        ended = time.time()
    ours.send("stop")
    began = ours.recv()
    okta.join()
    if process.returncode:
        raise SystemExit(f"poller run --once ended with {process.returncode}")
    with Store(url) as store, store.reading() as connection:
        there = connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
    if there != count:
        raise SystemExit(f"{there} events are stored, not the {count} that were served")
    return Run(ended - began, peak)


@contextlib.contextmanager
def command(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A poller process with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POLLER_")}
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "poller", *arguments],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(Path(poller.__file__).parent.parent), **environment},
            stdout=subprocess.DEVNULL,
        ) as process,
    ):
        yield process


def _peak_memory(pid: int) -> int:
    """The most memory that a running process has had so far, in bytes; 0 where the system doesn't say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def cold_start(url: str) -> float:
    """Seconds from starting `poller findings` to its end, the median."""
    took = []
    for _ in range(STARTS):
        start = time.perf_counter()
        with command("findings", "--limit", "20", POLLER_DATABASE_URL=url) as process:
            process.wait()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


# ---- what the history costs ----


def rules_by_history(kind: str, server: str | None, most: int) -> list[Figure]:
    rules = [rule for rule in load_rules() if rule.enabled and rule.is_about_events()]
    history, took = History(), defaultdict[str, float](float)
    with contextlib.ExitStack() as stack:
        few, many = (
            stack.enter_context(Store(stack.enter_context(databases.database(kind, server)))) for _ in range(2)
        )
        for store, size in ((few, FEW), (many, most)):
            say(f"{kind}: filling a database with {size:,} events")
            stored = day = 0
            while stored < size:
                stored += fill(store, history.told(day)[: size - stored])
                day -= 1
            databases.settle(store)
        # In pairs, so that what else the machine does weighs on both alike.
        many.on_rule = lambda name, seconds: took.update({name: took[name] + seconds * 1000 / PAGES})
        pairs = [[rules_of_page(store, rules, page) for store in (few, many)] for page in history.pages(1, PAGES)]
        many.on_rule = lambda name, seconds: None
        small = [rules_of_page(many, rules, page) for page in history.pages(2, PAGES, 20)]
        by_few, by_many = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(slower / faster for faster, slower in pairs)
        say(f"{kind}: a flood of pushes")
        denied = flood(history.day[0][0].time + 3 * DAY)
        worst = max(rules_of_page(few, rules, denied[start : start + 1000]) for start in range(0, len(denied), 1000))
    slowest = sorted(took.items(), key=lambda item: -item[1])[:8]
    say(f"{kind}: the slowest rules, ms a page: " + ", ".join(f"{name} {each:.1f}" for name, each in slowest))
    return [
        Figure(f"{len(rules)} rules, a page of 1,000 at {FEW:,} events, ms", by_few * 1000, ".1f"),
        Figure(f"{len(rules)} rules, a page of 1,000 at {most:,} events, ms", by_many * 1000, ".1f"),
        Figure(f"{len(rules)} rules, a page of 20 at {most:,} events, ms", statistics.median(small) * 1000, ".1f"),
        Figure("  ratio, median of pairs", ratio, ".2f", 1.3),
        Figure("rules of the worst page of 5,000 denials, ms", worst * 1000, ".0f"),
    ]


def fill(store: Store, rows: Sequence[Stored], batch: int = 20_000) -> int:
    with store.writing() as connection:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            store._insert_events(connection, [(ORG, *event, raw) for event, raw in part])
    return len(rows)


def rules_of_page(store: Store, rules: Sequence[Rule], page: Sequence[Stored]) -> float:
    """Store a page; seconds that its rules take."""
    fill(store, page)
    with store.writing() as connection:
        state = store._lock_org(connection, ORG)
        start = time.perf_counter()
        store._judge(connection, ORG, rules, [event for event, _ in page], utc_now(), state)
        return time.perf_counter() - start


def show(results: dict[str, list[Figure]]) -> None:
    table = Table("", *[column for kind in results for column in (kind, "aim", "met")], box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in zip(*results.values(), strict=True):
        cells = [(f"{f.value:{f.form}}", f"{f.aim:,g}" if f.aim else "", f.verdict) for f in row]
        table.add_row(row[0].name, *[cell for cells_of_kind in cells for cell in cells_of_kind])
    Console(width=110).print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
