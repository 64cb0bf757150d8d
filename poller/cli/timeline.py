"""`poller timeline`: all that is known of a user or an address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import open_reading, time_range
from poller.errors import UsageError
from poller.text import printable, to_json

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
        output.write(printable(f"Nothing is stored {what} since {begin:%Y-%m-%d %H:%M} UTC.") + "\n")
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
                *((kind, _listed(told[kind])) for kind in LISTS if told[kind]),
            ]
        ),
        "",
    )
    rows = output.table("TIME (UTC)", "EVENT", "USER", "FROM")
    rows.columns[0].no_wrap = True
    for event in told["timeline"][-limit:]:
        who = event["user_name"] or event["actor_name"]
        if event["target_user_name"] and event["target_user_name"] != who:
            who = f"{who or '-'} on {event['target_user_name']}"
        what = [event["event_type"], event["outcome"], event["outcome_reason"], event["factor"], event["app_name"]]
        place = [event["src_ip"], event["src_city"], event["src_country"], event["src_as_org"]]
        rows.add_row(
            output.moment(event["time"]),
            output.cell(" ".join(text for text in what if text), most=200),
            output.cell(who),
            output.cell(", ".join(text for text in place if text) + (", proxy" if event["is_proxy"] else "")),
        )
    output.show(rows, "")
    if told["events"] > limit:
        output.note(f"these are the latest {limit} of {told['events']:,} events: --limit or --format json shows more.")


def _listed(counted: list[dict[str, Any]]) -> str:
    """`Germany 212, Romania 3 (first 2026-11-26)`: what appeared last is what an analyst looks for."""
    told = [
        f"{item['name'][:80]} {item['events']:,} (since {item['first_time'][:10]})" for item in counted[:MOST_NAMES]
    ]
    more = len(counted) - MOST_NAMES
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")
