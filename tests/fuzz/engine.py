"""One run of libFuzzer over one target: `python -m tests.fuzz.engine TARGET [libFuzzer's words]`. Ends the process."""

from __future__ import annotations

import shlex
import sys

import atheris

READERS = ["poller.normalize", "poller.raw", "poller.system_log.links", "poller.text"]
with atheris.instrument_imports(include=READERS, enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = sys.argv[1]
    myself = shlex.join([sys.executable, "-m", "tests.fuzz.engine", target])  # for libFuzzer to start when it merges
    atheris.Setup([myself, *sys.argv[2:]], TARGETS[target])
    atheris.Fuzz()
