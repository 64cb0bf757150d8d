"""Fuzz what reads Okta's bytes and what makes text safe. Needs `pip install atheris` (Linux): no lock file has it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")
EVENTS = ROOT / "tests" / "okta_events"
SHARES = {"page": 25, "record": 30, "link": 20, "text": 20, "raw": 5}  # of the cases, in hundredths
MINIMAL = {"uuid": "event-1", "published": "2026-03-10T09:00:00.000Z"}
RUN = 250_000  # cases to a process, at most: one that has grown large is begun anew
LONGEST = {"page": 1024, "record": 4096, "link": 512, "text": 64, "raw": 8192}  # bytes of an input
WORDS = (
    *("https://acme.okta.com", "http://127.0.0.1:8080", "/api/v1/logs", "?after=", "rel=", '"next"', "<", ">; ", "@"),
    *("2026-03-10T09:00:00.000Z", "\\ud800", "\\u0000", "1e999", "NaN", "{}", "[]", "null", "true"),
    *("\u202e", "\u2028", "\u0300", "\ufe0f", "\x1b[", "\x9b", "\x07", "=", ";", "\t"),
)


@dataclass(frozen=True)
class Run:
    """What one process did: how many cases, and whether the last of them broke a promise."""

    cases: int
    crashed: bool
    said: str


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    words.add_argument("targets", nargs="*", choices=[*SHARES, []], metavar="TARGET", help=f"of {', '.join(SHARES)}")
    words.add_argument("--cases", type=int, default=10_000_000, help="in total [default: %(default)s]")
    words.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes at once [default: one for each core]"
    )
    words.add_argument("--keep", action="store_true", help="add inputs that reach something new to tests/fuzz/corpus")
    asked = words.parse_args()
    if importlib.util.find_spec("atheris") is None:
        words.error("atheris is not installed: pip install atheris")
    shares = {name: share for name, share in SHARES.items() if name in asked.targets or not asked.targets}
    with tempfile.TemporaryDirectory(prefix="poller-fuzz-") as folder:
        done = [
            _fuzz(name, asked.cases * share // sum(shares.values()), asked, Path(folder))
            for name, share in shares.items()
        ]
    cases, crashes = map(sum, zip(*done, strict=True))
    print(f"{'total':<8} {cases:>10,} cases {crashes:>4} crashes")
    return 1 if crashes else 0


def _fuzz(target: str, cases: int, asked: argparse.Namespace, folder: Path) -> tuple[int, int]:
    """Run one target and print its figures. Returns how many cases there were, and how many of them broke a promise."""
    kept, found = CORPUS / target, folder / target
    kept.mkdir(parents=True, exist_ok=True)
    found.mkdir()
    _seed(target, found)
    began = time.monotonic()
    parts = [min(RUN, cases - start) for start in range(0, cases, RUN)]
    with ThreadPoolExecutor(asked.jobs) as pool:
        runs = list(pool.map(lambda part: _run(target, part[1], part[0] + 1, kept, found), enumerate(parts)))
    seconds = time.monotonic() - began
    done, crashes = sum(run.cases for run in runs), sum(run.crashed for run in runs)
    print(f"{target:<8} {done:>10,} cases {crashes:>4} crashes {done / seconds:>8,.0f} a second", flush=True)
    for run in runs:
        if run.crashed:
            print(run.said, file=sys.stderr)
    if asked.keep and not crashes:
        _engine(target, "-merge=1", f"-max_len={LONGEST[target]}", str(kept), str(found))
    return done, crashes


def _seed(target: str, folder: Path) -> None:
    """Where a target starts from, beside its corpus: the sample events of the tests, and what attackers type."""
    from poller.normalize import split_page
    from tests.hostile import PAYLOADS

    records = [record for path in sorted(EVENTS.glob("*.json")) for record in split_page(path.read_bytes())]
    texts = [text.encode("utf-8", "surrogatepass") for text in PAYLOADS.values()]
    agents = [json.dumps({**MINIMAL, "client": {"userAgent": {"rawUserAgent": t}}}).encode() for t in PAYLOADS.values()]
    seeds = {
        "page": [b"[%b]" % agent for agent in agents],
        "record": [*records, *agents],
        "link": [b'<https://acme.okta.com/api/v1/logs?x=%b>; rel="next"' % text for text in texts],
        "text": texts,
        "raw": records,
    }
    for number, seed in enumerate(seeds[target]):
        folder.joinpath(f"seed-{number}").write_bytes(seed[: LONGEST[target]])


def _run(target: str, cases: int, seed: int, kept: Path, found: Path) -> Run:
    words = (f"-runs={cases}", f"-seed={seed}", f"-max_len={LONGEST[target]}", "-timeout=20", "-rss_limit_mb=2048")
    more = ("-print_final_stats=1", f"-artifact_prefix={kept}/", f"-dict={_dictionary(found.parent)}")
    done = _engine(target, *words, *more, str(found), str(kept))
    counted = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    return Run(int(counted[1]) if counted else 0, done.returncode != 0, f"{done.stdout}\n{done.stderr}"[-4000:])


def _engine(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.engine", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")


def _dictionary(folder: Path) -> Path:
    """The words that mean something to a target, for libFuzzer to put together."""
    path = folder / "dictionary"
    if not path.exists():
        names = set(re.findall(r'"(\w+)":', "".join(file.read_text("utf-8") for file in EVENTS.glob("*.json"))))
        words = [f'"{name}"' for name in sorted(names)] + list(WORDS)
        path.write_text("".join(f'"{_escaped(word)}"\n' for word in words), "ascii")
    return path


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
