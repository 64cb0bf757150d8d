"""Kill poller at every named point between two side effects, then at random moments, on SQLite and on Postgres.

    python -m tests.kills --kills 2000              the long run: exits 1 if anything ends otherwise than undisturbed
    python -m tests.kills --list                    the points that there are, in order
    python -m tests.kills --database postgres --step once --kill-at 'copy a row:7'
    python -m tests.kills --database sqlite --step backfill --kill-after 0.08 0.113

Each kill is a SIGKILL of the real command, polling a simulated Okta over HTTP. What is killed runs again to its end;
then every table is compared with that of a run that nothing has happened to.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.kills.databases import KINDS, databases
from tests.kills.scenario import MOST_KILLS, Scenario, Step, scenario

LEAST_BY_CHANCE = 10  # one in so many kills, on each database, comes at a random moment
AGAIN = 0.3  # the chance that what was killed at a random moment is killed again while it recovers


@dataclass
class Tally:
    """What was done, and the command that shows each difference again."""

    kills: int = 0
    points: set[tuple[str, str, str]] = field(default_factory=set)  # database, step, point
    differences: list[str] = field(default_factory=list)

    def note(self, kills: int, wrong: str | None, again: str) -> None:
        self.kills += kills
        if wrong is not None:
            self.differences.append(again)
            print(f"DIFFERENCE {wrong}\n  again: python -m tests.kills {again}", file=sys.stderr, flush=True)


def every_point(told: Scenario, step: Step, tally: Tally) -> None:
    for point in step.points:
        killed, wrong = told.kill_at(step, point)
        if killed:
            tally.points.add((told.databases.kind, step.name, point))
        tally.note(killed, wrong, f"--database {told.databases.kind} --step {step.name} --kill-at {point!r}")


def random_moments(told: Scenario, steps: list[Step], source: random.Random, kills: int, tally: Tally) -> None:
    """Kill until so many kills have been counted."""
    enough = tally.kills + kills
    while tally.kills < enough:
        step = source.choice(steps)
        moments = list(_moments(source, step.seconds))
        killed, wrong = told.kill_after(step, moments)
        after = " ".join(f"{moment:.4f}" for moment in moments)
        tally.note(killed, wrong, f"--database {told.databases.kind} --step {step.name} --kill-after {after}")


def _moments(source: random.Random, seconds: float) -> Iterator[float]:
    for _ in range(MOST_KILLS):
        yield round(source.uniform(0, seconds), 4)
        if source.random() >= AGAIN:
            return


def main() -> int:
    told, *_ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=told)
    add = parser.add_argument
    add("--kills", type=int, default=2000, metavar="N", help="at the least (default: %(default)s)")
    add("--seed", type=int, help="of the random moments (default: by chance)")
    add("--database", choices=(*KINDS, "both"), default="both", help="default: %(default)s")
    add("--step", help="one step only")
    add("--list", action="store_true", help="only list the points")
    add("--kill-at", metavar="NAME:K", help="one kill, at this point of --step")
    add("--stop-at", metavar="NAME:K", help="SIGTERM instead, at this point of --step")
    add("--kill-after", type=float, nargs="+", metavar="S", help="kill --step after S seconds, again and again")
    asked = parser.parse_args()
    kinds = KINDS if asked.database == "both" else (asked.database,)
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    tally, began = Tally(), time.monotonic()
    for number, kind in enumerate(kinds, 1):
        with databases(kind) as made, scenario(made) as one:
            chosen = [step for step in one.steps.values() if asked.step in (None, step.name)]
            for step in chosen:
                if asked.list:
                    print(f"{kind} {step.name}: {', '.join(step.points)}")
                elif asked.kill_at:
                    again = f"--database {kind} --step {step.name} --kill-at {asked.kill_at!r}"
                    tally.note(*one.kill_at(step, asked.kill_at), again)
                elif asked.stop_at:
                    code, wrong = one.stop_at(step, asked.stop_at)
                    print(f"it ended with {code}")
                    tally.note(0, wrong, f"--database {kind} --step {step.name} --stop-at {asked.stop_at!r}")
                elif asked.kill_after:
                    tally.note(*one.kill_after(step, asked.kill_after), f"{kind} {step.name}")
                else:
                    every_point(one, step, tally)
                    print(f"{kind} {step.name}: {tally.kills} kills so far", file=sys.stderr, flush=True)
            if not (asked.list or asked.kill_at or asked.stop_at or asked.kill_after):
                missing = max(asked.kills * number // len(kinds) - tally.kills, asked.kills // LEAST_BY_CHANCE)
                random_moments(one, chosen, random.Random(f"{seed} {kind}"), missing, tally)
    if not asked.list:
        print(
            f"{tally.kills} kills, {len(tally.points)} distinct points, databases: {', '.join(kinds)}, seed {seed}, "
            f"{time.monotonic() - began:.0f} s: {len(tally.differences)} differences"
        )
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
