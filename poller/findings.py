"""Rule rows to findings. Pure: the same rows and events give the same finding, on any database and in any order."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poller.rules import Rule

SEVERITIES = ("informational", "low", "medium", "high", "critical")
CONFIDENCES = ("low", "medium", "high")
STATUSES = ("new", "in_progress", "suppressed", "resolved")
REASONS = ("true_positive", "benign", "false_positive", "duplicate", "other")


Row = Mapping[Any, Any]  # of a query, by column name


@dataclass(frozen=True)
class Finding:
    """What an analyst acts on. Times are epoch milliseconds, UTC; `evidence` is (event uid, role), in order of time."""

    uid: str
    org: str
    rule: str
    title: str
    severity: str
    confidence: str
    user_uid: str | None
    user_name: str | None
    src_ips: tuple[str, ...]
    summary: str
    first_seen: int
    last_seen: int
    trigger_uid: str
    trigger_time: int
    evidence: tuple[tuple[str, str], ...]
    rule_version: str | None = None


def finding_uid(org: str, rule: str, trigger_uid: str) -> str:
    """32 hex digits made of org, rule and trigger, and of nothing else."""
    return hashlib.sha256(json.dumps([org, rule, trigger_uid]).encode()).hexdigest()[:32]


def build(rule: Rule, rows: Sequence[Row], events: Mapping[str, Row]) -> Finding:
    """One finding of the rows that share a trigger.

    Args:
        rows: `org, user_uid, trigger_uid, trigger_time, evidence_uid, role`, and where the rule says so `first_seen`
            (epoch ms), `last_attempt`, `confidence` and `attempt` (which of the counted things it is evidence of).
        events: the rows of `events` that the evidence names, by uid.
    """
    head = rows[0]
    org, user_uid, trigger_uid = head["org"], head["user_uid"], head["trigger_uid"]
    evidence = sorted(
        {(row["evidence_uid"], row["role"]) for row in rows}, key=lambda e: (events[e[0]]["time"], e[0], e[1])
    )
    seen = [events[uid] for uid, _ in evidence]
    ips = dict.fromkeys(event["src_ip"] for event in seen if event["src_ip"])
    first_seen = head.get("first_seen")
    if first_seen is None:
        first_seen = seen[0]["time"]
    user_name = _name(user_uid, events[trigger_uid], seen)
    facts = _facts(rows, evidence, events, user_name, first_seen)
    return Finding(
        uid=finding_uid(org, rule.name, trigger_uid),
        org=org,
        rule=rule.name,
        title=rule.title,
        severity=rule.level,
        confidence=head.get("confidence") or "medium",
        user_uid=user_uid,
        user_name=user_name,
        src_ips=tuple(ips),
        summary=summarize(rule.summary, facts),
        first_seen=first_seen,
        last_seen=head["trigger_time"],
        trigger_uid=trigger_uid,
        trigger_time=head["trigger_time"],
        evidence=tuple(evidence),
        rule_version=rule.version,
    )


def moment(epoch_ms: int) -> datetime:
    """Epoch milliseconds as an aware UTC datetime; outside the years 1 to 9999, the nearest end."""
    try:
        return _EPOCH + timedelta(milliseconds=epoch_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if epoch_ms > 0 else datetime.min.replace(tzinfo=UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = ("rejected", "abandoned", "unanswered")


def _name(user_uid: str | None, trigger: Row, seen: Iterable[Row]) -> str | None:
    for event in (trigger, *seen):
        for uid, name in (("user_uid", "user_name"), ("target_user_uid", "target_user_name")):
            if user_uid is not None and event[uid] == user_uid and event[name]:
                return str(event[name])
    return None


def _facts(
    rows: Sequence[Row],
    evidence: Sequence[tuple[str, str]],
    events: Mapping[str, Row],
    user_name: str | None,
    first: int,
) -> dict[str, str]:
    """What a summary may speak of, as text; a fact that is not known is absent."""
    head = rows[0]
    last = head.get("last_attempt")
    if last is None:
        last = head["trigger_time"]
    facts = {
        "user": user_name or head["user_uid"] or "a user",
        "first": f"{moment(first):%Y-%m-%d %H:%M:%S}",
        "last": _clock(last, after=first),
        "trigger": _clock(head["trigger_time"], after=first),
    }
    kinds: dict[str, str] = {}
    for row in rows:
        if attempt := row.get("attempt"):
            kinds[attempt] = min(kinds.get(attempt, row["role"]), row["role"], key=_rank)
    if kinds:
        facts["attempts"] = str(len(kinds))
        counts = {kind: sum(1 for k in kinds.values() if k == kind) for kind in sorted(set(kinds.values()), key=_rank)}
        facts["kinds"] = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    for role in {role for _, role in evidence}:
        mine = [events[uid] for uid, its in evidence if its == role]
        facts[f"{role}.places"] = _listed(_place(event) for event in mine)
        facts[f"{role}.phone_places"] = _listed(_place(event) for event in mine if _client(event) == "phone")
        facts[f"{role}.browser_places"] = _listed(_place(event) for event in mine if _client(event) == "browser")
        facts[f"{role}.factors"] = _listed(event["factor"] for event in mine)
        facts[f"{role}.new"] = _listed(name for event in mine for name in _positive(event["behaviors"]))
        facts[f"{role}.first"] = f"{moment(min(event['time'] for event in mine)):%Y-%m-%d %H:%M:%S}"
        facts[f"{role}.count"] = str(len(mine))
        facts[f"{role}.users"] = str(len({event["user_uid"] for event in mine}))
        for column in _TOLD & mine[0].keys():
            facts[f"{role}.{column}"] = _listed(_told(event[column]) for event in mine)
    return {name: text for name, text in facts.items() if text}


_LONGEST = 160  # characters of one value in a summary: the end of a user agent tells the browser
# Columns of events that a summary may list, as {ROLE.COLUMN}.
_TOLD = frozenset(
    """event_type outcome outcome_reason user_name actor_name actor_type src_ip src_country src_city src_as_org
    user_agent device factor message app_name target_type target_name target_user_name privilege request_uri risk_level
    threat_detections severity""".split()  # noqa: SIM905
)


def _told(value: object) -> str | None:
    text = None if value is None else str(value)
    return f"{text[:_LONGEST]}…" if text and len(text) > _LONGEST else text


def _rank(role: str) -> tuple[int, str]:
    return (_KINDS.index(role) if role in _KINDS else len(_KINDS), role)


def _clock(time: int, after: int) -> str:
    """The time of day; with its date where that is not the date of `after`."""
    there, here = moment(time), moment(after)
    return f"{there:%H:%M:%S}" if there.date() == here.date() else f"{there:%Y-%m-%d %H:%M:%S}"


def _place(event: Row) -> str | None:
    if not event["src_ip"]:
        return None
    where = ", ".join(text for text in (event["src_city"], event["src_country"], event["src_as_org"]) if text)
    proxy = "proxy" if event["is_proxy"] else ""
    about = "; ".join(text for text in (where, proxy) if text)
    return f"{event['src_ip']} ({about})" if about else str(event["src_ip"])


def _client(event: Row) -> str | None:
    """Whose address an event bears: a push is answered by the phone, all else is done in the browser that signs in."""
    if event["event_type"] != "user.authentication.auth_via_mfa":
        return "browser"
    if event["factor"] is None:
        return None
    return "phone" if event["factor"] == "OKTA_VERIFY_PUSH" else "browser"


def _positive(behaviors: str | None) -> list[str]:
    """The names that are POSITIVE in `{New IP=POSITIVE, New Device=NEGATIVE}`: what is new or unlike the user."""
    pairs = [part.partition("=") for part in (behaviors or "").strip("{}").split(",")]
    return [name.strip() for name, _, result in pairs if result.strip() == "POSITIVE"]


def _listed(texts: Iterable[str | None], most: int = 3) -> str:
    distinct = list(dict.fromkeys(text for text in texts if text))
    more = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {more} more" if more > 0 else "")


_FIELD = re.compile(r"\{([^{}]+)\}")


def summarize(clauses: Sequence[str], facts: Mapping[str, str]) -> str:
    """One sentence of the clauses whose facts are all known.

    `{fact}` is a fact, `{a|b}` the first known of several, `{count:push|pushes}` a word for one or for more.
    """
    told = []
    for clause in clauses:
        known = True

        def fill(match: re.Match[str]) -> str:
            nonlocal known
            name, _, words = match[1].partition(":")
            if words:
                one, _, many = words.partition("|")
                return one if facts.get(name) == "1" else many
            text = next((facts[choice] for choice in name.split("|") if choice in facts), None)
            known = known and text is not None
            return text or ""

        text = _FIELD.sub(fill, clause)
        if known:
            told.append(text)
    return "; ".join(told) + "."
