"""`poller exceptions`: what is known to be harmless, until when, and who says so."""

from __future__ import annotations

import getpass
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.rule_history import no_such_rule
from poller.cli.setup import load_settings, open_reading, open_store
from poller.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.reading import Reading

app = typer.Typer()

COLUMNS = (
    *("id", "rule", "org", "user_name", "network", "reason", "owner", "created_time", "end_time", "hits"),
    "last_hit_time",
)
SEEN_WITHIN = timedelta(days=30)


@app.callback(invoke_without_command=True)
def exceptions(context: typer.Context) -> None:
    """Say that some findings are known to be harmless: they are made all the same, and marked suppressed.

    An exception is for a rule, a user, an address or network, an org, or several of these together. It has a reason,
    an owner and an end, a year away at most.

    **Examples**

    ```
    poller exceptions list
    poller exceptions add --rule push_fatigue --ip 203.0.113.0/24 --until 30d --reason "red team"
    poller exceptions expire 3
    ```
    """
    if context.invoked_subcommand is None:
        list_exceptions()


@app.command("list")
def list_exceptions(
    rule: Annotated[str, typer.Option(metavar="NAME", help="Those that touch this rule.")] = "",
    all: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    format: Annotated[
        Literal["table", "json", "csv"] | None, typer.Option(help="[default: table on a terminal, else json]")
    ] = None,
) -> None:
    """List the exceptions in force, the next to end first."""
    if rule:
        _check_rule(rule)
    with open_reading() as database:
        rows = database.exceptions(rule, None if all else datetime.now(UTC))
    form = format or ("table" if output.is_terminal() else "json")
    if form == "json":
        output.write_json_array(rows)
    elif form == "csv":
        output.write_csv(COLUMNS, rows)
    elif not rows:
        output.write("No exceptions.\n" if not rule else "No exception touches this rule.\n")
    else:
        show(rows)


@app.command("add")
def add_exception(
    until: Annotated[str, typer.Option(metavar="T", help="Its end: a time, or a span from now on (30d).")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why these findings are harmless.")],
    owner: Annotated[str, typer.Option(metavar="WHO", help="Who answers for it. [default: you]")] = "",
    rule: Annotated[str | None, typer.Option(metavar="NAME", help="For findings of this rule.")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="About this user: an Okta id, or a name.")] = None,
    ip: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Whose addresses are all this one, or within this network.")
    ] = None,
    org: Annotated[str | None, typer.Option(metavar="NAME", help="Of this org.")] = None,
) -> None:
    """Add an exception, for findings that are made from now on. It holds for those that fit everything it names.

    **Examples**

    ```
    poller exceptions add --rule push_fatigue --ip 203.0.113.0/24 --until 30d --reason "red team, ticket 4711"
    poller exceptions add --rule new_country --user alice@example.com --until 2026-12-24 --reason "on a journey"
    ```
    """
    from poller import exceptions as made

    if rule is not None:
        _check_rule(rule)
    now = datetime.now(UTC)
    wanted = made.Wanted(rule, org, user, ip, reason, owner or _me(), _end(until, now))
    with open_store(load_settings()) as store:
        number = made.add(store, wanted, now)
    with open_reading() as database:
        if org is not None and org not in {row["org"] for row in database.orgs()}:
            output.note(f"no org {org!r} was ever polled: poller status lists them. Is it the right name?")
        elif user is not None and not _is_known(database, user, org or "", now):
            output.note(f"no event of the last {SEEN_WITHIN.days} days is of a user {user!r}. Is it the right name?")
    output.write(f"exception {number} holds until {wanted.end:%Y-%m-%d %H:%M:%S} UTC\n")


@app.command("expire")
def expire_exception(number: Annotated[int, typer.Argument(metavar="ID", help="Its number, as listed.")]) -> None:
    """End an exception now. It stays in the list with --all, and in the history of what it suppressed."""
    from poller import exceptions as made

    with open_store(load_settings()) as store:
        made.expire(store, number, datetime.now(UTC))
    output.write(f"exception {number} has ended\n")


def _is_known(database: Reading, user: str, org: str, now: datetime) -> bool:
    from poller.context import users_named
    from poller.store import epoch_ms_of

    return bool(users_named(database, user, org, epoch_ms_of(now - SEEN_WITHIN), epoch_ms_of(now + timedelta(days=1))))


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A table of exceptions."""
    table = output.table("ID", "ENDS (UTC)", "HITS", "OWNER", "FOR, AND WHY")
    table.columns[1].no_wrap = True
    for row in rows:
        names = {"rule": "rule", "user_name": "user", "network": "address", "org": "org"}
        scope = ", ".join(f"{told} {row[name]}" for name, told in names.items() if row[name] is not None)
        table.add_row(
            str(row["id"]),
            output.moment(row["end_time"]),
            str(row["hits"]),
            output.cell(row["owner"]),
            output.lines(scope, row["reason"]),
        )
    output.show(table)


def _end(text: str, now: datetime) -> datetime:
    """A time, or an age counted forwards."""
    from poller.settings import parse_duration, parse_time

    try:
        return now + parse_duration(text.strip())
    except OverflowError:
        raise UsageError(f"--until {text}: that is further ahead than time goes.") from None
    except ValueError:
        return parse_time(text, now)


def _me() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    raise UsageError("who answers for it? Give --owner.")


def _check_rule(name: str) -> None:
    from poller.rules import load_rules

    settings = load_settings()
    names = [rule.name for rule in load_rules(settings.rules, settings.rules_path, lambda error: None)]
    if name not in names:
        raise no_such_rule(name, names)
