"""Poller watches itself: rules about orgs and pages instead of events, and findings that end by themselves.

Such a rule (`watches: poller` in its metadata) is a SELECT too. It is asked every minute, with `:now` and `:started`
(since when this process watches, epoch ms) and `:interval` (between polls, ms), and yields a row for each org that is
in trouble: `org`, `trigger_time` (since when, epoch ms), and what its summary speaks of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from poller import metrics
from poller.errors import RuleFailed
from poller.findings import Finding, finding_uid, moment, summarize
from poller.rules import Rule
from poller.schema import finding_history, findings, orgs
from poller.store import Store, epoch_ms_of, utc_now
from poller.text import printable

CALM = timedelta(minutes=5)  # without trouble, after which it is over

OVER = "It is over, and ended by itself."

logger = structlog.get_logger()


def look(
    store: Store,
    rules: Sequence[Rule],
    held: Collection[str],
    now: datetime,
    started: datetime,
    interval: timedelta,
) -> None:
    """Ask the rules about poller itself, for the orgs that this process polls. One trouble of an org is one finding, as
    long as it lasts; when it is over, the finding is resolved. A rule of the user's that fails is left out, and
    told of. Raises DatabaseError."""
    binds = {
        "now": epoch_ms_of(now),
        "started": epoch_ms_of(started),
        "interval": interval // timedelta(milliseconds=1),
    }
    for rule in rules:
        if not rule.is_about_events():
            try:
                with store.writing() as connection:
                    _reconcile(store, connection, rule, held, now, binds)
            except RuleFailed as failure:
                told = printable(str(failure))
                logger.error("rule.failed", rule=rule.name, error=told)  # noqa: TRY400 -- the rule is wrong, not poller
                metrics.RULE_FAILURES.labels(rule.name).inc()


def _reconcile(
    store: Store,
    connection: sa.Connection,
    rule: Rule,
    held: Collection[str],
    now: datetime,
    binds: Mapping[str, int],
) -> None:
    binds = {**binds, **rule.parameters}
    rows = store.rows_of(connection, rule, binds)
    if rule.is_own:
        _check_rows(rule, rows)
    troubled = {row["org"]: row for row in rows if row["org"] in held}
    lasting = {row.org: row for row in _lasting(connection, rule, now)}
    for org, row in troubled.items():
        if org in lasting:
            known = findings.c.uid == lasting[org].uid
            said = summarize(rule.summary, _facts(row))
            connection.execute(
                sa.update(findings).where(known).values(last_seen_time=now, modified_time=now, summary=said)
            )
        else:
            finding = _finding(rule, row, now)
            if store.add_finding(connection, finding, now) or _reopen(connection, finding, now):
                metrics.FINDINGS.labels(org).inc()
                logger.warning("finding.opened", org=org, rule=rule.name, summary=finding.summary)
    for org, known in lasting.items():
        if org in held and org not in troubled and known.status != "resolved" and known.last_seen_time <= now - CALM:
            _resolve(connection, known.uid, now)
            logger.info("finding.resolved", org=org, rule=rule.name)


def _check_rows(rule: Rule, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Raises RuleFailed: what a rule of the user's yields tells of no org since when it is in trouble."""
    for row in rows:
        times = [value for name, value in row.items() if name.endswith(("_time", "_ms")) and value is not None]
        is_known = type(row.get("org")) is str and row.get("trigger_time") is not None
        if not is_known or any(type(value) is not int for value in times):
            raise RuleFailed(
                f"{rule.folder / 'rule.sql'}: it yields no text `org`, no `trigger_time`, or a time that is no number."
            )


def _lasting(connection: sa.Connection, rule: Rule, now: datetime) -> Sequence[Any]:
    """The findings of a rule that may still go on: not resolved yet, or by an analyst while the trouble lasts."""
    open_still = (findings.c.status != "resolved") | (findings.c.last_seen_time > now - CALM)
    query = sa.select(findings).where(findings.c.rule == rule.name, open_still).order_by(findings.c.trigger_time)
    return connection.execute(query).all()


def _finding(rule: Rule, row: Mapping[Any, Any], now: datetime) -> Finding:
    org, since = row["org"], row["trigger_time"]
    trigger = f"{rule.name}:{since}"
    return Finding(
        uid=finding_uid(org, rule.name, trigger),
        org=org,
        rule=rule.name,
        title=rule.title,
        severity=rule.level,
        confidence="high",
        user_uid=None,
        user_name=None,
        src_ips=(),
        summary=summarize(rule.summary, _facts(row)),
        first_seen=since,
        last_seen=epoch_ms_of(now),
        trigger_uid=trigger,
        trigger_time=since,
        evidence=(),
    )


def _facts(row: Mapping[Any, Any]) -> dict[str, str]:
    """What a summary may speak of: `*_time` as a date, `*_ms` as a span, anything else as it is."""
    facts = {}
    for name, value in row.items():
        if value is None:
            continue
        if name.endswith("_time"):
            facts[name] = f"{moment(value):%Y-%m-%d %H:%M:%S}"
        elif name.endswith("_ms"):
            facts[name] = _span(value)
        else:
            facts[name] = str(value).rstrip(".")
    return facts


def _span(milliseconds: int) -> str:
    minutes = milliseconds / 60_000
    if minutes < 2:
        return f"{milliseconds / 1000:.0f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"


def _resolve(connection: sa.Connection, uid: str, now: datetime) -> None:
    connection.execute(sa.update(findings).where(findings.c.uid == uid).values(status="resolved", modified_time=now))
    change = {"time": now, "status": "resolved", "reason": "other", "comment": OVER}
    connection.execute(sa.insert(finding_history).values(finding_uid=uid, **change))


def _reopen(connection: sa.Connection, finding: Finding, now: datetime) -> bool:
    """What had ended by itself is back, since the same time. What a person has closed stays closed."""
    last = sa.select(finding_history.c.comment).where(finding_history.c.finding_uid == finding.uid)
    if connection.execute(last.order_by(finding_history.c.id.desc()).limit(1)).scalar() != OVER:
        return False
    known = sa.update(findings).where(findings.c.uid == finding.uid)
    connection.execute(known.values(status="new", last_seen_time=now, modified_time=now, summary=finding.summary))
    change = {"time": now, "status": "new", "comment": "It is back."}
    connection.execute(sa.insert(finding_history).values(finding_uid=finding.uid, **change))
    return True


def tell_lag(store: Store, held: Collection[str]) -> None:
    """Set the gauge of lag, as it is in the database."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(orgs.c.org, orgs.c.covered_until)).all()
    for org, until in rows:
        if org not in held:
            metrics.forget(org)
        elif until is not None:
            metrics.LAG.labels(org).set(max(0, epoch_ms_of(utc_now()) - until) / 1000)


def count_open(store: Store, held: Collection[str]) -> None:
    """Set the gauge of open findings, as it is in the database."""
    query = (
        sa.select(findings.c.org, findings.c.rule, findings.c.severity, sa.func.count())
        .where(findings.c.status.in_(("new", "in_progress")), findings.c.superseded_time.is_(None))
        .group_by(findings.c.org, findings.c.rule, findings.c.severity)
    )
    with store.reading() as connection:
        counts = connection.execute(query).all()
    there = {(org, rule, severity): count for org, rule, severity, count in counts if org in held}
    for labels, count in there.items():
        metrics.OPEN.labels(*labels).set(count)
    for gone in metrics.labels_of(metrics.OPEN) - there.keys():
        metrics.OPEN.remove(*gone)
