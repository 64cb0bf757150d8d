"""`poller posture`: who can still be worn down by pushes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from poller.cli import output
from poller.cli.setup import open_reading, time_range
from poller.text import to_json

MOST_USERS = 25


def posture(
    since: Annotated[str, typer.Option(metavar="T", help="From what happened at T or later.")] = "28d",
    org: Annotated[str, typer.Option(metavar="NAME", help="Of this org only. [default: every org]")] = "",
    by: Annotated[
        Literal["number", "denied"],
        typer.Option(help="First who gets most pushes without number challenge, or who denies and ignores most."),
    ] = "number",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most N users of each org.")] = MOST_USERS,
    format: Annotated[
        Literal["text", "json"], typer.Option(help="A page to read, or a JSON array with every user.")
    ] = "text",
) -> None:
    """Show, from the log alone, who still gets pushes without number challenge and who denies or ignores most: admins
    first, and by week.

    **Examples**

    ```
    poller posture --since 56d
    poller posture --by denied
    ```
    """
    from poller import posture as pushes
    from poller.store import epoch_ms_of

    begin, _ = time_range(since, None)
    assert begin is not None
    span = epoch_ms_of(begin), epoch_ms_of(datetime.now(UTC) + timedelta(days=1))
    with open_reading() as database:
        names = [org] if org else [row["org"] for row in database.orgs()]
        found = {name: pushes.of_org(database, name, *span) for name in names}
    if by == "denied":
        for users in found.values():
            users.sort(key=lambda user: (not user.is_admin, -user.refused, -user.pushes.plain, user.uid))
    if format == "json":
        told = [{"org": name, **user.told()} for name, users in found.items() for user in users]
        output.write(to_json(told, indent=2) + "\n")
        return
    if not any(found.values()):
        output.write(f"No push was answered or ignored since {begin:%Y-%m-%d %H:%M} UTC.\n")
        return
    for name, users in found.items():
        if not users:
            continue
        exposed = [user for user in users if user.pushes.plain]
        admins = sum(user.is_admin for user in exposed)
        output.show(output.cell(name, "bold"))
        output.write(
            f"{len(exposed)} of {len(users)} users with pushes still get them without number challenge"
            f"{f', {admins} of them admins' if admins else ''}.\n\n"
        )
        weeks = output.table("WEEK OF", "USERS", "NO NUMBER", "NUMBER", "NOT SAID", "DENIED", "IGNORED")
        for week, (total, count) in pushes.by_week(users).items():
            numbers = (count, total.plain, total.with_number, total.unsaid, total.rejected, total.ignored)
            weeks.add_row(week, *(f"{number:,}" for number in numbers))
        words = ("ADMIN", "NO\nNUMBER", "NUMBER", "NOT\nSAID", "DENIED", "IGNORED", "LAST\nWITHOUT")
        rows = output.table("USER", *words)
        for column in rows.columns[1:]:
            column.no_wrap = True
        for user in users[:limit]:
            one = user.pushes
            rows.add_row(
                output.cell(user.name or user.uid),
                "admin" if user.is_admin else "",
                *(f"{n:,}" for n in (one.plain, one.with_number, one.unsaid, one.rejected, one.ignored)),
                output.moment(user.told()["last_plain_time"])[:10],
            )
        output.show(weeks, "", rows, "")
        if len(users) > limit:
            output.note(f"these are {limit} of {len(users):,} users of {name}: give a higher --limit.")
    output.write(
        "NO NUMBER: pushes approved or denied without a number to choose (USERS: by how\n"
        "many users). NOT SAID: Okta did not log whether (Classic). IGNORED: pushes that\n"
        "ran out, or were left for another factor.\n"
    )
