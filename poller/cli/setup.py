"""Settings and the database, opened the way that commands need them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from poller.cli import output
from poller.errors import SettingsError, UsageError
from poller.text import without_secrets

if TYPE_CHECKING:
    from poller.reading import Reading
    from poller.rules import Rule
    from poller.settings import Settings
    from poller.store import Store


def load_settings() -> Settings:
    """The settings in force. Raises SettingsError."""
    from poller.settings import load

    return load()


def start_log(settings: Settings) -> None:
    """Log lines go to standard error from here on."""
    from poller import log

    log.configure(settings.log_format, settings.log_level)


def all_rules(settings: Settings) -> list[Rule]:
    """The rules of poller and the user's own. Of those a folder that can't be used is logged, and left out: it must not
    keep the others from their work."""
    import structlog

    from poller.rules import load_rules

    log = structlog.get_logger()
    return load_rules(settings.rules, settings.rules_path, lambda error: log.error("rule.unusable", error=str(error)))


def rules_to_show(settings: Settings) -> list[Rule]:
    """The same for commands that answer a person, who is told of such a folder."""
    from poller.rules import load_rules

    return load_rules(settings.rules, settings.rules_path, lambda error: output.note(str(error)))


@contextmanager
def open_reading() -> Iterator[Reading]:
    """The database of the settings, to read from."""
    from poller.reading import reading

    settings = load_settings()
    with reading(settings.database_url, settings.auto_migrate) as opened:
        yield opened


@contextmanager
def open_store(settings: Settings, ensure: bool = True) -> Iterator[Store]:
    """The database of the settings, to write to; with `ensure`, its schema is that of this program."""
    from sqlalchemy.exc import ArgumentError

    from poller import migrate
    from poller.store import Store

    try:
        store = Store(settings.database_url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"POLLER_DATABASE_URL: {without_secrets(settings.database_url)} is no database address."
            " Give sqlite:///poller.db or postgresql://user@host/database."
        ) from None
    with store:
        if ensure:
            migrate.ensure(store, settings.auto_migrate)
        yield store


def time_range(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """`--since` and `--until` as points in time. Raises UsageError: not times, or the wrong way round."""
    from poller.settings import parse_time

    now = datetime.now(UTC)
    begin = parse_time(since, now) if since is not None else None
    end = parse_time(until, now) if until is not None else None
    if begin is not None and end is not None and end < begin:
        raise UsageError(f"--until {until} lies before --since {since}. Ranges run from since to until.")
    return begin, end
