"""`poller run`, `poller backfill`, `poller migrate`: what fetches, and what keeps the database in shape."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from poller.cli import output
from poller.cli.setup import all_rules, load_settings, open_store, start_log, time_range
from poller.errors import PollerError, Stopped, UsageError
from poller.text import printable, without_secrets

if TYPE_CHECKING:
    from poller.cycle import Fetched
    from poller.rules import Rule
    from poller.settings import OrgSettings, Settings


def run(
    once: Annotated[
        bool, typer.Option("--once", help="One cycle, for cron: catch up with every org, run the rules, exit.")
    ] = False,
) -> None:
    """Poll every org on a schedule, store what is new, and run the rules over it, until SIGTERM or SIGINT.

    It goes on where it was stopped, without a gap or a repeat. With `--once` it exits with 0 when every org was
    caught up, else with 1.

    **Examples**

    ```
    poller run
    poller run --once
    ```
    """
    settings = load_settings()
    orgs = settings.all_orgs()
    if len(orgs) == 1:  # one of many is no reason to leave the others unpolled: it is an org that fails
        orgs[0].secret()
    start_log(settings)
    rules = _enabled(settings)
    with open_store(settings, ensure=once) as store:  # the daemon waits for a database that is away
        from poller import daemon

        if not once:
            daemon.run(settings, store, rules)
        elif code := daemon.run_once(settings, store, rules):
            output.note("not every org could be caught up. poller status says which, and why.")
            raise typer.Exit(code)


def backfill(
    since: Annotated[str, typer.Option(metavar="T", help="Fetch what was published at T or later. An age is 24h, 7d.")],
    until: Annotated[str | None, typer.Option(metavar="T", help="And before T. [default: now]")] = None,
    org: Annotated[str | None, typer.Option(metavar="NAME", help="Of this org only. [default: every org]")] = None,
) -> None:
    """Fetch a date range, store it, and run the rules over it. Okta keeps 90 days.

    Can be interrupted: the same command goes on where it was. The cursor of `poller run` is left alone, and both
    may run at the same time.

    **Examples**

    ```
    poller backfill --since 30d
    poller backfill --since 2026-11-01 --until 2026-11-02T12:00:00Z --org acme.okta.com
    ```
    """
    settings = load_settings()
    orgs = _chosen(settings, org)
    begin, end = time_range(since, until)
    assert begin is not None
    end = min(end or datetime.now(UTC), datetime.now(UTC))
    if begin >= end:
        raise UsageError(f"nothing lies between --since {since} and --until {until or 'now'}: the range is empty.")
    has_bar = sys.stderr.isatty()
    start_log(settings if not has_bar else settings.model_copy(update={"log_level": "warning"}))
    rules = _enabled(settings)
    failed = False
    with open_store(settings) as store:
        from poller import cycle, daemon
        from poller.system_log import SystemLog

        with daemon.stop_on_signals() as stop:
            for one in orgs:
                log = SystemLog(one, settings.rate_limit_share, stop)
                asked = f"{since} .. {until or 'now'}"
                try:
                    with _progress(one.name, begin, end, is_shown=has_bar) as progress:
                        done = cycle.backfill(store, log, one.name, rules, asked, begin, end, progress=progress)
                except Stopped as error:
                    output.note(str(error))
                    raise typer.Exit(130) from None
                except PollerError as error:
                    output.note(str(error))
                    failed = True
                else:
                    output.write(_summary(one.name, begin, end, done))
    if failed:
        raise typer.Exit(1)


def migrate() -> None:
    """Create the schema of the database, or upgrade it to that of this program. Harmless to run again.

    On SQLite the other commands do it themselves; on Postgres they refuse, unless POLLER_AUTO_MIGRATE=true.
    """
    settings = load_settings()
    with open_store(settings, ensure=False) as store:
        from poller import migrate as migration

        before = migration.current(store)
        migration.ensure(store, auto=True)
        after = migration.current(store)
    where = without_secrets(settings.database_url)
    if before == after:
        said = f"{where} has schema {after} already."
    elif before is None:
        said = f"{where}: schema {after} created."
    else:
        said = f"{where}: schema upgraded from {before} to {after}."
    output.write(printable(said) + "\n")


def _enabled(settings: Settings) -> list[Rule]:
    return [rule for rule in all_rules(settings) if rule.enabled]


def _chosen(settings: Settings, name: str | None) -> list[OrgSettings]:
    orgs = settings.all_orgs()
    chosen = [org for org in orgs if name in (None, org.name)]
    if not chosen:
        raise UsageError(f"there is no org {name!r} in the settings. There are: {', '.join(org.name for org in orgs)}.")
    return chosen


@contextlib.contextmanager
def _progress(org: str, since: datetime, until: datetime, is_shown: bool) -> Iterator[Callable[[datetime, int], None]]:
    """What a backfill reports its progress to: a bar over the date range on a terminal, else nothing."""
    if not is_shown:
        yield lambda reached, events: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[reached]}, {task.fields[events]} new events", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(
            printable(org), total=(until - since).total_seconds(), reached=f"{since:%Y-%m-%d %H:%M}", events=0
        )

        def progress(reached: datetime, events: int) -> None:
            seconds = (reached - since).total_seconds()
            bar.update(task, completed=seconds, reached=f"{reached:%Y-%m-%d %H:%M}", events=events)

        yield progress


def _summary(org: str, since: datetime, until: datetime, done: Fetched) -> str:
    stored = done.stored
    quarantined = f", {stored.quarantined} quarantined" if stored.quarantined else ""
    text = (
        f"{org}: {since:%Y-%m-%d %H:%M:%S} to {until:%Y-%m-%d %H:%M:%S} UTC done: {stored.new} new events, "
        f"{stored.seen} known{quarantined}, {stored.found} new findings."
    )
    return printable(text) + "\n"
