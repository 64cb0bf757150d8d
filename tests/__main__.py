"""Every check there is, as `python -m tests`: lint, format, types, tests. All run; the exit code is 1 if one fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("pytest", "-n", "2"),
)


def main() -> int:
    failed = []
    for check in CHECKS:
        print(f"== {' '.join(check)}", flush=True)
        if subprocess.run([sys.executable, "-m", *check], cwd=Path(__file__).parents[1]).returncode:
            failed.append(" ".join(check))
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
