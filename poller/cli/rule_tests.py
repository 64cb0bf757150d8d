"""`poller rules test`: runs the timelines beside the rules."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from poller.cli import output
from poller.cli.rule_history import no_such_rule
from poller.cli.setup import load_settings
from poller.errors import DatabaseError, RuleError, RuleFailed, UsageError
from poller.text import printable

if TYPE_CHECKING:
    from poller.rules import Rule
    from poller.rules.timelines import Timeline
    from poller.store import Store


def run_timelines(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A rule, as poller rules lists them; else all of them.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A Postgres to run them on, in a schema of its own that is dropped in the end. Else SQLite.",
        ),
    ] = None,
) -> None:
    """Run the timelines beside the rules, poller's and yours, with no Okta and no data of yours.

    A rule's `timelines.yml` says in which events it finds what. Exits 1 where one finds something else, and where a
    rule has none.

    **Examples**

    ```
    poller rules test
    poller rules test push_fatigue
    ```
    """
    rules, unusable = _rules(name)
    for error in unusable:
        output.write(printable(str(error)) + "\n")
    failed = len(unusable)
    width = max((len(rule.name) for rule in rules), default=0)
    with _new_sqlite() if database is None else _new_schema(database) as store:
        for rule in rules:
            said, is_well = _tried(store, rule)
            output.write(printable(f"{rule.name:{width}}  {said[0]}") + "\n")
            output.write("".join(printable(line) + "\n" for line in said[1:]))
            output.flush()
            failed += not is_well
    if failed:
        raise RuleFailed(f"{failed} of {len(rules) + len(unusable)} rules did not pass: see above.")


def _rules(name: str | None) -> tuple[list[Rule], list[RuleError]]:
    """The rules to be tested, as they come, without the settings of `[rules.NAME]`; and why some can't be used."""
    from poller.rules import RULES_FOLDER, load_rules, read_rule

    own = load_settings().rules_path
    if name is not None and name not in (".", "..") and os.sep not in name:
        for folder in (RULES_FOLDER, *((own,) if own else ())):
            if (folder / name / "rule.sql").is_file():
                return [read_rule(folder / name, is_own=folder is own)], []
    unusable: list[RuleError] = []
    rules = load_rules(own=own, unusable=unusable.append)
    if name is not None:
        raise no_such_rule(name, [rule.name for rule in rules])
    return rules, unusable


def _tried(store: Store, rule: Rule) -> tuple[list[str], bool]:
    """Lines about a rule, and whether it does what its timelines say."""
    from poller.rules.timelines import FILE, read_timelines

    if not rule.is_about_events():
        return ["skipped: it watches poller, not events"], True
    try:
        timelines = read_timelines(rule)
    except RuleError as error:
        return ["failed", f"  {error}"], False
    if not timelines:
        return [f"failed: it has no {FILE}, or an empty one"], False
    complaints = [_complaint(store, timeline, number) for number, timeline in enumerate(timelines)]
    failures = [line for complaint in complaints for line in complaint]
    if failures:
        return [f"{sum(map(bool, complaints))} of {len(timelines)} timelines failed", *failures], False
    return [f"{len(timelines)} {'timeline' if len(timelines) == 1 else 'timelines'} ok"], True


def _complaint(store: Store, timeline: Timeline, number: int) -> list[str]:
    """What is wrong, in lines; none where the rule finds what it is to find."""
    from poller.rules.timelines import agree, run

    try:
        found = run(store, timeline, f"timeline-{timeline.rule.name}-{number}")
    except RuleFailed as error:
        return _told(timeline, [f"    failed    {error}"])
    except DatabaseError as error:
        cause = str(getattr(error.__cause__, "orig", None) or error).strip().splitlines()[0]
        return _told(timeline, [f"    failed    {cause}"])
    if agree(found, timeline.expected):
        return []
    return _told(timeline, [*_listed("expected", timeline.expected), *_listed("found", found)])


def _told(timeline: Timeline, problem: list[str]) -> list[str]:
    story = [f"        {line.strip()}" for line in timeline.text.splitlines()]
    return [f"  {timeline.where}: {timeline.title}", *problem, *story]


def _listed(heading: str, texts: Sequence[str]) -> list[str]:
    lines = list(texts) or ["nothing"]
    return [f"    {heading if number == 0 else '':9} {text}" for number, text in enumerate(lines)]


@contextmanager
def _new_sqlite() -> Iterator[Store]:
    from poller import migrate
    from poller.store import Store

    with tempfile.TemporaryDirectory(prefix="poller-") as folder, Store(f"sqlite:///{folder}/poller.db") as store:
        migrate.upgrade(store)
        yield store


@contextmanager
def _new_schema(url: str) -> Iterator[Store]:
    """A Postgres, in whose tables nothing is read or written: those of the timelines are in a schema of their own."""
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError

    from poller import migrate
    from poller.store import Store

    try:
        address = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError("--database is no database address. Give postgresql://user@host/database.") from None
    if address.get_backend_name() != "postgresql":
        raise UsageError("--database takes a Postgres. Without it the timelines run on SQLite.")
    schema = f"poller_timelines_{secrets.token_hex(8)}"
    inside = address.update_query_dict({"options": f"-csearch_path={schema}"})
    with Store(url) as server:
        with server.writing() as connection:
            connection.exec_driver_sql(f"create schema {schema}")
        try:
            with Store(inside.render_as_string(hide_password=False)) as store:
                migrate.upgrade(store)
                yield store
        finally:
            with server.writing() as connection:
                connection.exec_driver_sql(f"drop schema {schema} cascade")
