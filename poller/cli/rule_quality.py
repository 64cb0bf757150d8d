"""`poller rules quality`: how much work each rule makes, and how much of it was worth it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import load_settings, open_reading, rules_to_show, time_range

SOON = timedelta(days=14)  # an exception that ends within it is near its end
COLUMNS = (
    *("rule", "severity", "enabled", "findings", "open", "suppressed", "closed", "true_positives", "false_positives"),
    *("false_positive_rate", "median_seconds_to_close", "last_match_time", "exceptions", "exceptions_ending_soon"),
)

_FINDINGS = """
select uid, rule, status, created_time, last_seen_time from findings
where created_time >= :since
"""

_LAST = "select rule, max(last_seen_time) as last from findings group by rule"

_HISTORY = """
select finding_history.finding_uid, finding_history.time, finding_history.status, finding_history.reason
from finding_history join findings on findings.uid = finding_history.finding_uid
where findings.created_time >= :since and finding_history.exception_id is null
order by finding_history.id
"""


def quality(
    since: Annotated[str, typer.Option(metavar="T", help="Of the findings made at T or later.")] = "90d",
    format: Annotated[
        Literal["table", "json", "csv"] | None, typer.Option(help="[default: table on a terminal, else json]")
    ] = None,
) -> None:
    """Show for each rule how many findings it made, how many of those that were closed were false positives, the median
    time to close, its last match, and the exceptions that end within two weeks.

    The rate counts findings closed as *false_positive* or *benign* among all that were closed with a reason, but
    duplicates.

    **Example**

    ```
    poller rules quality --since 90d
    ```
    """
    from poller.text import iso

    begin, _ = time_range(since, None)
    assert begin is not None
    now, settings = datetime.now(UTC), load_settings()
    rules = rules_to_show(settings)
    with open_reading() as database:
        made: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in database.rows(_FINDINGS, since=iso(begin)):
            made[row["rule"]].append(row)
        changes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in database.rows(_HISTORY, since=iso(begin)):
            changes[row["finding_uid"]].append(row)
        last = {row["rule"]: _moment(row["last"]) for row in database.rows(_LAST)}
        exceptions = database.exceptions("", now)
    told = []
    for rule in rules:
        mine = [row for row in exceptions if row["rule"] in (None, rule.name)]
        ending = [row for row in mine if row["end_time"] <= iso(now + SOON)]
        told.append(
            {
                "rule": rule.name,
                "severity": rule.level,
                "enabled": rule.enabled,
                **_counts(made[rule.name], changes),
                "last_match_time": iso(last[rule.name]) if rule.name in last else None,
                "exceptions": len(mine),
                "exceptions_ending_soon": len(ending),
            }
        )
    told.sort(key=lambda row: (-row["findings"], row["rule"]))
    form = format or ("table" if output.is_terminal() else "json")
    if form == "json":
        output.write_json_array(told)
    elif form == "csv":
        output.write_csv(COLUMNS, told)
    else:
        _show(told)


def _counts(findings: list[dict[str, Any]], changes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    reasons, seconds, closed = [], [], 0
    for finding in findings:
        mine = changes[finding["uid"]]
        if finding["status"] == "resolved":
            closed += 1
            end = next((change["time"] for change in mine if change["status"] == "resolved"), None)
            if end is not None:
                seconds.append((_moment(end) - _moment(finding["created_time"])).total_seconds())
            reasons += [change["reason"] for change in mine if change["reason"]][-1:]
    judged = [reason for reason in reasons if reason in ("true_positive", "false_positive", "benign")]
    false = sum(reason != "true_positive" for reason in judged)
    return {
        "findings": len(findings),
        "open": sum(finding["status"] in ("new", "in_progress") for finding in findings),
        "suppressed": sum(finding["status"] == "suppressed" for finding in findings),
        "closed": closed,
        "true_positives": len(judged) - false,
        "false_positives": false,
        "false_positive_rate": round(false / len(judged), 3) if judged else None,
        "median_seconds_to_close": round(statistics.median(seconds)) if seconds else None,
    }


def _moment(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _show(told: list[dict[str, Any]]) -> None:
    rows = output.table("RULE", "MADE", "OPEN", "SUPPR", "CLOSED", "FALSE", "TIME", "LAST MATCH", "EXC", "END")
    for column in rows.columns[1:]:
        column.no_wrap = True
    for row in told:
        rate = row["false_positive_rate"]
        seconds = row["median_seconds_to_close"]
        rows.add_row(
            output.cell(row["rule"] if row["enabled"] else f"{row['rule']} (off)"),
            *(str(row[name]) for name in ("findings", "open", "suppressed", "closed")),
            "-" if rate is None else f"{rate:.0%}",
            "-" if seconds is None else _span(seconds),
            (row["last_match_time"] or "-")[:10],
            str(row["exceptions"]),
            str(row["exceptions_ending_soon"]),
        )
    output.show(rows)
    output.write(
        "\nFALSE: how many of those closed with a reason were false_positive or benign.\n"
        "TIME: the median to close one. EXC: exceptions that touch the rule. END: of\n"
        "them, those that end within two weeks.\n"
    )


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds}s"
