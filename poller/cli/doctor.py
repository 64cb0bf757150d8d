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
    from poller.rules import Rule
    from poller.settings import OrgSettings, Settings

MOST_SKEW = timedelta(seconds=60)  # signed tokens are refused by clocks that are further apart
MOST_SCOPES = 5  # that are named

Line = tuple[str, str, str]  # "ok", "note" or "wrong" · what was checked · what was found


def doctor() -> None:
    """Check settings, database, Okta credentials and scopes, clock and rate limit; one line each.

    Sends a few requests to each org, which change nothing. Exits with 1 if anything is wrong; no line shows a token.
    """
    is_well = True
    for verdict, subject, found in _checks():
        line = f"{verdict:<6} {subject:<12} {' '.join(without_secrets(found).split())}"
        output.write(printable(line) + "\n")
        output.flush()
        is_well = is_well and verdict != "wrong"
    if not is_well:
        raise typer.Exit(1)


def _checks() -> Iterator[Line]:
    yield from _variables()
    from poller.settings import exposed_file

    try:
        settings = load_settings()
    except PollerError as error:
        yield "wrong", "settings", str(error)
        return
    yield "ok", "settings", f"from the environment and {_config_file()}"
    if exposed := exposed_file():
        yield "note", "settings", exposed
    rules, lines = _rules(settings)
    yield from lines
    yield from _database(settings, rules)
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


def _rules(settings: Settings) -> tuple[list[Rule], list[Line]]:
    from poller.rules import load_rules

    unusable: list[Line] = []
    try:
        rules = load_rules(
            settings.rules, settings.rules_path, lambda error: unusable.append(("wrong", "rules", str(error)))
        )
    except PollerError as error:
        return [], [("wrong", "rules", str(error))]
    enabled = [rule for rule in rules if rule.enabled]
    if not any(rule.is_about_events() for rule in enabled):
        off = "every rule about events is switched off. Remove `enabled = false` from one in poller.toml."
        return enabled, [("wrong", "rules", off), *unusable]
    own = sum(rule.is_own for rule in enabled)
    told = f"{len(enabled)} of {len(rules)} are on{f', {own} of them your own' if own else ''}"
    return enabled, [("ok", "rules", told), *unusable]


def _database(settings: Settings, rules: list[Rule]) -> Iterator[Line]:
    import sqlalchemy as sa

    from poller import migrate, sqlite

    where = without_secrets(settings.database_url)
    if settings.database_url.startswith("sqlite") and sqlite.driver.sqlite_version_info < sqlite.OLDEST:
        needed = ".".join(str(number) for number in sqlite.OLDEST)
        yield "wrong", "database", f"SQLite {sqlite.VERSION} is older than {needed}. Use a newer Python build."
        return
    try:
        with open_store(settings) as store:
            schema = migrate.current(store)
            store.try_to_write()
            version, journal = store.version, "wal"
            if not store.is_postgres:
                with store.reading() as connection:
                    journal = str(connection.execute(sa.text("pragma journal_mode")).scalar())
    except PollerError as error:
        yield "wrong", "database", str(error)
        return
    yield "ok", "database", f"{where}, {version}, schema {schema}"
    yield from _refused(settings, rules)
    if not store.is_postgres and sqlite.has_wal_reset_bug():
        yield (
            "note",
            "database",
            f"SQLite {sqlite.VERSION} can corrupt a database, though very seldom, when two processes write at once"
            " (mended in 3.51.3). Install pysqlite3 0.6.1 where it has a wheel, a Python with a newer SQLite, or use"
            " Postgres.",
        )
    if journal != "wal":
        yield (
            "wrong",
            "database",
            f"its journal is {journal}, not wal: readers and the poller block each other. Put it on a local disk.",
        )


def _refused(settings: Settings, rules: list[Rule]) -> Iterator[Line]:
    """Rules that this database, of this version, would not run."""
    import sqlalchemy as sa

    from poller.findings import moment
    from poller.schema import rule_backlog
    from poller.store import query_of

    with open_store(settings) as store:
        for rule in rules:
            try:
                with store.reading() as connection:
                    binds = dict.fromkeys(("since", "until", "now", "started", "interval"), 0)
                    connection.execute(query_of(f"explain {rule.statement}"), {"org": "", **binds, **rule.parameters})
            except PollerError as error:
                said = str(getattr(error.__cause__, "orig", None) or error).strip().splitlines()[0]
                yield (
                    "wrong",
                    "rules",
                    f"{rule.name} can't be run: {said}. poller rules check says more.",
                )
        with store.reading() as connection:
            row = rule_backlog.c
            since = sa.func.min(row.since).label("since")
            troubles = sa.select(row.org, row.rule, row.error, since).group_by(row.org, row.rule, row.error)
            failed = connection.execute(troubles.where(row.error.is_not(None)).order_by(row.org, row.rule)).all()
    for one in failed:
        told = f"{one.rule} failed over events of {one.org} since {moment(one.since):%Y-%m-%d %H:%M} UTC"
        yield "wrong", "rules", f"{told}, and is run again by itself: {one.error}"


def _org(org: OrgSettings, settings: Settings) -> Iterator[Line]:
    from poller.system_log import SystemLog

    try:
        check = SystemLog(org, settings.rate_limit_share, threading.Event()).check()
    except PollerError as error:
        yield "wrong", org.name, str(error)
        return
    yield "ok", org.name, f"{check.credentials} may read the System Log of {org.org_url}"
    yield from _rights(org, check.can_also)
    if check.clock_skew is None:
        yield "note", org.name, "its answer has no usable Date, so this machine's clock could not be compared."
    elif abs(check.clock_skew) > MOST_SKEW:
        way = "ahead of" if check.clock_skew > timedelta(0) else "behind"
        seconds = abs(check.clock_skew).total_seconds()
        yield "wrong", org.name, f"this machine's clock is {seconds:.0f} s {way} Okta's. Set it by NTP."
    else:
        yield "ok", org.name, f"clock {abs(check.clock_skew).total_seconds():.0f} s from Okta's"
    yield from _rate_limit(org.name, check.rate_limit, check.rate_remaining, settings.rate_limit_share)


def _rights(org: OrgSettings, can_also: tuple[str, ...] | None) -> Iterator[Line]:
    """Whether the credentials can do more than they are needed for."""
    if can_also is None:
        yield "note", org.name, "what else this API token can do could not be found out."
    elif can_also and org.uses_oauth:
        more = ", ".join(scope[:60] for scope in can_also[:MOST_SCOPES])
        more += f" and {len(can_also) - MOST_SCOPES} more" if len(can_also) > MOST_SCOPES else ""
        todo = "okta.logs.read is enough: revoke the others under Okta API Scopes of the app."
        yield "note", org.name, f"its access token was granted {more} too. {todo}"
    elif can_also:
        more = " and ".join(filter(None, (", ".join(can_also[:-1]), can_also[-1])))
        todo = "use an OAuth app with the scope okta.logs.read alone (docs/settings.md)"
        yield "note", org.name, f"this API token can also read {more}: {todo}"
    elif org.uses_oauth:
        yield "ok", org.name, "its scope okta.logs.read is just enough"
    else:
        yield "ok", org.name, "this API token was not let at users, apps or admin roles"


def _rate_limit(name: str, limit: int | None, remaining: int | None, share: float) -> Iterator[Line]:
    if limit is None:
        yield "note", name, "no rate limit was advertised."
        return
    left = "" if remaining is None else f", {remaining} left"
    yield "ok", name, f"rate limit {limit} requests a window{left}; poller uses up to {share:.0%}"
