"""`poller rules check`: whether rules are fit to run, before they do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poller.cli import output
from poller.cli.setup import load_settings
from poller.errors import DatabaseError, RuleError
from poller.text import printable, without_secrets

if TYPE_CHECKING:
    from poller.settings import Settings


def check_rules(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="A rule folder, or a folder of them. [default: every rule in force]"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="A Postgres to ask for its plans. [default: that of the settings, where it is one]"
        ),
    ] = None,
) -> None:
    """Check rules: metadata, query, index, runbook and timelines. Each error is one line that names file and line.

    A query is one SELECT that only reads, of known tables and columns, in the SQL that SQLite and Postgres share, with
    declared binds, bound to its org. SQLite says what it would read for it, and so does Postgres where there is one.
    Nothing is run. Exit code 1: a rule has errors.

    **Examples**

    ```
    poller rules check
    poller rules check my_rules/new_rule
    poller rules check my_rules --database postgresql://poller@localhost/poller
    ```
    """
    from functools import partial

    from poller.checking import check_rule, known_ids, rule_folders
    from poller.checking.plan import postgres_problems, scratch_database, sqlite_problems

    settings = load_settings()
    folders = rule_folders(path) if path is not None else _in_force(settings)
    ids, failed = known_ids(), False
    with scratch_database() as scratch, _postgres(settings, database) as postgres:
        ask = [partial(sqlite_problems, scratch)]
        if postgres is not None:
            ask.append(partial(postgres_problems, postgres))
        for folder in folders:
            problems = check_rule(folder, ids, ask)
            failed = failed or bool(problems)
            for problem in problems:
                output.write(printable(str(problem)) + "\n")
            if not problems:
                output.write(printable(folder.resolve().name) + " ok\n")
    if failed:
        raise typer.Exit(1)


def _in_force(settings: Settings) -> list[Path]:
    from poller.checking import rule_folders
    from poller.rules import RULES_FOLDER

    folders = rule_folders(RULES_FOLDER)
    own = settings.rules_path
    if own is None:
        return folders
    if not own.is_dir():
        raise RuleError(f"POLLER_RULES_PATH: {own} is no folder. It is to hold a folder for each rule of yours.")
    return [*folders, *(rule_folders(own) if any(own.glob("*/rule.sql")) else [])]


@contextmanager
def _postgres(settings: Settings, url: str | None) -> Iterator[Any]:
    """A connection to Postgres; None, and a remark, where there is none. Raises DatabaseError: it was named."""
    from contextlib import ExitStack

    from poller import migrate
    from poller.cli.setup import open_store
    from poller.revision import head
    from poller.settings import load

    chosen = load(database_url=url) if url else settings
    with ExitStack() as stack:
        connection = None
        try:
            if chosen.database_url.startswith("postgresql"):
                store = stack.enter_context(open_store(chosen, ensure=False))
                if migrate.current(store) != head():
                    raise DatabaseError(f"{store.shown} has not the schema of this program. Run poller migrate.")
                connection = stack.enter_context(store.reading())
            elif url:
                raise DatabaseError("--database: this is no Postgres. Give postgresql://user@host/database.")
            else:
                output.note("Postgres was not asked for its plans, only SQLite. To ask one too, give --database URL.")
        except DatabaseError as error:
            if url:
                raise
            output.note(f"Postgres was not asked: {without_secrets(str(error))}")
        yield connection
