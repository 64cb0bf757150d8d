"""Let every database call and every HTTP read of poller fail once: the first, the second, … until a run is clean.

    python -m tests.kills.failures
    python -m tests.kills.failures --database postgres --step once --call 17 --failure ended

A database call is refused; or it happens but its answer is lost; or (on Postgres) its connection is ended by the
server. An HTTP read is cut off by a reset, which poller gets over by itself, or refused, which ends the run. Each time
the command ends with 0 or 1 and without a traceback, and run again it leaves everything as if nothing had happened.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from poller.demo.okta import Answer, Request, SimulatedOkta, okta_error
from tests.kills.databases import KINDS, databases
from tests.kills.points import Failure
from tests.kills.scenario import Failed, Scenario, Step, scenario

READS = ("reset", "refused")


def failures_of(kind: str) -> tuple[Failure, ...]:
    return ("refused", "unanswered", "ended") if kind == "postgres" else ("refused", "unanswered")


def failing_calls(told: Scenario, step: Step, failure: Failure) -> Iterator[tuple[int, Failed]]:
    """The first call fails, then the second, and so on until there is none of that number. A daemon never runs out of
    them: there it is as many as it takes to catch up."""
    for number in range(1, step.calls + 1) if step.is_daemon else itertools.count(1):
        failed = told.fail_call(step, number, failure)
        if failed is None:
            return
        yield number, failed


def failing_reads(told: Scenario, step: Step, how: str) -> Iterator[tuple[int, Failed]]:
    for number in itertools.count(1):
        failed = fail_read(told, step, number, how)
        if failed is None:
            return
        yield number, failed


def fail_read(told: Scenario, step: Step, number: int, how: str) -> Failed | None:
    return told.fail_read(step, number, lambda request: _answer(told.okta, request, how))


def every_failure(told: Scenario, step: Step) -> Iterator[tuple[str, str, int, Failed]]:
    for failure in failures_of(told.databases.kind):
        for number, failed in failing_calls(told, step, failure):
            yield "call", failure, number, failed
    for how in READS:
        for number, failed in failing_reads(told, step, how):
            yield "read", how, number, failed


def _answer(okta: SimulatedOkta, request: Request, how: str) -> Answer:
    if how == "refused":
        return okta_error(403, "E0000006", "You do not have permission to perform the requested action")
    return replace(okta.answer(request), cut=1, reset=True)


def main() -> int:
    told, *_ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m tests.kills.failures", description=told)
    add = parser.add_argument
    add("--database", choices=(*KINDS, "both"), default="both", help="default: %(default)s")
    add("--step", help="one step only")
    add("--call", type=int, metavar="N", help="only the Nth database call, with --failure")
    add("--read", type=int, metavar="N", help="only the Nth HTTP read, with --failure")
    add("--failure", choices=("refused", "unanswered", "ended", "reset"), default="refused")
    asked = parser.parse_args()
    kinds = KINDS if asked.database == "both" else (asked.database,)
    calls = reads = differences = 0
    began = time.monotonic()
    for kind in kinds:
        with databases(kind) as made, scenario(made) as one:
            for step in one.steps.values():
                if asked.step not in (None, step.name):
                    continue
                if asked.call:
                    print(one.fail_call(step, asked.call, asked.failure))
                    continue
                if asked.read:
                    print(fail_read(one, step, asked.read, asked.failure))
                    continue
                for what, how, number, failed in every_failure(one, step):
                    calls, reads = calls + (what == "call"), reads + (what == "read")
                    if failed.wrong is not None:
                        differences += 1
                        again = f"--database {kind} --step {step.name} --{what} {number} --failure {how}"
                        print(f"DIFFERENCE {failed.wrong}\n  again: python -m tests.kills.failures {again}", flush=True)
                print(f"{kind} {step.name}: {calls} calls and {reads} reads so far", file=sys.stderr, flush=True)
    print(
        f"{calls} failing database calls, {reads} failing HTTP reads, databases: {', '.join(kinds)}, "
        f"{time.monotonic() - began:.0f} s: {differences} differences"
    )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
