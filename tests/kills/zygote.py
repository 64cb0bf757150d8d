"""A process that has imported all of poller and forks victims: a start then takes milliseconds, not seconds.

`Zygote` is the side that asks. The other side runs as `python -m tests.kills.zygote`; it forks while it has one thread
only, and a child goes on as a fresh `poller` process would: with an environment, a folder and outputs of its own.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.command_line import ROOT
from tests.kills.points import Plan
from tests.kills.victim import become


@dataclass(frozen=True)
class Ended:
    """How a victim ended: its exit code (negative: the signal that killed it), what it wrote, and when it did so, in
    seconds of the monotonic clock."""

    code: int
    output: str
    time: float


class Zygote:
    """Starts victims, one at a time."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.zygote"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        plan: Plan = Plan(),  # noqa: B008
    ) -> None:
        self._output = folder / "output"
        order = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "output": str(self._output),
            "plan": asdict(plan),
        }
        self._ask("start", order)

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens to a victim that has ended."""
        self._ask("signal", number)

    def wait(self, seconds: float) -> Ended | None:
        """The end of the victim; None if it is still alive after so many seconds."""
        code, ended = self._ask("wait", seconds)
        return None if code is None else Ended(code, self._output.read_text("utf-8", "replace"), ended)

    def _ask(self, what: str, with_what: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([what, with_what]).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that forks victims is gone")
        return json.loads(answer)


# ---- the other side ----


class _Server:
    """Answers one line with one line, until there is none: `serve` returns in a child only, with its order."""

    def __init__(self) -> None:
        self._pid = 0
        self._code: int | None = None

    def serve(self) -> dict[str, Any]:
        for line in sys.stdin.buffer:
            what, with_what = json.loads(line)
            if what == "start":
                self._pid, self._code = os.fork(), None
                if self._pid == 0:
                    return dict(with_what)
                answer: Any = self._pid
            elif what == "signal":
                answer = self._signal(with_what)
            else:
                answer = self._wait(with_what)
            try:
                os.write(1, json.dumps(answer).encode() + b"\n")
            except BrokenPipeError:
                break
        self._signal(signal.SIGKILL)
        self._wait(60)
        os._exit(0)

    def _signal(self, number: int) -> bool:
        """As long as it has not been waited for, the process id is the victim's, even when it has ended."""
        if self._pid == 0 or self._code is not None:
            return False
        os.kill(self._pid, number)
        return True

    def _wait(self, seconds: float) -> tuple[int | None, float]:
        end = time.monotonic() + seconds
        while self._code is None and self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= end:
                break
            else:
                time.sleep(0.0005)
        return self._code, time.monotonic()


def _begin(order: Mapping[str, Any]) -> None:
    """What sets one process apart from another."""
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(order["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o600)
    for new, old in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(new, old)
    random.seed()


def _import_all() -> None:

    import poller.cli.app
    import poller.cycle
    import poller.daemon
    import poller.migrate
    import poller.rules
    import poller.system_log

    poller.rules.load_rules()  # what comes with poller is read once in a process


def main() -> None:
    _import_all()
    gc.collect()
    gc.freeze()
    order = _Server().serve()
    _begin(order)
    become(Plan(**order["plan"]), order["arguments"])


if __name__ == "__main__":
    main()
