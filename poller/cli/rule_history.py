"""`poller rules backtest` and `diff`: what a rule, or a change of it, finds in the events that are stored."""

from __future__ import annotations

import contextlib
import difflib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_store, rules_to_show, time_range
from poller.errors import SettingsError, UsageError
from poller.text import printable, to_json

if TYPE_CHECKING:
    from poller.backtest import Difference, Progress
    from poller.findings import Finding
    from poller.rules import Rule
    from poller.settings import Settings
    from poller.store import Store

MOST_SHOWN = 50  # findings in a table

Name = Annotated[str, typer.Argument(metavar="NAME", help="A rule, as poller rules lists them.")]
Since = Annotated[str, typer.Option(metavar="T", help="Over what happened at T or later.")]
Until = Annotated[str | None, typer.Option(metavar="T", help="And before T. [default: now]")]
Org = Annotated[str, typer.Option(metavar="NAME", help="In this org only. [default: every org]")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="With this parameter, such as window=15m; may be given again."),
]
Format = Annotated[Literal["text", "json"], typer.Option(help="A page to read, or JSON with every finding.")]


def backtest(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A rule by its name, or the folder of a new one.")],
    since: Since = "90d",
    until: Until = None,
    org: Org = "",
    set: Set = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Store what it finds, and undo what it no longer finds.")
    ] = False,
    format: Format = "text",
) -> None:
    """See what a rule finds in the events that are stored, before you enable it. Nothing is written without --apply.

    **Examples**

    ```
    poller rules backtest new_country --since 30d
    poller rules backtest ./my-rules/odd_login --set window=15m
    poller rules backtest push_fatigue --since 90d --apply
    ```
    """
    settings = load_settings()
    rule = _with_parameters(_rule(name, settings), set)
    begin, end = _range(since, until)
    if apply:
        _check_in_force(rule, settings)
    with open_store(settings) as store:
        from poller import backtest as history

        orgs = history.orgs_of(store, org)
        with _progress(rule.name, len(orgs)) as progress:
            found = [one for name in orgs for one in history.judged(store, rule, name, begin, end, progress)]
        applied = _apply(store, rule, orgs, begin, end) if apply else None
    span = {"since": begin.isoformat(), "until": end.isoformat(), "orgs": orgs}
    if format == "json":
        told = {"rule": rule.name, **span, "findings": [_told(finding) for finding in found]}
        output.write(to_json(told, indent=2) + "\n")
        return
    weeks = max((end - begin).total_seconds() / 604_800, 1 / 7)
    users = len({(finding.org, finding.user_uid) for finding in found if finding.user_uid is not None})
    about = f" about {_count(users, 'user')}" if users else ""  # a rule about an address names no user
    output.write(
        printable(
            f"{rule.name}: {_count(len(found), 'finding')}{about} between {begin:%Y-%m-%d %H:%M} and"
            f" {end:%Y-%m-%d %H:%M} UTC in {_count(len(orgs), 'org')}, {len(found) / weeks:.1f} a week."
        )
        + "\n"
    )
    if found:
        confidences = Counter(finding.confidence for finding in found)
        words = ", ".join(f"{confidences[word]} {word}" for word in ("high", "medium", "low") if confidences[word])
        output.write(f"Confidence: {words}.\n\n")
        _table(found)
    if applied is not None:
        output.write(f"\nStored: {applied}.\n")
    elif not rule.enabled:
        output.write(f"\nIt is not enabled. To enable it: [rules.{rule.name}] enabled = true in poller.toml.\n")


def diff(
    name: Name,
    set: Set = None,
    with_file: Annotated[
        Path | None, typer.Option("--with", metavar="FILE", help="With this rule.sql in place of the rule's own.")
    ] = None,
    since: Since = "90d",
    until: Until = None,
    org: Org = "",
    format: Format = "text",
) -> None:
    """See which findings a change of a rule adds, drops and keeps in the events that are stored, and how those that it
    drops were closed. Nothing is written.

    **Examples**

    ```
    poller rules diff push_fatigue --set rejections=3 --since 90d
    poller rules diff push_fatigue --with ./rule.sql
    ```
    """
    if not set and with_file is None:
        raise UsageError("nothing is changed: give --set NAME=VALUE, or --with FILE.")
    settings = load_settings()
    before = _rule(name, settings)
    after = _with_parameters(_in_place_of(before, with_file, settings) if with_file else before, set)
    begin, end = _range(since, until)
    with open_store(settings) as store:
        from poller import backtest as history

        orgs = history.orgs_of(store, org)
        with _progress(name, 2 * len(orgs)) as progress:
            old, new = (
                [one for name in orgs for one in history.judged(store, rule, name, begin, end, progress)]
                for rule in (before, after)
            )
        found = history.difference(store, old, new)
    span = {"since": begin.isoformat(), "until": end.isoformat(), "orgs": orgs}
    if format == "json":
        output.write(to_json({"rule": name, **span, **_difference_told(found)}, indent=2) + "\n")
        return
    output.write(
        printable(
            f"{name}, {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {_count(len(orgs), 'org')}: "
            f"adds {len(found.added)}, drops {len(found.removed)}, keeps {len(found.kept) + len(found.moved)}"
            + (f" ({len(found.moved)} of them at another event)" if found.moved else "")
            + "."
        )
        + "\n"
    )
    if found.removed:
        output.write(printable(f"Of the {len(found.removed)} that it drops: {_endings(found)}.") + "\n")
    for title, findings in (("Added", found.added), ("Dropped", found.removed)):
        if findings:
            output.write(f"\n{title}\n")
            _table(findings)


def _rule(name: str, settings: Settings) -> Rule:
    """A rule by its name, or of a folder."""
    from poller.rules import read_rule

    if "/" in name or name in (".", ".."):
        return read_rule(Path(name).resolve(), is_own=True)
    rules = {rule.name: rule for rule in rules_to_show(settings)}
    if name not in rules:
        raise no_such_rule(name, rules, f" A new one: give its folder, ./{name}.")
    if not rules[name].is_about_events():
        raise UsageError(f"{name} is about poller itself, not about events: it has no history to look at.")
    return rules[name]


def no_such_rule(name: str, names: Iterable[str], more: str = "") -> UsageError:
    """To be raised where a name is no rule's: says which it may have been meant for."""
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return UsageError(f"there is no rule {name!r}.{meant} poller rules lists them.{more}")


def _in_place_of(rule: Rule, path: Path, settings: Settings) -> Rule:
    """The rule with the query and metadata of another file."""
    from dataclasses import replace

    from poller.rules import configured, read_rule
    from poller.settings import RuleSettings

    if path.is_dir():
        path = path / "rule.sql"
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / rule.name
        inside.mkdir()
        try:
            (inside / "rule.sql").write_bytes(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path} can't be read: {error.strerror}.") from None
        (inside / "README.md").write_text("\n")
        other = replace(read_rule(inside, is_own=True), folder=path.parent)
    table = settings.rules.get(rule.name)
    if table is None:
        return other
    kept = {name: value for name, value in table.parameters.items() if name in other.parameters}
    return configured(other, RuleSettings(**kept, severity=table.severity))


def _with_parameters(rule: Rule, given: Sequence[str] | None) -> Rule:
    from poller.rules import configured
    from poller.settings import RuleSettings

    values: dict[str, Any] = {}
    for text in given or ():
        name, _, value = text.partition("=")
        if not value:
            raise UsageError(f"--set {text}: give NAME=VALUE, such as window=15m.")
        values[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
    if not values:
        return rule
    try:
        return configured(rule, RuleSettings(**values, enabled=rule.enabled))
    except SettingsError as error:
        raise UsageError(str(error)) from None


def _range(since: str, until: str | None) -> tuple[datetime, datetime]:
    begin, end = time_range(since, until)
    assert begin is not None
    end = min(end or datetime.now(UTC), datetime.now(UTC))
    if begin >= end:
        raise UsageError(f"nothing lies between --since {since} and --until {until or 'now'}: the range is empty.")
    return begin, end


def _check_in_force(rule: Rule, settings: Settings) -> None:
    """Raises UsageError where what the rule finds could not be kept up to date: it is off, or not as it is set."""
    if not rule.enabled:
        raise UsageError(f"{rule.name} is not enabled: enable it first, so that its findings are kept up to date.")
    if rule != _rule(rule.name, settings):
        raise UsageError("--apply stores what the rule in force finds: put the change into poller.toml or its folder.")


def _apply(store: Store, rule: Rule, orgs: Sequence[str], begin: datetime, end: datetime) -> str:
    from poller.cycle import work_off
    from poller.store import Stored

    now, total = datetime.now(UTC), Stored()
    for org in orgs:
        total += store.run_rules(org, [rule], begin, end, now)
        total += work_off(store, org, [rule], now)
    return f"{total.found} new, {total.changed} changed, {total.undone} undone"


@contextlib.contextmanager
def _progress(what: str, parts: int) -> Iterator[Progress]:
    """What is told how much of one part is done: a bar on a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(what), total=parts)
        finished = 0

        def progress(done: float) -> None:
            nonlocal finished
            bar.update(task, completed=finished + done)
            finished += done >= 1

        yield progress


def _table(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from poller.findings import moment

    rows = output.table("LAST SEEN (UTC)", "CONF", "WHO, FROM WHERE, AND WHAT")
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = True
    newest = sorted(findings, key=lambda finding: (-finding.trigger_time, finding.uid))
    for finding in newest[:MOST_SHOWN]:
        who = finding.user_name or finding.user_uid or f"org {finding.org}"
        ips = (*finding.src_ips[:3], *(["..."] if len(finding.src_ips) > 3 else []))
        rows.add_row(
            f"{moment(finding.trigger_time):%Y-%m-%d %H:%M:%S}",
            finding.confidence,
            Text("\n").join((output.cell(" ".join((who, *ips))), output.cell(finding.summary, most=160))),
        )
    output.show(rows)
    if len(findings) > MOST_SHOWN:
        output.note(f"these are the newest {MOST_SHOWN} of {len(findings)}: --format json has all of them.")


def _endings(found: Difference) -> str:
    """`11 resolved as false_positive, 1 new`."""
    told = []
    for (status, reason), count in found.closed.most_common():
        told.append(f"{count} {status.replace('_', ' ')}" + (f" as {reason}" if reason else ""))
    return ", ".join(told)


def _difference_told(found: Difference) -> dict[str, Any]:
    return {
        "added": [_told(finding) for finding in found.added],
        "removed": [_told(finding) for finding in found.removed],
        "kept": [_told(finding) for finding in found.kept],
        "moved": [{"before": _told(was), "after": _told(now)} for was, now in found.moved],
        "removed_by_status": [
            {"status": status, "reason": reason, "count": count}
            for (status, reason), count in found.closed.most_common()
        ],
    }


def _told(finding: Finding) -> dict[str, Any]:
    from poller.reading import at

    return {
        "uid": finding.uid,
        "org": finding.org,
        "user_uid": finding.user_uid,
        "user_name": finding.user_name,
        "confidence": finding.confidence,
        "src_ips": list(finding.src_ips),
        "summary": finding.summary,
        "first_seen_time": at(finding.first_seen),
        "last_seen_time": at(finding.last_seen),
        "trigger_uid": finding.trigger_uid,
        "evidence_count": len(finding.evidence),
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
