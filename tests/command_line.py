"""The command line as people and scripts meet it: a process, with standard output piped or on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poller import migrate
from poller.ledger import FIRST, Turn
from poller.store import Store, epoch_ms_of, read_records
from tests.delivery import push_fatigue

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
# Without cached bytecode every process would compile all that it imports.
_NOT_OURS = (
    "POLLER_",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "TERM",
    "GITHUB_ACTIONS",
    "PY_COLORS",
    "PYTHONDONTWRITEBYTECODE",
)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`poller`, run in a folder of its own with these settings in its environment."""

    folder: Path
    settings: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
        return {**kept, "PYTHONPATH": str(ROOT), **self.settings}

    def having(self, **settings: str) -> CommandLine:
        return replace(self, settings={**self.settings, **settings})

    def __call__(self, *words: str, python: tuple[str, ...] = ()) -> Result:
        """Piped: what a script gets."""
        done = self.bytes(*words, python=python)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def bytes(self, *words: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*words, python=python),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=120,
        )

    def command(self, *words: str, python: tuple[str, ...] = ()) -> list[str]:
        return [sys.executable, *python, "-m", "poller", *words]

    def on_terminal(self, *words: str, columns: int = 100) -> str:
        """What is written to a terminal of this width, both outputs together."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env={"TERM": "xterm-256color", **self.environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            chunks = []
            while True:
                try:
                    chunk = os.read(ours, 65536)
                except OSError:  # Linux says so when the other side is closed
                    break
                if not chunk:
                    break
                chunks.append(chunk)
            process.wait(timeout=120)
        os.close(ours)
        return b"".join(chunks).decode().replace("\r\n", "\n")


def fill(url: str, records: Iterable[bytes], org: str, page: int = 50) -> None:
    """Store records as a poll does, a page at a time, with push_fatigue as it comes."""
    rules, everything = push_fatigue(), list(records)
    with Store(url) as store:
        migrate.ensure(store, auto=True)
        for start in range(0, len(everything), page):
            batch = read_records(everything[start : start + page])
            link = f"https://{org}/api/v1/logs?after={start}"
            time, is_end = epoch_ms_of(NOW), start + page >= len(everything)
            store.commit_poll(org, batch, Turn(link, link, time, is_end, FIRST), rules, NOW)
