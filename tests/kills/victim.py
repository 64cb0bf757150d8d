"""`poller`, with an eye on the points that it passes.

python -m tests.kills.victim --list - run --once
python -m tests.kills.victim --kill-at 'insert events:2' run --once
python -m tests.kills.victim --fail-call 7 --failure unanswered backfill --since 7d
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, get_args

from tests.kills.points import Failure, Plan, watch


def become(plan: Plan, arguments: Sequence[str]) -> NoReturn:
    """Be the process that `poller ARGUMENTS` is, from here to its end."""
    from poller.cli import main

    sys.argv = ["poller", *arguments]
    watch(plan)
    main()
    raise AssertionError("main() exits")


def parse(arguments: Sequence[str]) -> tuple[Plan, list[str]]:
    told, *_ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m tests.kills.victim", description=told)
    add = parser.add_argument
    add("--list", metavar="FILE", help="write the points that are passed to FILE (-: standard error)")
    add("--kill-at", metavar="NAME:K", help="kill this process as it passes NAME for the Kth time")
    add("--fail-call", type=int, metavar="N", help="the Nth database call fails")
    add("--failure", choices=get_args(Failure), default="refused", help="how it fails (default: %(default)s)")
    add("command", nargs=argparse.REMAINDER, help="a command of poller")
    asked = parser.parse_args(arguments)
    list_to = "/dev/stderr" if asked.list == "-" else asked.list
    plan = Plan(list_to, asked.kill_at, fail_call=asked.fail_call, failure=asked.failure)
    return plan, asked.command


if __name__ == "__main__":
    become(*parse(sys.argv[1:]))
