"""Timelines for a draft: events that its pattern finds, and events that it does not. Pure.

Values are proposed from what the rule asks for, and taken where an event made of them is one that is asked for.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poller.errors import MalformedEvent
from poller.normalize import normalize
from poller.rules.timeline_events import DOMAIN, NOBODY, event_of
from poller.sigma.query import Pattern, Step, duration
from poller.sigma.terms import Tree, holds, literal_types, proposals

_KEYS = {
    "outcome": "outcome",
    "outcome_reason": "reason",
    "src_ip": "ip",
    "src_country": "country",
    "src_city": "city",
    "src_lat": "lat",
    "src_lon": "lon",
    "src_asn": "asn",
    "src_as_org": "network",
    "is_proxy": "proxy",
    "user_agent": "agent",
    "device": "device",
    "device_token": "token",
    "factor": "factor",
    "factor_intent": "intent",
    "push_response": "response",
    "number_challenge_response": "number",
    "session_uid": "session",
    "root_session_uid": "root",
    "transaction_uid": "transaction",
    "authn_request_uid": "sign_in",
    "app_name": "app",
    "target_name": "target",
    "target_type": "target_type",
    "privilege": "role",
    "request_uri": "uri",
    "risk_level": "risk",
    "threat_suspected": "threat",
    "threat_detections": "threats",
    "message": "message",
    "severity": "severity",
    "actor_type": "actor_type",
}
_PEOPLE = ("actor_name", "user_name", "actor_uid", "user_uid")
_TARGETS = ("target_user_name", "target_user_uid")
_OTHER_TYPES = ("user.session.end", "user.session.start")
_MOST_NEAR_MISSES = 4
_DAY = 86_400_000
_NINE = 9 * 3_600_000
_MOST_EVENTS = 6


@dataclass(frozen=True)
class Line:
    """One event of a timeline, but for its time."""

    who: str
    activity: str
    details: Mapping[str, str]

    def text(self, time: str, width: int = 0) -> str:
        details = " ".join(shlex.quote(f"{key}={value}") for key, value in self.details.items())
        return f"{time:{width}}  {shlex.quote(self.who)}  {shlex.quote(self.activity)}  {details}".rstrip()

    def event(self) -> dict[str, Any] | None:
        """The event, by column; None where no such line can be written."""
        text = self.text("09:00:00")
        if len(text.splitlines()) != 1 or "." not in self.activity:
            return None
        try:
            return normalize(event_of(text, 1, {}))._asdict()
        except (ValueError, MalformedEvent):
            return None


def timelines(pattern: Pattern) -> tuple[str, list[str]]:
    """`timelines.yml`, and what could not be put into it."""
    made = list(_of_one(pattern.steps[0]) if pattern.kind == "event" else _of_many(pattern))
    missing = [
        f"no timeline that {what} could be drafted: write one"
        for what, is_there in (("fires", any(one[3] for one in made)), ("is quiet", any(not one[3] for one in made)))
        if not is_there
    ]
    parts = [_item(*one) for one in made]
    return "# Drafted with the rule. Add what your org's log has shown.\n" + "\n".join(parts), missing


Item = tuple[str, "list[tuple[int, Line]]", Mapping[str, int], "list[str]"]


def _item(title: str, events: Sequence[tuple[int, Line]], settings: Mapping[str, int], findings: Sequence[str]) -> str:
    later = max(time for time, _ in events) // _DAY * _DAY  # a timeline ends on its own day
    times = [clock(time - later) for time, _ in events]
    width = max(map(len, times))
    lines = [f"- title: {json.dumps(title)}", "  timeline: |"]
    lines += [f"    {line.text(time, width)}" for time, (_, line) in zip(times, events, strict=True)]
    if settings:
        lines.append(f"  settings: {json.dumps(settings)}")
    lines.append(f"  findings: {json.dumps(findings)}")
    return "\n".join(lines) + "\n"


def clock(time: int) -> str:
    """Milliseconds after the beginning of the day as timelines write them: `-1d09:00:00.250`."""
    days, rest = divmod(time, _DAY)
    seconds, milliseconds = divmod(rest, 1000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return (f"{days}d" if days else "") + text + (f".{milliseconds:03}" if milliseconds else "")


def _of_one(step: Step) -> Iterator[Item]:
    line = matching(step.tree)
    if line is None:
        return
    name = _name(line, "user_uid", "user_name")
    yield "fires on such an event", [(_NINE, line)], {}, [f"{name} 09:00:00-09:00:00 1 event"]
    for title, other in _near_misses(step.tree, line):
        yield title, [(_NINE, other)], {}, []


def _name(line: Line, uid: str, name: str) -> str:
    event = line.event() or {}
    return str((event.get(name) if event.get(uid) else None) or event.get(uid) or NOBODY).removesuffix(DOMAIN)


def matching(tree: Tree) -> Line | None:
    """An event that is asked for; None where none is found."""
    for given in proposals(tree):
        for line in _lines(given, tree):
            event = line.event()
            if event is not None and holds(tree, event):
                return line
    return None


def _near_misses(tree: Tree, line: Line) -> Iterator[tuple[str, Line]]:
    """Events that are not asked for, each by one detail."""
    changes = [("is quiet on another kind of event", replace(line, activity=kind)) for kind in _OTHER_TYPES]
    changes += [("is quiet where another acts", replace(line, who=who)) for who in ("bob", NOBODY, "?nobody")]
    for other in ("", "something-else"):
        for key, value in line.details.items():
            told_other = {"true": "false", "false": "true"}.get(value, other)
            title = f"is quiet where {key} is {'another' if told_other else 'not there'}"
            changes.append((title, replace(line, details={**line.details, key: told_other})))
    told: set[str] = set()
    for title, change in changes:
        event = change.event()
        if event is not None and title not in told and len(told) < _MOST_NEAR_MISSES and not holds(tree, event):
            told.add(title)
            yield title, change


def _lines(given: Mapping[str, Any], tree: Tree) -> Iterator[Line]:
    """Lines that bear the values, as far as a line can."""
    types = literal_types(tree)
    activity = str(given.get("event_type") or (sorted(types)[0] if types else "user.session.start"))
    details: dict[str, str] = {}
    for column, value in given.items():
        if column in _KEYS:
            written = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            details[_KEYS[column]] = written
        elif column == "behaviors":
            details["behaviors"] = _behavior(value)
        elif column in ("app_uid", "target_uid"):
            details["app" if column == "app_uid" else "target"] = "" if value is None else "Example CRM"
        elif column in _TARGETS:
            details["user"] = "" if value is None else _person(str(value)) or "bob"
    if details.get("target_type") and "target" not in details:
        details["target"] = "Example"
    texts = [str(given[column]) for column in _PEOPLE if given.get(column)]
    named = [name for text in texts if (name := _person(text))]
    for who in dict.fromkeys([*named, "alice", NOBODY, "?alice"]):
        yield Line(who, activity, details)
    for text in texts:
        yield Line("alice", activity, {**details, "name": text})


def _person(text: str) -> str | None:
    name = text.removesuffix(DOMAIN).removeprefix("00u")
    return name if re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name, re.ASCII) else None


def _behavior(value: Any) -> str:
    if value is None:
        return ""
    name = str(value).partition("=")[0].strip("{ ")
    return name if "=" in str(value) and name else "New Device"


# Correlations


def _of_many(pattern: Pattern) -> Iterator[Item]:
    lines = [matching(step.tree) for step in pattern.steps]
    keyed = [_keyed(step, line) for step, line in zip(pattern.steps, lines, strict=True) if line is not None]
    if len(keyed) < len(lines):
        return
    if pattern.kind.endswith("_count"):
        yield from _counted(pattern, pattern.steps[0], keyed[0])
    else:
        yield from _together(pattern, keyed)


def _keyed(step: Step, line: Line, number: int = 0) -> Line:
    """The line with something in each column that it is grouped by: the same for the same number."""
    event = line.event() or {}
    for key in step.keys:
        if not any(event.get(column) for column in key):
            line = _with(line, key[0], number)
    return line


def _with(line: Line, column: str, number: int) -> Line:
    """The line with the numbered one of the values that a column may hold."""
    if column in _PEOPLE:
        return Line(f"user{number}", line.activity, {key: text for key, text in line.details.items() if key != "name"})
    if column in _TARGETS:
        return replace(line, details={**line.details, "user": f"user{number}"})
    values = {"src_ip": f"203.0.113.{number + 1}", "src_asn": str(64500 + number), "behaviors": f"New Thing {number}"}
    values |= {"src_lat": str(number), "src_lon": str(number), "is_proxy": "true", "threat_suspected": "true"}
    if column == "event_type":
        return replace(line, activity=f"example.event.type{number}")
    key = {"app_uid": "app", "target_uid": "target", "behaviors": "behaviors"}.get(column) or _KEYS.get(column)
    return replace(line, details={**line.details, key: values.get(column, f"{key}-{number}")}) if key else line


def _counted(pattern: Pattern, step: Step, line: Line) -> Iterator[Item]:
    count = min(pattern.at_least, 3 if pattern.at_least > _MOST_EVENTS else pattern.at_least)
    settings = {} if count == pattern.at_least else {"at_least": count}
    if pattern.kind == "value_count":
        lines = [_pinned(step, line, _with(line, step.value[0], number)) for number in range(1, count + 1)]
        held = [_held(one, step.value) for one in lines]
        if None in held or len(set(held)) < count:
            return
    else:
        lines = [line] * count
    if not _agree(step, lines):
        return
    times = _spread(pattern.window, count)
    whole = list(zip(times, lines, strict=True))
    found = [_finding(pattern, whole)]
    yield f"fires on {count} within {duration(pattern.window)}", whole, settings, found
    yield f"is quiet on {count - 1}", whole[:-1], settings, []
    late = [*whole[:-1], (times[0] + pattern.window + 1, lines[-1])]
    yield "is quiet where the last comes a millisecond too late", late, settings, []
    if pattern.kind == "value_count":
        yield "the same value again does not count", [(time, lines[0]) for time in times], settings, []
    elif times[-1] + 1000 <= times[0] + pattern.window:
        yield "one more is no second finding", [*whole, (times[-1] + 1000, line)], settings, found


def _pinned(step: Step, first: Line, changed: Line) -> Line:
    """The changed line with what the first has in the columns to group by: another user has another address."""
    event = first.event() or {}
    kept = {_KEYS[column]: str(event[column]) for key in step.keys for column in key if _is_fixed(event, column)}
    return replace(changed, details={**kept, **changed.details})


def _is_fixed(event: Mapping[str, Any], column: str) -> bool:
    return column in _KEYS and event.get(column) is not None and not isinstance(event[column], bool)


def _held(line: Line, columns: Sequence[str]) -> Any:
    event = line.event() or {}
    return next((event[column] for column in columns if event.get(column) is not None), None)


def _agree(step: Step, lines: Sequence[Line]) -> bool:
    """Whether all are asked for, and of one group."""
    events = [line.event() for line in lines]
    return all(event is not None and holds(step.tree, event) for event in events) and all(
        len({_held(line, key) for line in lines}) == 1 and _held(lines[0], key) is not None for key in step.keys
    )


def _together(pattern: Pattern, lines: Sequence[Line]) -> Iterator[Item]:
    steps = pattern.steps
    lines = [_pinned(step, lines[0], line) for step, line in zip(steps, lines, strict=True)]
    first = [_held(lines[0], key) for key in steps[0].keys]
    for step, line in zip(steps, lines, strict=True):
        event = line.event()
        if event is None or not holds(step.tree, event):
            return
        if any(value is None for value in first) or [_held(line, key) for key in step.keys] != first:
            return
    chosen = lines[: pattern.at_least]
    times = _spread(pattern.window, len(chosen))
    whole = list(zip(times, chosen, strict=True))
    yield f"fires on all of them within {duration(pattern.window)}", whole, {}, [_finding(pattern, whole)]
    yield "is quiet on all but the last", whole[:-1], {}, []
    late = [*whole[:-1], (times[0] + pattern.window + 1, chosen[-1])]
    yield "is quiet where the last comes a millisecond too late", late, {}, []
    if pattern.kind == "temporal_ordered" and not holds(steps[0].tree, chosen[-1].event() or {}):
        backwards = list(zip(times, reversed(chosen), strict=True))
        yield "is quiet in the other order", backwards, {}, []


def _spread(window: int, count: int) -> list[int]:
    """Times that end at nine o'clock or before, all within the window, whole seconds where there is room."""
    step = min(60_000, window // count)
    step = step // 1000 * 1000 or step
    return [_NINE + number * step for number in range(count)]


def _finding(pattern: Pattern, events: Sequence[tuple[int, Line]]) -> str:
    column = pattern.user_column
    last = events[-1][1]
    name = _name(last, column, column.replace("uid", "name")) if column else NOBODY
    return f"{name} {clock(events[0][0])}-{clock(events[-1][0])} {len(events)} events"
