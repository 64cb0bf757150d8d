"""`poller findings`: list them, read one, and say what became of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import explain, output
from poller.cli.setup import load_settings, open_reading, open_store, rules_to_show, time_range
from poller.errors import RuleError, SettingsError
from poller.findings import REASONS, SEVERITIES, STATUSES
from poller.reading import FINDING_COLUMNS, Wanted, at
from poller.text import printable, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from poller.settings import Settings

Uid = Annotated[str, typer.Argument(metavar="UID", help="The finding's UID, or its first characters.")]

TABLE_LIMIT = 50
SHORT = 8  # characters of a UID that a table shows: enough to tell findings apart, and to name one

app = typer.Typer()
app.command("explain")(explain.explain)


def _option_of(words: Sequence[str], told: str) -> Any:
    """An option whose value, or each of whose values, is one of these words."""

    def check(value: str | list[str] | None) -> str | list[str] | None:
        for word in [value] if isinstance(value, str) else value or []:
            if word not in words:
                raise typer.BadParameter(f"{word!r} is not one of {', '.join(words)}.")
        return value

    return typer.Option(metavar="WORD", callback=check, help=f"{told} One of {', '.join(words)}.")


@app.callback(invoke_without_command=True)
def list_findings(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="T", help="Last seen at T or later: 2026-11-01, 2026-11-01T09:00:00Z, or an age: 24h, 7d."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="T", help="Last seen before T.")] = None,
    rule: Annotated[str, typer.Option(metavar="NAME", help="Of this rule only.")] = "",
    user: Annotated[
        str, typer.Option(metavar="USER", help="About this user: an Okta user id, or a user name in any case.")
    ] = "",
    ip: Annotated[str, typer.Option(metavar="ADDRESS", help="With this address among its source addresses.")] = "",
    severity: Annotated[
        list[str] | None, _option_of(SEVERITIES, "Of exactly this severity; give it again for more than one.")
    ] = None,
    status: Annotated[
        list[str] | None, _option_of(STATUSES, "In this status; give it again for more than one.")
    ] = None,
    org: Annotated[str, typer.Option(metavar="NAME", help="Of this org only.")] = "",
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"At most N, the newest. [default: {TABLE_LIMIT} in a table, else all]"),
    ] = None,
    format: Annotated[
        Literal["table", "json", "jsonl", "csv"] | None,
        typer.Option(help="How to print them. [default: table on a terminal, else json]"),
    ] = None,
) -> None:
    """List findings, newest first, or work on one of them.

    A finding lies in a range by its last_seen_time, the moment that completed the pattern. Findings marked
    *superseded* are those that an analyst had touched before a late event undid them.

    **Examples**

    ```
    poller findings --since 7d --status new
    poller findings --user alice@example.com --severity high --severity critical
    poller findings --format csv > findings.csv
    poller findings show 3f9a0c
    ```
    """
    if context.invoked_subcommand:
        return
    begin, end = time_range(since, until)
    wanted = Wanted(begin, end, rule, user, ip, severity or (), status or (), org)
    form = format or ("table" if output.is_terminal() else "json")
    most = limit or (TABLE_LIMIT if form == "table" else None)
    with open_reading() as database:
        found = database.findings(wanted, most=most + 1 if most else None)
        shown, there_is_more = _split(found, most)
        if form == "json":
            output.write_json_array(shown)
        elif form == "jsonl":
            output.write_json_lines(shown)
        elif form == "csv":
            output.write_csv(FINDING_COLUMNS, shown)
        else:
            print_table(list(shown), is_filtered=wanted != Wanted())
        if there_is_more():
            output.note(f"these are the newest {most}, there are more: give a higher --limit, or narrow the search.")


@app.command("show")
def show_finding(
    uid: Uid,
    format: Annotated[Literal["text", "json"], typer.Option(help="A page to read, or JSON.")] = "text",
) -> None:
    """Read one finding: why it fired, its evidence as a timeline, what was done about it, and its runbook.

    **Examples**

    ```
    poller findings show 3f9a0c
    poller findings show 3f9a0c --format json
    ```
    """
    from poller import context

    settings = load_settings()
    with open_reading() as database:
        finding = database.finding(uid)
        timeline, history = database.timeline(finding["uid"]), database.history(finding["uid"])
        around = context.of_finding(database, finding, timeline) if timeline else None
    if format == "json":
        output.write(to_json({**finding, "context": around}, indent=2) + "\n")
        return
    output.show(*page(finding, timeline, history, around), *_runbook(finding["rule"], settings))
    output.write(_next_steps(finding))


@app.command("set")
def set_status(
    uid: Uid,
    status: Annotated[str, _option_of(STATUSES, "What becomes of the finding.")],
    reason: Annotated[str | None, _option_of(REASONS, "Why, in one word.")] = None,
    comment: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, in your own words.")] = None,
) -> None:
    """Triage a finding. Each change is kept, with its time, and shown by `poller findings show`.

    **Examples**

    ```
    poller findings set 3f9a0c --status in_progress
    poller findings set 3f9a0c --status resolved --reason true_positive --comment "sessions cleared"
    ```
    """
    settings = load_settings()
    with open_reading() as database:
        finding = database.finding(uid)
    with open_store(settings) as store:
        store.set_status(finding["uid"], status, reason, comment, datetime.now(UTC))
    because = f" ({reason})" if reason else ""
    output.write(f"{finding['uid']}: {finding['status']} -> {status}{because}\n")


def _split(found: Iterator[dict[str, Any]], most: int | None) -> tuple[Iterator[dict[str, Any]], Any]:
    """The first `most` findings, and a question to ask once they are used up: whether one more is there."""
    if most is None:
        return found, lambda: False
    return islice(found, most), lambda: next(found, None) is not None


def print_table(found: list[dict[str, Any]], is_filtered: bool = False) -> None:
    if not found:
        output.write("No finding matches.\n" if is_filtered else "No findings.\n")
        return
    has_orgs = len({finding["org"] for finding in found}) > 1
    is_narrow = output.width() < output.WIDTH  # names of users and rules would be broken into pieces beside one another
    names = ("RULE, AND USER",) if is_narrow else ("USER", "RULE")
    rows = output.table("UID", "LAST SEEN (UTC)", "SEVERITY", "STATUS", *(["ORG"] if has_orgs else []), *names)
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = rows.columns[2].no_wrap = True
    for finding in found:
        superseded = " superseded" if finding["superseded_time"] else ""
        user = finding["user_name"] or finding["user_uid"] or f"org {finding['org']}"
        rows.add_row(
            output.cell(finding["uid"][:SHORT]),
            output.moment(finding["last_seen_time"]),
            output.cell(finding["severity"], output.SEVERITY_STYLES.get(finding["severity"], "")),
            output.cell(finding["status"] + superseded),
            *([output.cell(finding["org"])] if has_orgs else []),
            *(
                [output.lines(finding["rule"], user)]
                if is_narrow
                else [output.cell(user), output.cell(finding["rule"])]
            ),
        )
    output.show(rows)


def page(
    finding: dict[str, Any],
    timeline: list[dict[str, Any]],
    history: list[dict[str, Any]],
    around: dict[str, Any] | None = None,
) -> Iterator[RenderableType]:
    style = output.SEVERITY_STYLES.get(finding["severity"], "")
    yield output.cell(finding["title"], f"bold {style}".strip())
    yield output.cell(finding["summary"], most=output.LONGEST_TEXT)
    yield ""
    who = f"{finding['user_name'] or 'a user without a name'} ({finding['user_uid']})" if finding["user_uid"] else "-"
    ips = " ".join(finding["src_ips"][:10]) + (" ..." if len(finding["src_ips"]) > 10 else "")
    status = finding["status"]
    if finding["superseded_time"]:
        status += f", superseded {output.moment(finding['superseded_time'])} UTC: late events have undone it"
    yield output.facts(
        [
            ("finding", finding["uid"]),
            ("severity", output.cell(finding["severity"], style)),
            ("confidence", finding["confidence"]),
            ("status", status),
            *([("user", who)] if timeline else []),
            ("org", finding["org"]),
            *([("from", ips or "-")] if timeline else []),
            ("seen", f"{output.moment(finding['first_seen_time'])} to {output.moment(finding['last_seen_time'])} UTC"),
            ("rule", finding["rule"]),
        ]
    )
    if timeline:  # a finding about poller itself has none
        yield from ("", output.cell("Evidence", "bold"), _timeline(timeline))
    if around:
        yield from ("", output.cell("Around it", "bold"), output.facts(_around(around, bool(finding["user_uid"]))))
    if history:
        yield from ("", output.cell("Triage", "bold"), _history(history))


def _around(told: dict[str, Any], has_user: bool) -> Iterator[tuple[str, str]]:
    """What came of it, and what is known of each address: by now, and until a day after it. What is about an address
    alone has no session that could go on."""
    for done in told["next"]:
        names = f": {', '.join(str(name)[:80] for name in done['names'])}" if done["names"] else ""
        yield f"then {done['what']}", f"{done['count']}, from {output.moment(done['first_time'])} UTC{names}"
    if has_user and not told["next"]:
        yield "then", "nothing of note is stored of the 24 hours after it"
    for place in told["addresses"]:
        yield place["ip"], "; ".join(_place_told(place))


def _place_told(place: dict[str, Any]) -> Iterator[str]:
    if "user_was_here_before" in place:
        if place["user_was_here_before"]:
            yield f"this user was there before, {place['user_was_here_before']} events since " + output.moment(
                place["user_was_here_first"]
            )
        elif place.get("user_was_in_network_before"):
            yield f"new for this user, in a known network ({place['network']})"
        elif place["user_known_since"]:
            yield f"this user was never there before, in what is stored since {place['user_known_since'][:10]}"
        else:
            yield "nothing is stored of this user from a day before, so all is new"
    if place["other_users"]:
        names = ", ".join(
            f"{user['user'][:80]} ({user['failed']} failed, {user['succeeded']} succeeded)"
            for user in place["users"][:3]
        )
        more = f" and {place['other_users'] - 3} more" if place["other_users"] > 3 else ""
        other = "other " if "user_was_here_before" in place else ""
        users = "user" if place["other_users"] == 1 else "users"
        yield f"{place['other_users']} {other}{users} within a day: {names}{more}"
    else:
        yield "no other user within a day"


def _timeline(evidence: list[dict[str, Any]]) -> RenderableType:
    rows = output.table("TIME (UTC)", "ROLE", "EVENT", "FROM")
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = True
    day = ""
    for item in evidence:
        time = at(item["time"]) or ""
        if time[:10] != day:
            day = time[:10]
            rows.add_row(day)
        place = ", ".join(text for text in (item["src_city"], item["src_country"], item["src_as_org"]) if text)
        rows.add_row(
            time[11:23] or "not stored",
            output.cell(item["role"]),
            output.lines(item["event_type"], _joined(item["outcome"], item["outcome_reason"], *_answer(item))),
            output.lines(_joined(item["src_ip"], item["device"], "proxy" if item["is_proxy"] else None), place),
        )
    return rows


def _answer(item: dict[str, Any]) -> tuple[str | None, ...]:
    """The factor, and how a push was answered."""
    return (item["factor"], item["push_response"], item["number_challenge_response"])


def _joined(*texts: str | None) -> str:
    return " ".join(text for text in texts if text)


def _history(history: list[dict[str, Any]]) -> RenderableType:
    rows = output.table("TIME (UTC)", "STATUS", "REASON", "COMMENT")
    for change in history:
        comment = output.cell(change["comment"], most=output.LONGEST_TEXT)
        rows.add_row(
            output.moment(change["time"]), output.cell(change["status"]), output.cell(change["reason"]), comment
        )
    return rows


def _runbook(name: str, settings: Settings) -> Iterator[RenderableType]:
    """The rule's runbook with the parameters that it names; nothing for a rule that is no longer there."""
    from poller.cli.rules import markdown, parameters

    try:
        rules = rules_to_show(settings)
        rule = next((rule for rule in rules if rule.name == name), None)
    except (RuleError, SettingsError) as error:
        output.note(str(error))
        return
    if rule is not None:
        yield from ("", output.cell("Runbook", "bold"))
        yield from (output.cell(f"Parameters in force: {parameters(rule)}."), "", markdown(rule.runbook))


def _next_steps(finding: dict[str, Any]) -> str:
    """Commands to copy: one to a line, never folded to the width of a table."""
    uid, org = finding["uid"][:SHORT], shlex.quote(finding["org"])
    commands = [f"poller findings set {uid} --status in_progress"]
    if finding["evidence_count"]:
        if finding["user_uid"]:
            commands.append(f"poller timeline --user={shlex.quote(finding['user_uid'])} --since 30d --org={org}")
        commands += [f"poller timeline --ip={shlex.quote(ip)} --since 30d --org={org}" for ip in finding["src_ips"][:3]]
        commands.append(f"poller findings explain {uid}")
    else:
        commands += ["poller status", "poller doctor"]
    return "\nNext\n" + "".join(f"  {printable(command)}\n" for command in commands)
