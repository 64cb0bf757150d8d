"""`poller status`: how far each org has been read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_reading
from poller.errors import SettingsError
from poller.reading import at


def status(
    format: Annotated[Literal["text", "json"], typer.Option(help="A page to read, or a JSON array.")] = "text",
) -> None:
    """Show how far each org has been read: cursor, last event, lag, last poll, errors, quarantine.

    The lag of an org is the age of what is known of it: the time since it was last caught up or, while it is behind,
    since the newest event that is stored.
    """
    now = datetime.now(UTC)
    with open_reading() as database:
        stored = {row["org"]: row for row in database.orgs()}
        unfinished = database.backfills()
    names = list(dict.fromkeys([*_configured(), *stored]))
    told = [_told(name, stored.get(name), [b for b in unfinished if b["org"] == name], now) for name in names]
    if format == "json":
        output.write_json_array(told)
    elif not told:
        output.write("No org is set and none was ever polled. Set POLLER_OKTA_ORG_URL, or try poller demo.\n")
    else:
        output.show(*(part for org in told for part in (output.cell(org["org"], "bold"), _page(org), "")))


def _configured() -> list[str]:
    """The orgs of the settings; none where they are incomplete, which is for `poller doctor` to say."""
    try:
        return [org.name for org in load_settings().all_orgs()]
    except SettingsError:
        return []


def _told(name: str, row: dict[str, Any] | None, unfinished: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    row = row or {}
    caught_up = bool(row.get("caught_up_time")) and row["caught_up_time"] >= (row.get("last_poll_time") or "")
    last_event = at(row.get("last_event_time"))
    known_until = row.get("caught_up_time") if caught_up else last_event
    return {
        "org": name,
        "state": _state(row, caught_up),
        "cursor": row.get("live_cursor"),
        "last_event_time": last_event,
        "lag_seconds": _age(known_until, now),
        "last_poll_time": row.get("last_poll_time"),
        "caught_up": caught_up,
        "caught_up_time": row.get("caught_up_time"),
        "last_error": row.get("last_error"),
        "last_error_time": row.get("last_error_time"),
        "quarantine": row.get("quarantined", 0),
        "unfinished_backfills": [
            {name: backfill[name] for name in ("since_time", "until_time", "events_stored", "started_time")}
            for backfill in unfinished
        ],
    }


def _state(row: dict[str, Any], caught_up: bool) -> str:
    if row.get("last_error"):
        return "failing"
    if not row.get("last_poll_time"):
        return "never polled"
    return "caught up" if caught_up else "behind"


def _age(then: str | None, now: datetime) -> int | None:
    return None if then is None else max(0, round((now - datetime.fromisoformat(then)).total_seconds()))


def _page(org: dict[str, Any]) -> Any:
    style = {"failing": "red", "behind": "yellow", "caught up": "green"}.get(org["state"], "")
    lag = org["lag_seconds"]
    pairs = [
        ("state", output.cell(org["state"], style)),
        ("last event", _when(org["last_event_time"])),
        ("lag", output.cell(None if lag is None else _span(lag))),
        ("last poll", _when(org["last_poll_time"])),
        ("caught up", _when(org["caught_up_time"])),
        ("cursor", output.cell(org["cursor"], most=output.LONGEST_TEXT)),
        ("quarantine", output.cell(org["quarantine"])),
    ]
    if org["last_error"]:
        said = f"{output.moment(org['last_error_time'])} UTC: {org['last_error']}"
        pairs.append(("last error", output.cell(said, most=output.LONGEST_TEXT)))
    for backfill in org["unfinished_backfills"]:
        since, until = output.moment(backfill["since_time"]), output.moment(backfill["until_time"])
        pairs.append(("backfill", output.cell(f"{since} to {until} UTC, {backfill['events_stored']} new so far")))
    return output.facts(pairs)


def _when(iso: str | None) -> Any:
    return output.cell(f"{output.moment(iso)} UTC" if iso else None)


def _span(seconds: int) -> str:
    """`3d 4h`, `2m 10s`: the two units that matter."""
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size or (unit == "s" and not parts):
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return " ".join(parts[:2])
