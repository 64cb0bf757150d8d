"""`poller copy`: from one database to another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_store
from poller.errors import SettingsError, UsageError
from poller.text import printable, without_secrets

if TYPE_CHECKING:
    from poller.settings import Settings
    from poller.store import Store


def copy(
    to: Annotated[
        str,
        typer.Option(metavar="URL", help="The database to copy to: empty, or not there yet (SQLite makes its file)."),
    ],
) -> None:
    """Copy everything to another database: events, findings and their history, cursors, the ledger.

    From SQLite to Postgres, back, or to another of the same kind. It copies all of it or nothing, compares what has
    arrived with what was read, and may run beside `poller run`: what is stored after it began, the poller that goes on
    with the copy fetches anew. A password in the URL can be seen by others on this machine: PGPASSWORD, PGPASSFILE and
    `~/.pgpass` keep it to yourself.

    **Examples**

    ```
    poller copy --to postgresql://poller@db.example.net/poller
    poller copy --to sqlite:////var/lib/poller/copy.db
    ```
    """
    settings = load_settings()
    _refuse_nothing(settings)
    with open_store(settings) as source, _open_target(to) as target:
        from poller import copying

        try:
            with _progress(is_shown=sys.stderr.isatty()) as progress:
                copied = copying.copy(source, target, progress)
        except KeyboardInterrupt:
            output.note("interrupted, so nothing was copied. The same command begins anew.")
            raise typer.Exit(130) from None
        width = max(len(name) for name, _ in copied)
        for name, rows in copied:
            output.write(f"{name:<{width}}  {rows} rows, compared\n")
        where = printable(copying.shown(target))
    output.write(f"All of it is in {where}. To go on there, set POLLER_DATABASE_URL to it.\n")


def _refuse_nothing(settings: Settings) -> None:
    """An SQLite file that is not there would be made, and then copied."""
    scheme, _, path = settings.database_url.partition(":///")
    if scheme == "sqlite" and path and not Path(path.partition("?")[0]).exists():
        where = without_secrets(settings.database_url)
        raise UsageError(f"there is nothing to copy: {where} is not there. POLLER_DATABASE_URL says what to copy from.")


@contextlib.contextmanager
def _open_target(url: str) -> Iterator[Store]:
    from poller.settings import load

    with contextlib.ExitStack() as stack:
        try:
            target = stack.enter_context(open_store(load(database_url=url), ensure=False))
        except SettingsError as error:
            raise UsageError(str(error).replace("POLLER_DATABASE_URL", "--to")) from None
        yield target


@contextlib.contextmanager
def _progress(is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """What the copying reports to: a bar for each table on a terminal, else nothing."""
    if not is_shown:
        yield lambda table, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def progress(table: str, done: int, of: int) -> None:
            if table not in tasks:
                tasks[table] = bar.add_task(table, total=of)
            bar.update(tasks[table], completed=done)

        yield progress
