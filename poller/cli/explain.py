"""`poller findings explain`: why a finding is there, to the last detail, and whether it still would be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_reading, open_store, rules_to_show
from poller.errors import UsageError
from poller.normalize import epoch_ms
from poller.text import printable, to_json

if TYPE_CHECKING:
    from poller.rules import Rule
    from poller.settings import Settings

Uid = Annotated[str, typer.Argument(metavar="UID", help="The finding's UID, or its first characters.")]


def explain(
    uid: Uid,
    format: Annotated[Literal["text", "json"], typer.Option(help="A page to read, or JSON.")] = "text",
) -> None:
    """Explain one finding: the rule's exact SQL and parameters, its version, the evidence with the raw events, and what
    the same query says today. Exits with 1 where that is no longer the same finding.

    **Examples**

    ```
    poller findings explain 3f9a0c
    poller findings explain 3f9a0c --format json | jq .evidence[0].raw
    ```
    """
    settings = load_settings()
    with open_reading() as database:
        finding = database.finding(uid)
        evidence = [
            {**item, "raw": _raw(database.raw(item["event_uid"], finding["org"]))} for item in finding["evidence"]
        ]
    rule = _rule(finding["rule"], settings)
    told: dict[str, Any] = {
        "finding": {name: value for name, value in finding.items() if name != "evidence"},
        "rule": _about(rule, finding) if rule is not None else None,
        "evidence": evidence,
        "again": _again(rule, finding, settings),
    }
    if format == "json":
        output.write(to_json(told, indent=2) + "\n")
    else:
        _page(told)
    if not told["again"]["is_same"]:
        raise typer.Exit(1)


def _rule(name: str, settings: Settings) -> Rule | None:

    rules = rules_to_show(settings)
    rule = next((rule for rule in rules if rule.name == name), None)
    if rule is not None and not rule.is_about_events():
        raise UsageError(f"{name} is about poller itself, at a moment that is past: poller findings show tells of it.")
    return rule


def _about(rule: Rule, finding: dict[str, Any]) -> dict[str, Any]:
    trigger = _trigger_time(finding)
    return {
        "name": rule.name,
        "version": rule.version,
        "judged_by": finding["rule_version"],
        "file": str(rule.folder / "rule.sql"),
        "binds": {"org": finding["org"], "since": trigger, "until": trigger + 1, **rule.parameters},
        "sql": rule.sql,
    }


def _trigger_time(finding: dict[str, Any]) -> int:
    """Epoch milliseconds: a finding is last seen when its trigger happens."""
    return epoch_ms(finding["last_seen_time"]) or 0


def _raw(found: list[tuple[str, bytes]]) -> Any:
    """The record as JSON; as text where it is none; None where retention has deleted it."""
    from poller.raw import decompress

    if not found:
        return None
    record = decompress(found[0][1])
    try:
        return json.loads(record.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        return record.decode("utf-8", "surrogateescape")


def _again(rule: Rule | None, finding: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What the rule in force says of the same trigger today."""
    if rule is None:
        return {"is_same": False, "uid": None, "said": "the rule is no longer there"}
    from poller import backtest

    with open_store(settings) as store:
        now = backtest.again(store, rule, finding["org"], finding["trigger_uid"], _trigger_time(finding))
    if now is None:
        gone = sum(item["time"] is None for item in finding["evidence"])
        why = f": {gone} of its events are deleted by now" if gone else ""
        return {"is_same": False, "uid": None, "said": f"it would not be found today{why}"}
    before = {(item["event_uid"], item["role"]) for item in finding["evidence"]}
    is_same = now.uid == finding["uid"] and set(now.evidence) == before
    said = "the same uid, of the same evidence" if is_same else "the same uid, of other evidence"
    return {"is_same": is_same, "uid": now.uid, "said": said}


def _page(told: dict[str, Any]) -> None:
    finding, rule, again = told["finding"], told["rule"], told["again"]
    output.show(
        output.cell(finding["title"], "bold"),
        output.cell(finding["summary"], most=output.LONGEST_TEXT),
        "",
        output.facts(
            [
                ("finding", finding["uid"]),
                ("org", finding["org"]),
                ("trigger", f"{finding['trigger_uid']} at {finding['last_seen_time']}"),
                ("asked again", again["said"]),
            ]
        ),
    )
    if rule is not None:
        changed = "" if rule["judged_by"] == rule["version"] else f", and {rule['judged_by']} judged it last"
        output.show("", output.cell("Rule", "bold"))
        output.show(
            output.facts(
                [
                    ("rule", rule["name"]),
                    ("version", f"{rule['version']} is in force{changed}"),
                    ("file", rule["file"]),
                    *((f":{name}", str(value)) for name, value in rule["binds"].items()),
                ]
            )
        )
        output.write("\n" + rule["sql"] + "\n")
    output.show("", output.cell("Evidence", "bold"))
    for item in told["evidence"]:
        head = f"{item['time'] or 'not stored'}  {item['role']}  {item['event_type'] or ''}  {item['event_uid']}"
        output.write("\n" + printable(head) + "\n")
        if item["raw"] is not None:
            output.write(to_json(item["raw"], indent=2) + "\n")
