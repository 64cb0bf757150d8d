"""How long poller takes to end when it is asked to: SIGTERM at random moments of `poller run`.

    python -m tests.kills.stop --runs 200

Each run is stopped in one of four situations: while it swallows pages of a thousand events with attacks in them, while
it waits for an answer, while an answer drips, and while it waits for a rate limit to end. Exits 1 if one of them ends
otherwise than with 0, or if the 99th percentile is above two seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from poller import migrate
from poller.demo.okta import Answer, Request, SimulatedOkta, too_many_requests
from poller.store import Store
from tests.kills.databases import KINDS, Databases, State, databases
from tests.kills.scenario import PATIENCE, START, approved, denied, event, settings_for
from tests.kills.zygote import Ended, Zygote

PAGES = 15
LIMIT = 2.0  # seconds
Situation = Callable[[Request], Answer | None]

SITUATIONS: dict[str, Situation | None] = {
    "pages": None,
    "a late answer": lambda _: Answer(delay=120),
    "a dripping answer": lambda _: Answer(body=b"[" + b" " * 1000, pieces=1000, pause=0.1),
    "a rate limit": lambda _: too_many_requests(reset=time.time() + 120),
}


@dataclass(frozen=True)
class Stopped:
    """One run: what it was doing, how it ended, and how many seconds after the signal."""

    situation: str
    ended: Ended
    seconds: float


def busy_log() -> list[bytes]:
    """Pages with something for the rules in each."""

    def made() -> Iterator[bytes]:
        for number in range(PAGES * 1000):
            moment = START + timedelta(seconds=number)
            user = f"00u{number // 1000}-{number % 40}"
            kind = (event, denied, denied, approved)[number // 40 % 4]
            actor = {"id": user, "type": "User", "alternateId": f"{user}@acme.example"}
            yield json.dumps(kind(f"event-{number}", moment, actor=actor)).encode()

    return list(made())


def stops(
    made: Databases, folder: Path, zygote: Zygote, source: random.Random, log: list[bytes] | None = None
) -> Iterator[Stopped]:
    """Start and stop it, in one situation after the other, for ever."""
    made.restore(None)
    with Store(made.url) as store:
        migrate.upgrade(store)
    empty = made.keep()
    log = busy_log() if log is None else log
    for name, situation in itertools.cycle(SITUATIONS.items()):
        with SimulatedOkta(log, rate_limit=10**9) as okta:
            okta.intercept = situation
            # As long as a run over all the pages takes, about; the other situations last.
            after = source.uniform(0, 0.1 * len(log) / 1000 if situation is None else 0.3)
            yield Stopped(name, *_stopped(made, empty, folder, zygote, okta, after))


def _stopped(
    made: Databases, state: State, folder: Path, zygote: Zygote, okta: SimulatedOkta, after: float
) -> tuple[Ended, float]:
    made.restore(state)
    zygote.start(("run",), settings_for(made, okta, folder), folder)
    while not okta.requests:
        early = zygote.wait(0.002)
        if early is not None:
            raise RuntimeError(f"it ended by itself: {early.output}")
    time.sleep(after)
    began = time.monotonic()
    zygote.signal(signal.SIGTERM)
    ended = zygote.wait(PATIENCE)
    if ended is None:
        raise RuntimeError("it does not end")
    return ended, ended.time - began


def main() -> int:
    told, *_ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m tests.kills.stop", description=told)
    add = parser.add_argument
    add("--runs", type=int, default=200, metavar="N", help="on each database (default: %(default)s)")
    add("--seed", type=int, help="of the random moments (default: by chance)")
    add("--database", choices=(*KINDS, "both"), default="both", help="default: %(default)s")
    asked = parser.parse_args()
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    is_well = True
    for kind in KINDS if asked.database == "both" else (asked.database,):
        with databases(kind) as made, TemporaryDirectory() as folder, Zygote() as zygote:
            every = stops(made, Path(folder), zygote, random.Random(f"{seed} {kind}"))
            done = list(itertools.islice(every, asked.runs))
        times = sorted(one.seconds for one in done)
        bad = [one for one in done if one.ended.code]
        p99 = statistics.quantiles(times, n=100, method="inclusive")[98]
        is_well = is_well and not bad and p99 <= LIMIT
        cut_off = sum('"cut_off"' in one.ended.output for one in done)
        print(
            f"{kind}: {len(done)} runs, seconds from SIGTERM to the end: p50 {statistics.median(times):.3f}, "
            f"p99 {p99:.3f}, max {times[-1]:.3f}; exit 0 in {len(done) - len(bad)}, cut off {cut_off}, seed {seed}"
        )
        for one in bad[:3]:
            print(f"in {one.situation} it ended with {one.ended.code}: {one.ended.output}", file=sys.stderr)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
