"""`poller doctor`: is everything there that polling needs?"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_store
from poller.errors import PollerError
from poller.text import printable, without_secrets

if TYPE_CHECKING:
    from poller.settings import OrgSettings, Settings

OLDEST_SQLITE = (3, 35, 0)  # the first with materialized common table expressions, which rules use
MOST_SKEW = timedelta(seconds=60)  # signed tokens are refused by clocks that are further apart

Line = tuple[str, str, str]  # "ok", "note" or "wrong" · what was checked · what was found


def doctor() -> None:
    """Check settings, database, Okta credentials and scopes, clock and rate limit; one line each.

    Sends one request to each org. Exits with 1 if anything is wrong; no line shows a token.
    """
    is_well = True
    for verdict, subject, found in _checks():
        output.write(printable(f"{verdict:<6} {subject:<12} {' '.join(found.split())}") + "\n")
        output.flush()
        is_well = is_well and verdict != "wrong"
    if not is_well:
        raise typer.Exit(1)


def _checks() -> Iterator[Line]:
    yield from _variables()
    try:
        settings = load_settings()
    except PollerError as error:
        yield "wrong", "settings", str(error)
        return
    yield "ok", "settings", f"from the environment and {_config_file()}"
    yield _rules(settings)
    yield from _database(settings)
    try:
        orgs = settings.all_orgs()
    except PollerError as error:
        yield "wrong", "orgs", str(error)
        return
    for org in orgs:
        yield from _org(org, settings)


def _variables() -> Iterator[Line]:
    """POLLER_* variables that nothing reads: most of them are a setting misspelt."""
    from poller.settings import Settings

    known = {f"POLLER_{name.upper()}" for name in Settings.model_fields} | {"POLLER_CONFIG"}
    for name in sorted(os.environ):
        if name.upper().startswith("POLLER_") and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            if near:
                yield "wrong", "settings", f"{name} is not a setting, so it has no effect. Did you mean {near[0]}?"
            else:
                yield "note", "settings", f"{name} is not a setting of poller, so it has no effect."


def _config_file() -> str:
    named = os.environ.get("POLLER_CONFIG")
    return named or ("poller.toml" if Path("poller.toml").is_file() else "no file (no poller.toml in this folder)")


def _rules(settings: Settings) -> Line:
    from poller.rules import load_rules

    try:
        rules = load_rules(settings.rules)
    except PollerError as error:
        return "wrong", "rules", str(error)
    enabled = [rule.name for rule in rules if rule.enabled]
    if not enabled:
        return "wrong", "rules", "every rule is switched off. Remove `enabled = false` from one in poller.toml."
    return "ok", "rules", f"{', '.join(enabled)} of {len(rules)}"


def _database(settings: Settings) -> Iterator[Line]:
    import sqlite3

    import sqlalchemy as sa

    from poller import migrate

    where = without_secrets(settings.database_url)
    if settings.database_url.startswith("sqlite") and sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(str(number) for number in OLDEST_SQLITE)
        yield "wrong", "database", f"SQLite {sqlite3.sqlite_version} is older than {needed}. Use a newer Python build."
        return
    try:
        with open_store(settings) as store:
            schema = migrate.current(store)
            with store.reading() as connection:
                if store.is_postgres:
                    version = f"Postgres {connection.execute(sa.text('show server_version')).scalar()}"
                    journal = "wal"
                else:
                    version = f"SQLite {sqlite3.sqlite_version}"
                    journal = str(connection.execute(sa.text("pragma journal_mode")).scalar())
    except PollerError as error:
        yield "wrong", "database", str(error)
        return
    yield "ok", "database", f"{where}, {version}, schema {schema}"
    if journal != "wal":
        yield (
            "wrong",
            "database",
            f"its journal is {journal}, not wal: readers and the poller block each other. Put it on a local disk.",
        )


def _org(org: OrgSettings, settings: Settings) -> Iterator[Line]:
    from poller.system_log import SystemLog

    try:
        check = SystemLog(org, settings.rate_limit_share, threading.Event()).check()
    except PollerError as error:
        yield "wrong", org.name, str(error)
        return
    yield "ok", org.name, f"{check.credentials} may read the System Log of {org.org_url}"
    if check.clock_skew is None:
        yield "note", org.name, "its answer has no usable Date, so this machine's clock could not be compared."
    elif abs(check.clock_skew) > MOST_SKEW:
        way = "ahead of" if check.clock_skew > timedelta(0) else "behind"
        seconds = abs(check.clock_skew).total_seconds()
        yield "wrong", org.name, f"this machine's clock is {seconds:.0f} s {way} Okta's. Set it by NTP."
    else:
        yield "ok", org.name, f"clock {abs(check.clock_skew).total_seconds():.0f} s from Okta's"
    yield from _rate_limit(org.name, check.rate_limit, check.rate_remaining, settings.rate_limit_share)


def _rate_limit(name: str, limit: int | None, remaining: int | None, share: float) -> Iterator[Line]:
    if limit is None:
        yield "note", name, "no rate limit was advertised."
        return
    left = "" if remaining is None else f", {remaining} left"
    yield "ok", name, f"rate limit {limit} requests a window{left}; poller uses up to {share:.0%}"
