"""All commands, in the groups that `poller --help` shows."""

from __future__ import annotations

from typing import Annotated

import typer

from poller.cli import (
    completeness,
    copy,
    demo,
    doctor,
    events,
    exceptions,
    findings,
    operate,
    output,
    posture,
    rules,
    simulate,
    status,
    timeline,
)

WATCH, READ, CARE = "Watch", "Read what was found", "Look after it"

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def poller(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Watch Okta's System Log for identity attacks, with rules in plain SQL, on one box.

    New here? `poller demo` shows it at work, without an Okta account.

    With an Okta org: set `POLLER_OKTA_ORG_URL` and `POLLER_OKTA_API_TOKEN` (or list orgs in
    `poller.toml`), check them with `poller doctor`, then leave `poller run` running and read
    `poller findings`.

    A time T is ISO 8601 (`2026-11-01`, `2026-11-01T09:00:00Z`; UTC unless it says otherwise) or an age
    (`24h`, `7d`). Exit codes: 0 done, 1 it could not be done, 2 wrong usage or settings.
    """
    if version:
        from poller import __version__

        output.write(f"poller {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        output.write(context.get_help() + "\n")


app.command(rich_help_panel=WATCH)(demo.demo)
app.command(rich_help_panel=WATCH)(simulate.simulate)
app.command(rich_help_panel=WATCH)(operate.run)
app.command(rich_help_panel=WATCH)(operate.backfill)
app.command(rich_help_panel=WATCH)(status.status)
app.command(rich_help_panel=WATCH)(completeness.completeness)
app.add_typer(findings.app, name="findings", rich_help_panel=READ)
app.command(rich_help_panel=READ)(timeline.timeline)
app.add_typer(events.app, name="events", rich_help_panel=READ)
app.add_typer(rules.app, name="rules", rich_help_panel=READ)
app.add_typer(exceptions.app, name="exceptions", rich_help_panel=READ)
app.command(rich_help_panel=READ)(posture.posture)
app.command(rich_help_panel=CARE)(doctor.doctor)
app.command(rich_help_panel=CARE)(operate.migrate)
app.command(rich_help_panel=CARE)(copy.copy)
