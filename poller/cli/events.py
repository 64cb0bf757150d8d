"""`poller events`: the raw records behind the columns."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from poller.cli import output
from poller.cli.setup import open_reading
from poller.errors import UsageError
from poller.text import printable, to_json

app = typer.Typer(help="Read the raw System Log record of an event.")


@app.command("show")
def show_event(
    uid: Annotated[str, typer.Argument(metavar="UID", help="The event's UID: the uuid that Okta gave it.")],
    org: Annotated[str, typer.Option(metavar="NAME", help="The org it is from, where several have this UID.")] = "",
) -> None:
    """Print the raw record of one event as Okta sent it.

    To a file or a pipe go the very bytes; on a terminal they are laid out, with control characters escaped.

    **Example**

    ```
    poller events show 7f1c2f0e-5a0b-11f1-9a55-3f6f2a1f4f10 | jq .client
    ```
    """
    with open_reading() as database:
        found = database.raw(uid, org)
    if not found:
        where = f" of org {org}" if org else ""
        raise UsageError(
            f"no stored event{where} has the UID {uid!r}. poller findings show UID lists those of a finding."
        )
    if len(found) > 1:
        raise UsageError(f"several orgs have an event {uid}: {', '.join(name for name, _ in found)}. Add --org.")
    from poller.raw import decompress

    record = decompress(found[0][1])
    if output.is_terminal():
        output.write(_laid_out(record) + "\n")
    else:
        output.write_bytes(record)


def _laid_out(record: bytes) -> str:
    """The record indented, in printable ASCII; what no decoder reads is shown as text, escaped."""
    text = record.decode("utf-8", "surrogateescape")
    try:
        return to_json(json.loads(text, strict=False), indent=2)
    except (ValueError, RecursionError):
        return printable(text)
