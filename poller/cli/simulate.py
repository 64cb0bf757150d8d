"""`poller simulate`: a known attack through the real line, to see that its rule fires, and how fast."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_store, rules_to_show
from poller.errors import UsageError
from poller.text import printable, to_json

if TYPE_CHECKING:
    from poller.demo.tabletop import Played
    from poller.rules import Rule
    from poller.settings import Settings

STEPS = {
    "published": "published: the attack's last event",
    "served": "served by the simulated Okta",
    "fetched": "fetched",
    "committed": "committed, with its findings",
    "visible": "visible to poller findings",
    "rules worked off": "the rules that no page waits for were run",
}


def simulate(
    attack: Annotated[
        str | None, typer.Argument(metavar="[ATTACK]", help="What is played. [default: list the attacks]")
    ] = None,
    user: Annotated[str, typer.Option(metavar="NAME", help="The user name of who is attacked: any text.")] = "",
    org: Annotated[
        str, typer.Option(metavar="NAME", help="Play into the org simulated-NAME. [default: a new one for each play]")
    ] = "",
    list_: Annotated[
        bool, typer.Option("--list", help="List the attacks, each with the rule that is to fire.")
    ] = False,
    remove: Annotated[str, typer.Option(metavar="ORG", help="Delete a simulated org again, with all its rows.")] = "",
    format: Annotated[Literal["text", "json"], typer.Option(help="A page to read, or JSON.")] = "text",
) -> None:
    """Play an attack into an org of its own, and see that its rule fires and what each hop takes.

    The events are marked as simulated (`debugData.simulatedBy`), dated back so that the last of them happens now, and
    go through a simulated Okta on loopback, the real fetching, storing and rules into the database of the settings.
    No Okta org is asked and no row of a real org is touched. Exits with 1 where the rule did not fire.

    **Examples**

    ```
    poller simulate
    poller simulate push_fatigue --user alice@example.com
    poller simulate session_moved --user alice@example.com --org drill --format json
    poller simulate --remove simulated-drill
    ```
    """
    if remove:
        if attack is not None or user or org or list_:
            raise UsageError("--remove stands alone: it takes the name of a simulated org, and plays nothing.")
        _remove(remove, format)
    elif attack is None or list_:
        if user or org:
            raise UsageError("which attack? poller simulate lists them.")
        _list(format)
    else:
        _play(attack, user, org, format)


def _list(format: str) -> None:
    from poller.demo.attacks import ATTACKS

    if format == "json":
        told = [{"attack": one.name, "rule": one.rule, "description": one.told} for one in ATTACKS.values()]
        output.write(to_json(told, indent=2) + "\n")
        return
    rows = output.table("ATTACK", "RULE THAT IS TO FIRE", "WHAT HAPPENS")
    for one in ATTACKS.values():
        rows.add_row(one.name, one.rule, one.told)
    output.show(rows)


def _play(name: str, user: str, org: str, format: str) -> None:
    from poller import log
    from poller.demo import tabletop
    from poller.demo.attacks import ATTACKS

    if name not in ATTACKS:
        raise UsageError(f"there is no attack {name!r}. poller simulate lists them.")
    if not user.strip():
        raise UsageError("who is attacked? Give --user NAME: any name, of a real user or not.")
    attack = ATTACKS[name]
    settings = load_settings()
    rules, was_off = _rules(settings, attack.rule)
    log.configure(settings.log_format, "error")
    with open_store(settings) as store:
        into = tabletop.org_name(store, org, name, datetime.now(UTC), tabletop.configured(settings))
    played = tabletop.play(settings, into, attack, user, rules)
    if format == "json":
        output.write(to_json(_told(played, was_off), indent=2) + "\n")
    else:
        _show(played, settings, was_off)
    if not played.has_fired:
        raise typer.Exit(1)


def _rules(settings: Settings, expected: str) -> tuple[list[Rule], bool]:
    """The enabled rules, and the expected one even if it is off; whether it is."""

    rules = rules_to_show(settings)
    chosen = [rule for rule in rules if rule.enabled or rule.name == expected]
    is_off = any(rule.name == expected and not rule.enabled for rule in chosen)
    return [replace(rule, enabled=True) for rule in chosen], is_off


def _remove(org: str, format: str) -> None:
    from poller.demo import tabletop

    settings = load_settings()
    with open_store(settings) as store:
        deleted = tabletop.remove(store, org, tabletop.configured(settings))
    if format == "json":
        output.write(to_json({"org": org, "deleted": deleted}, indent=2) + "\n")
        return
    rows = ", ".join(f"{count} of {name}" for name, count in deleted.items())
    output.write(printable(f"{org} is gone. Rows deleted: {rows}.") + "\n")


def _show(played: Played, settings: Settings, was_off: bool) -> None:
    from poller.cli.findings import SHORT, print_table

    output.write(
        printable(
            f"Played {played.attack.name} on {played.user[: output.LONGEST]} into {played.org}: {played.events} events,"
            " dated back so that the last happened now."
        )
        + "\n\n"
    )
    has_pages = len({hop.page for hop in played.hops}) > 1
    rows = output.table("HOP", *(["PAGE"] if has_pages else []), "EVENTS", "FINDINGS", "AT (UTC)", "DELAY")
    for hop in played.hops:
        rows.add_row(
            STEPS[hop.step],
            *([str(hop.page)] if has_pages else []),
            str(hop.events),
            "" if hop.findings is None else str(hop.findings),
            f"{hop.time:%H:%M:%S.%f}"[:-3],
            "" if hop.step == "published" else f"{hop.delay:.1f} ms",
        )
    output.show(rows)
    output.write(
        f"\nTogether {played.total:.0f} ms. With a real org, add what Okta takes to write an event down, and the wait"
        f" for the next\npoll ({settings.poll_interval.total_seconds():g} s at most).\n\n"
    )
    _say_what_fired(played, was_off)
    if played.findings:
        output.write("\n")
        print_table(list(played.findings))
    for number, uid in played.excepted:
        output.write(
            f"Exception {number} would have suppressed {uid[:SHORT]}. It was left out of this, and not counted.\n"
        )
    org = shlex.quote(played.org)
    output.write(f"\nLook at it, then remove it:\n  poller findings --org {org}\n")
    if played.findings:
        first = next((one for one in played.findings if one["rule"] == played.attack.rule), played.findings[0])
        output.write(f"  poller findings show {first['uid'][:SHORT]}\n")
        output.write(f"  poller events show {shlex.quote(first['trigger_uid'])}\n")
    output.write(f"  poller simulate --remove {org}\n")


def _say_what_fired(played: Played, was_off: bool) -> None:
    rule = played.attack.rule
    others = sorted({found["rule"] for found in played.findings} - {rule})
    said = f"{rule} fired." if played.has_fired else f"{rule} did NOT fire. Are its parameters changed, or its SQL?"
    if was_off:
        said += " It is off in the settings, and was run for this play only."
    if others:
        said += f" So did: {', '.join(others)}."
    output.write(printable(said) + "\n")


def _told(played: Played, was_off: bool) -> dict[str, Any]:
    from poller.text import iso

    return {
        "attack": played.attack.name,
        "user": played.user,
        "org": played.org,
        "events": played.events,
        "expected_rule": played.attack.rule,
        "expected_rule_was_off": was_off,
        "fired": played.has_fired,
        "total_ms": round(played.total, 1),
        "hops": [
            {
                "step": hop.step,
                "page": hop.page,
                "time": iso(hop.time),
                "delay_ms": hop.delay,
                "events": hop.events,
                "findings": hop.findings,
            }
            for hop in played.hops
        ],
        "findings": list(played.findings),
        "excepted": [{"exception": number, "finding": uid} for number, uid in played.excepted],
        "remove": f"poller simulate --remove {played.org}",
    }
