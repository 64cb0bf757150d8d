"""`poller demo`: the whole line at work, with no Okta account and no network."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from poller.cli import output
from poller.errors import OktaError


def demo(
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Store it here. [default: a new SQLite file in a temporary folder]"),
    ] = None,
) -> None:
    """See poller at work: a simulated Okta org on loopback, the real cycle, the findings.

    Needs no Okta account, no network and no settings: POLLER_* variables and poller.toml are left aside. The database
    stays, so that the other commands can be tried on it.
    """
    folder = Path(tempfile.mkdtemp(prefix="poller-demo-"))
    _leave_settings_aside(folder)
    url = database or f"sqlite:///{folder / 'poller.db'}"

    from poller import context, daemon, log, migrate
    from poller import demo as simulated
    from poller.cli.findings import SHORT, page, print_table
    from poller.cli.setup import open_store
    from poller.reading import Wanted, reading
    from poller.rules import load_rules
    from poller.settings import load

    now = datetime.now(UTC)
    output.note("starting a simulated Okta org on loopback, with a day of work of 250 people in its log.")
    okta = simulated.start(now)
    name = f"demo-{now:%Y%m%d-%H%M%S}"  # each run is an org of its own, in whatever database
    try:
        settings = load(
            database_url=url,
            okta_org_url=okta.url,
            okta_org_name=name,
            okta_api_token=okta.token,
            initial_lookback="48h",
            rate_limit_share=1.0,
            log_level="error",
        )
        log.configure(settings.log_format, settings.log_level)
        with open_store(settings, ensure=False) as store:
            migrate.ensure(store, auto=True)
            code = daemon.run_once(settings, store, [rule for rule in load_rules() if rule.enabled])
    finally:
        okta.stop()
    if code:
        raise OktaError(
            "the simulated org could not be read. The same with --database URL, then poller status, says why."
        )
    with reading(settings.database_url, auto_migrate=False) as opened:
        found = list(opened.findings(Wanted(org=name)))
        if not found:
            output.write("No findings.\n")
            return
        output.write(f"Fetched, normalized and stored a day of Okta's System Log. Findings: {len(found)}\n\n")
        print_table(found)
        output.write("\nThe attack itself:\n\n")
        attack = next((finding for finding in found if finding["rule"] == "push_fatigue"), found[0])
        uid = attack["uid"]
        timeline = opened.timeline(uid)
        around = context.of_finding(opened, attack, timeline)
        output.show(*page(attack, timeline, opened.history(uid), around))
    _say_what_next(settings.database_url, uid[:SHORT])


def _leave_settings_aside(folder: Path) -> None:
    """From here on this process has no settings but those it is given."""
    for name in list(os.environ):
        if name.upper().startswith("POLLER_") and name != "POLLER_LOG_LEVEL":
            del os.environ[name]
    config = folder / "poller.toml"
    config.write_text("# the demo has no settings\n", "utf-8")
    os.environ["POLLER_CONFIG"] = str(config)


def _say_what_next(url: str, short_uid: str) -> None:
    program = _program()
    prefix = f"POLLER_DATABASE_URL={shlex.quote(url)} {program}"
    # Lines to copy: written as they are, never folded to the width of a table.
    output.write(
        "\nLook again, at the same database:\n"
        f"  {prefix} findings\n"
        f"  {prefix} findings show {short_uid}\n"
        f"  {prefix} findings set {short_uid} --status in_progress --comment 'calling the user'\n"
        f"\nThe rule that found it:\n  {program} rules show push_fatigue\n"
        "\nWith an Okta org of your own:\n"
        "  export POLLER_OKTA_ORG_URL=https://acme.okta.com POLLER_OKTA_API_TOKEN_FILE=/path/to/token\n"
        f"  {program} doctor && {program} run\n"
    )


def _program() -> str:
    """How this process was called, to be typed again."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m poller"
    return "poller" if shutil.which("poller") else shlex.quote(str(called))
