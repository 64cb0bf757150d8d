"""How the databases would run the query of a rule: SQLite on an empty database, and Postgres where there is one.
Nothing is run: the planner says what it would read. A rule reads events by an index, and no more with each year."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from poller import migrate
from poller.checking.query import Checked
from poller.checking.words import Complaint
from poller.store import Store

_INDEXED = re.compile(
    r"(?:SEARCH|SCAN) (\S+).*? USING (?:COVERING )?INDEX (?:ix_events_\w+|sqlite_autoindex_events_\d+) \((.*)\)"
)
_BY_INDEX = (
    "begin from org = :org and event_type in (...) and time >= :since - ..., or join on user_uid or src_ip and time"
)


@contextmanager
def scratch_database() -> Iterator[sa.Connection]:
    """An empty SQLite database with the schema, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="poller-check-") as folder, Store(f"sqlite:///{folder}/check.db") as store:
        migrate.upgrade(store)
        with store.reading() as connection:
            yield connection


def sqlite_problems(
    connection: sa.Connection, text: str, binds: Mapping[str, Any], checked: Checked, first: int
) -> list[Complaint]:
    """What SQLite says against a query that was checked. `text` keeps the lines of its file and begins at `first`."""
    try:
        plan = [str(row[3]) for row in connection.execute(sa.text(f"explain query plan {text}"), binds)]
        code = [tuple(row) for row in connection.execute(sa.text(f"explain {text}"), binds)]
    except SQLAlchemyError as error:
        what = _cause(error)
        near = re.search(r'near "([^"]+)"|(?:column|function|table): (?:\w+\.)?(\w+)', what)
        return [(_line_of(text, near[1] or near[2]) if near else first, f"SQLite refuses it: {what}.")]
    problems = []
    sources, steps = checked.sources, dict(checked.steps)
    full = _full_reads(connection, plan, code, sources)
    for name in full:
        line = _place(name, sources, first)
        problems.append((line, f"SQLite reads all events (`{name}`), without an index: {_BY_INDEX}."))
    for step in plan:
        found = _INDEXED.match(step)
        if found and found[1] not in full and (extent := _unbounded(found[2])):
            if steps.get(found[1].lower(), 0) > 0:  # min() of an index is its first entry
                steps[found[1].lower()] -= 1
                continue
            line = _place(found[1], sources, first)
            problems.append((line, f"SQLite reads {extent} (`{found[1]}`, by {found[2]}): {_BY_INDEX}."))
    return list(dict.fromkeys(problems))


def postgres_problems(
    connection: sa.Connection, text: str, binds: Mapping[str, Any], checked: Checked, first: int
) -> list[Complaint]:
    """What Postgres says against a query. Its tables may be empty: a plan that reads all is one where nothing else can
    be done."""
    try:
        with connection.begin_nested():
            for setting in ("enable_seqscan = off", "transaction_read_only = on", "statement_timeout = '10s'"):
                connection.exec_driver_sql(f"set local {setting}")
            plan = connection.execute(sa.text(f"explain (format json) {text}"), binds).scalar()
    except SQLAlchemyError as error:
        where = re.search(r"LINE (\d+):", str(getattr(error, "orig", error)))
        return [(int(where[1]) if where else first, f"Postgres refuses it: {_cause(error)}.")]
    problems: list[Complaint] = []
    for node in _nodes(plan if isinstance(plan, list) else json.loads(str(plan))):
        if node.get("Relation Name") == "events" and _reads_all(node):
            name = str(node.get("Alias", "events"))
            line = _place(name, checked.sources, first)
            problems.append((line, f"Postgres reads all events (`{name}`), without an index: {_BY_INDEX}."))
    return list(dict.fromkeys(problems))


def _full_reads(
    connection: sa.Connection, plan: list[str], code: list[tuple[Any, ...]], sources: Mapping[str, int]
) -> list[str]:
    """The names under which all of `events` is read. That it is, the program says; the plan has the names."""
    rows = connection.execute(sa.text("select rootpage from sqlite_master where tbl_name = 'events' and rootpage > 0"))
    pages = {row[0] for row in rows}
    cursors = {row[2] for row in code if row[1] == "OpenRead" and row[3] in pages}
    if not any(row[1] in ("Rewind", "Last") and row[2] in cursors for row in code):
        return []
    read = [step.split() for step in plan if step.startswith("SCAN ") or "ANY(" in step]
    names = {words[1] for words in read if words[1] == "events" or words[1].lower() in sources}
    return sorted(names) or ["events"]


def _place(name: str, sources: Mapping[str, int], first: int) -> int:
    """The line of a table that the plan names; behind a view it is always `events`."""
    return sources.get(name.lower(), min(sources.values(), default=first))


def _unbounded(constraints: str) -> str | None:
    """What of an index is read that grows for ever; None where a time or a person bounds it."""
    exact, ordered = set(re.findall(r"(\w+)=", constraints)), set(re.findall(r"(\w+)>", constraints))
    if exact <= {"org"}:
        return "all events of the org"
    if exact <= {"org", "event_type", "outcome"} and "time" not in ordered:
        return "all events of a type, however old"
    return None


def _nodes(plan: Any) -> Iterator[dict[str, Any]]:
    if isinstance(plan, list):
        for part in plan:
            yield from _nodes(part)
    elif isinstance(plan, dict):
        yield plan
        for part in plan.values():
            yield from _nodes(part)


def _reads_all(node: Mapping[str, Any]) -> bool:
    """Whether it reads a table whole, or an index whole: each index that a rule may use begins with the org."""
    kind = node.get("Node Type")
    if kind == "Bitmap Heap Scan":
        return any("Index Name" in part and not _has_org(part) for part in _nodes(node.get("Plans", [])))
    return kind == "Seq Scan" or (kind in ("Index Scan", "Index Only Scan") and not _has_org(node))


def _has_org(node: Mapping[str, Any]) -> bool:
    return bool(re.search(r"\borg = ", str(node.get("Index Cond", ""))))


def _cause(error: SQLAlchemyError) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _line_of(text: str, word: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return 1 + text[: found.start()].count("\n") if found else 1 + text[: len(text) - len(text.lstrip())].count("\n")
