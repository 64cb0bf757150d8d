"""Whether a rule folder is fit to run: its metadata, its query (`query`), what the databases would read for it
(`plan`), and the runbook and timelines beside it. All that is wrong is said, not the first of it only."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poller.checking.header import (
    BadHeader,
    Header,
    check_binds,
    check_header,
    check_summary,
    parameters_of,
    read_header,
)
from poller.checking.query import Checked, check_query
from poller.checking.words import Complaint
from poller.errors import RuleError
from poller.rules import _HEADER, _NOT_SQL, MAX_FILE, RULES_FOLDER, WATCH_BINDS, Rule, read_rule

HEADINGS = ("Goal", "What it sees", "Blind spots", "False positives", "Triage", "Response")
_MOST_TEXT = 1_000_000  # bytes of a runbook or a file of timelines
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a rule, where, and what to do."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def rule_folders(path: Path) -> list[Path]:
    """The rule folder that `path` is, or those in it. Raises RuleError: there is none."""
    try:
        if path.name == "rule.sql" and not path.is_dir():
            return [path.parent]
        if _is_there(path / "rule.sql"):
            return [path]
        found = sorted(folder for folder in path.iterdir() if _is_there(folder / "rule.sql")) if path.is_dir() else []
    except OSError as error:
        raise RuleError(f"{path} can't be read: {error.strerror}.") from None
    if not found:
        raise RuleError(
            f"{path}: there is no rule. Name a folder that holds a rule.sql, or one that holds such folders."
        )
    return found


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def known_ids() -> dict[str, Path]:
    """{id: folder} of the rules that poller has."""
    found = {}
    for path in sorted(RULES_FOLDER.glob("*/rule.sql")):
        match = re.search(r"^id:\s*(\S+)", path.read_text("utf-8"), re.MULTILINE)
        if match:
            found[match[1].lower()] = path.parent.resolve()
    return found


def check_rule(
    folder: Path,
    ids: dict[str, Path],
    ask: Sequence[Callable[[str, Mapping[str, Any], Checked, int], list[Complaint]]] = (),
) -> list[Problem]:
    """All that is wrong with one rule folder.

    Args:
        ids: the ids of other rules, to which that of this one is added.
        ask: what databases say (`sqlite_problems`, `postgres_problems`), asked where all else is right.
    """
    home = folder.resolve()
    is_ours = home.parent == RULES_FOLDER.resolve()
    shown = f"rules/{folder.name}" if is_ours else str(folder)
    found = list(_check_sql(folder, ids, ask))
    problems = [Problem(f"{shown}/rule.sql", line, what) for line, what in found]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", home.name):
        what = "the name of a rule is that of its folder: small letters, digits and _, such as push_fatigue."
        problems.append(Problem(f"{shown}/rule.sql", 1, what))
    elif not is_ours and (RULES_FOLDER / home.name / "rule.sql").is_file():
        what = f"poller has a rule {home.name} of its own: give the folder another name."
        problems.append(Problem(f"{shown}/rule.sql", 1, what))
    problems += [Problem(f"{shown}/README.md", line, what) for line, what in _check_runbook(folder / "README.md")]
    if not problems:
        rule = read_rule(folder, is_own=not is_ours)
        problems += _check_timelines(rule, shown)
    elif not any((folder / name).is_file() for name in ("timelines.yml", "test_rule.py")):
        problems.append(_no_timelines(shown))
    return sorted(set(problems), key=lambda problem: (problem.file, problem.line, problem.what))


def _check_sql(
    folder: Path, ids: dict[str, Path], ask: Sequence[Callable[..., list[Complaint]]]
) -> Iterator[Complaint]:
    try:
        text = _text(folder / "rule.sql", MAX_FILE)
    except RuleError as error:
        yield 1, str(error)
        return
    if bad := _UNPRINTABLE.search(text):
        yield (
            1 + text[: bad.start()].count("\n"),
            f"a character {bad.group()!r} stands here, which is no text: remove it.",
        )
        return
    match = _HEADER.match(text)
    if not match:
        yield 1, "it does not start with a comment that holds the rule's metadata: see docs/rules.md."
        return
    header = Header({}, {})
    told: list[Complaint] = []
    try:
        header = read_header(match[1], 1 + text[: match.start(1)].count("\n"))
        told += check_header(header, folder, ids)
    except BadHeader as error:
        told.append((error.line, str(error)))
    is_read = bool(header.values)
    about_events = header.values.get("watches", "events") != "poller"
    parameters, durations = parameters_of(header.values.get("parameters"))
    query = _blank(text, match.end())
    checked = check_query(query, parameters, durations, about_events)
    told += checked.problems
    if is_read:
        told += check_binds(query, parameters, about_events, header)
        told += check_summary(header, checked, about_events)
    if not told:
        try:
            read_rule(folder)
        except RuleError as error:
            told += _left_over(str(error))
    if not told:
        binds = {
            **({"org": "o", "since": 0, "until": 1} if about_events else dict.fromkeys(WATCH_BINDS, 1)),
            **parameters,
        }
        first = 1 + query[: len(query) - len(query.lstrip())].count("\n")
        for question in ask:
            told += question(query.rstrip().rstrip(";"), binds, checked, first)
    yield from told


def _text(path: Path, most: int) -> str:
    """A file as text. Raises RuleError: it is none, too long, or can't be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device would be read for ever
            raise RuleError("it is no file.")
        with path.open("rb") as file:
            text = file.read(4 * most + 1).decode()
    except UnicodeDecodeError as error:
        raise RuleError(f"it is not text in UTF-8 (byte {error.start}): save it as UTF-8.") from None
    except OSError as error:
        raise RuleError(f"it can't be read: {error.strerror}.") from None
    if len(text) > most:
        raise RuleError(f"it is longer than {most} characters: make it shorter.")
    return text


def _blank(text: str, start: int) -> str:
    """The query with blanks for the metadata and for comments: every line is where it was."""
    rest = _NOT_SQL.sub(
        lambda match: match.group() if match.group().startswith("'") else re.sub(r"[^\n]", " ", match.group()),
        text[start:],
    )
    return re.sub(r"[^\n]", " ", text[:start]) + rest


def _left_over(message: str) -> list[Complaint]:
    """An error of the loader, of which there should be none left: `FILE:LINE: what`."""
    match = re.search(r"rule\.sql:(\d+): (.*)", message)
    if match:
        return [(int(match[1]), match[2])]
    return [] if "README.md" in message else [(1, message)]


def _check_runbook(path: Path) -> Iterator[Complaint]:
    if not _is_there(path):
        yield 1, f"there is no runbook beside the rule: write one with the headings {', '.join(HEADINGS)}."
        return
    try:
        text = _text(path, _MOST_TEXT)
    except RuleError as error:
        yield 1, str(error)
        return
    for heading in HEADINGS:
        if not re.search(rf"^## {heading}[ \t]*$", text, re.MULTILINE):
            yield 1, f"the runbook has no heading `## {heading}`: add it."


def _check_timelines(rule: Rule, shown: str) -> Iterator[Problem]:
    from poller.rules.timelines import read_timelines

    path = rule.folder / "timelines.yml"
    if not rule.is_about_events():
        if not (rule.folder / "test_rule.py").is_file() and not path.is_file():
            yield Problem(f"{shown}/test_rule.py", 1, "there is no test beside the rule: write one.")
        return
    if not _is_there(path):
        yield _no_timelines(shown)
        return
    try:
        _text(path, _MOST_TEXT)
        timelines = read_timelines(rule)
    except RuleError as error:
        match = re.search(r"timelines\.yml:(\d+): (.*)", str(error))
        yield Problem(f"{shown}/timelines.yml", int(match[1]) if match else 1, match[2] if match else str(error))
        return
    if not any(timeline.expected for timeline in timelines):
        yield Problem(f"{shown}/timelines.yml", 1, "no timeline makes the rule fire: add one with findings.")
    if all(timeline.expected for timeline in timelines):
        yield Problem(
            f"{shown}/timelines.yml", 1, "no timeline leaves the rule quiet: add a near miss, with findings: []."
        )


def _no_timelines(shown: str) -> Problem:
    what = "there are no timelines beside the rule: write one that fires and one that is quiet, see docs/rules.md."
    return Problem(f"{shown}/timelines.yml", 1, what)
