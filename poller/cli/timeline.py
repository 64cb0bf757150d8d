"""`poller timeline`: all that is known of a user or an address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import open_reading, time_range
from poller.errors import UsageError
from poller.text import printable, to_json

if TYPE_CHECKING:
    from rich.table import Table

MOST_EVENTS = 50  # that the text shows, the latest
MOST_NAMES = 8  # of each kind
LISTS = ("outcomes", "users", "addresses", "countries", "networks", "browsers", "factors", "apps")


def timeline(
    user: Annotated[str, typer.Option(metavar="USER", help="An Okta user id, or a user name in any case.")] = "",
    ip: Annotated[str, typer.Option(metavar="ADDRESS", help="A source address.")] = "",
    since: Annotated[str, typer.Option(metavar="T", help="What happened at T or later.")] = "30d",
    until: Annotated[str | None, typer.Option(metavar="T", help="And before T. [default: now]")] = None,
    org: Annotated[str, typer.Option(metavar="NAME", help="In this org only. [default: every org]")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most N events, the latest.")] = MOST_EVENTS,
    format: Annotated[
        Literal["text", "json"], typer.Option(help="A page to read, or a JSON array with every event.")
    ] = "text",
) -> None:
    """Show what a user did, or what came from an address: first and last seen, users, outcomes, countries, networks,
    and the latest events. What administrators did to the user is among it.

    **Examples**

    ```
    poller timeline --user alice@acme.example --since 7d
    poller timeline --ip 198.51.100.23
    ```
    """
    if bool(user) == bool(ip):
        raise UsageError("give either --user or --ip.")
    from poller import context
    from poller.store import epoch_ms_of

    begin, end = time_range(since, until)
    assert begin is not None
    span = epoch_ms_of(begin), epoch_ms_of(end or datetime.now(UTC) + timedelta(days=1))
    with open_reading() as database:
        if ip:
            found = context.of_address(database, ip.strip(), org, *span)
        else:
            users = context.users_named(database, user, org, *span)
            found = [context.of_user(database, name, uid, *span) for name, uid in users]
    if format == "json":
        output.write(to_json(found, indent=2) + "\n")
        return
    if not found:
        what = f"from {ip}" if ip else f"of a user {user!r}"
        hint = " --ip takes one address, not a network." if "/" in ip else ""
        output.write(printable(f"Nothing is stored {what} since {begin:%Y-%m-%d %H:%M} UTC.{hint}") + "\n")
        return
    for told in found:
        _page(told, limit)


def _page(told: dict[str, Any], limit: int) -> None:
    name = told.get("ip") or (told["users"][0]["name"] if told["users"] else told["user_uid"])
    uid = f" ({told['user_uid']})" if "user_uid" in told else ""
    output.show(
        output.cell(f"{name}{uid} in {told['org']}", "bold", most=300),
        output.facts(
            [
                ("events", f"{told['events']:,}"),
                ("first seen", f"{output.moment(told['first_seen_time'])} UTC"),
                ("last seen", f"{output.moment(told['last_seen_time'])} UTC"),
                *((kind, _listed(told[kind], told["first_seen_time"])) for kind in LISTS if told[kind]),
            ]
        ),
        "",
        _events(told["timeline"][-limit:]),
        "",
    )
    if told["events"] > limit:
        output.note(f"these are the latest {limit} of {told['events']:,} events: --limit or --format json shows more.")


def _events(events: list[dict[str, Any]]) -> Table:
    """One to a row, below its day; whose it is where they are not all of one user."""
    users = [_whose(event) for event in events]
    has_users = len(set(users)) > 1
    rows = output.table("TIME (UTC)", "EVENT", *(["USER"] if has_users else []), "FROM")
    rows.columns[0].no_wrap = True
    day = ""
    for event, user in zip(events, users, strict=True):
        if event["time"][:10] != day:
            day = event["time"][:10]
            rows.add_row(day)
        what = " ".join(event[name] for name in ("outcome", "outcome_reason", "factor", "app_name") if event[name])
        address = " ".join(text for text in (event["src_ip"], "proxy" if event["is_proxy"] else None) if text)
        place = ", ".join(event[name] for name in ("src_city", "src_country", "src_as_org") if event[name])
        rows.add_row(
            event["time"][11:19],
            output.lines(event["event_type"], what),
            *([output.cell(user)] if has_users else []),
            output.lines(address, place),
        )
    return rows


def _whose(event: dict[str, Any]) -> str:
    """Whose event it is, and on whom they acted."""
    who: str = event["user_name"] or event["actor_name"] or "-"
    on = event["target_user_name"]
    return f"{who} on {on}" if on and on != who else who


def _listed(counted: list[dict[str, Any]], first_time: str) -> str:
    """`Germany 212, Romania 3 (first 2026-11-26)`: what appeared later than the rest is what an analyst looks for."""
    told = [
        f"{item['name'][:80]} {item['events']:,}"
        + (f" (first {item['first_time'][:10]})" if item["first_time"][:10] > first_time[:10] else "")
        for item in counted[:MOST_NAMES]
    ]
    more = len(counted) - MOST_NAMES
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")
