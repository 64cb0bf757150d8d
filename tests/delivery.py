"""Raw Okta events into a database the way the poller does it, and what it then found, in a form to compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from poller import schema
from poller.ledger import FIRST, Turn
from poller.rules import Rule, load_rules
from poller.settings import RuleSettings
from poller.store import Store, read_records

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def wire(event: dict[str, Any] | bytes) -> bytes:
    """An event as it comes over the wire."""
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def push_fatigue(**parameters: Any) -> list[Rule]:
    return [rule for rule in load_rules({"push_fatigue": RuleSettings(**parameters)}) if rule.name == "push_fatigue"]


def deliver(
    store: Store,
    events: Iterable[dict[str, Any] | bytes],
    *,
    org: str = "acme",
    page: int = 1000,
    rules: Sequence[Rule] | None = None,
) -> None:
    """Store the events in pages of `page`, each in a transaction of its own with the rules over what it touched."""
    records = [wire(event) for event in events]
    rules = push_fatigue() if rules is None else rules
    for start in range(0, len(records), page):
        batch = read_records(records[start : start + page])
        store.commit_poll(org, batch, turn(start), rules, NOW)
    store.work_off(org, rules, NOW)


def turn(number: int = 0, is_end: bool = False) -> Turn:
    """A page of a live cursor, at a time when all events of tests are long past."""
    links = (f"https://acme.okta.com/api/v1/logs?after={number + step}" for step in (0, 1))
    return Turn(*links, time=2**42, is_end=is_end, opened=FIRST)


def found(store: Store, org: str | None = None) -> list[dict[str, Any]]:
    """All findings with their evidence, without what depends on when they were made."""
    with store.reading() as connection:
        query = sa.select(schema.findings).order_by("trigger_time", "uid")
        if org is not None:
            query = query.where(schema.findings.c.org == org)
        rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            evidence = sa.select(schema.finding_evidence.c.event_uid, schema.finding_evidence.c.role)
            pairs = connection.execute(evidence.where(schema.finding_evidence.c.finding_uid == row["uid"]))
            row["evidence"] = sorted((uid, role) for uid, role in pairs)
            del row["created_time"], row["modified_time"]
    return rows


def clear(store: Store) -> None:
    """Empty all tables."""
    with store.writing() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(sa.delete(table))
