"""The metadata of a rule: keys, values and binds, and the facts that its summary speaks of. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from poller.activities import event_types
from poller.checking.query import Checked
from poller.checking.words import Complaint, near, words
from poller.findings import _TOLD as EVENT_FACTS
from poller.findings import SEVERITIES
from poller.rules import _BIND, SLICE_BINDS, WATCH_BINDS, _parameter, _span
from poller.settings import RuleSettings, parse_duration

STATUSES = ("experimental", "test", "stable")
TACTICS = words(
    "reconnaissance resource-development initial-access execution persistence privilege-escalation defense-evasion"
    " stealth defense-impairment credential-access discovery lateral-movement collection command-and-control"
    " exfiltration impact"
)
_TECHNIQUE = re.compile(r"attack\.t\d{4}(\.\d{3})?")
_MOST_LEVELS = 6  # of lists and mappings inside one another, in the metadata
_FORMS: Mapping[str, str] = {
    **dict.fromkeys(words("title id level status description lookback lookahead watches author license"), "text"),
    **dict.fromkeys(words("tags references falsepositives summary reads"), "a list of texts"),
    "parameters": "a mapping of names to values",
    "enabled": "true or false",
    "logsource": "a mapping of names to values",
}
_FACTS = ("user", "first", "last", "trigger", "attempts", "kinds")
_ROLE_FACTS = (
    *("first", "places", "phone_places", "browser_places", "factors", "new", "count", "users"),
    *sorted(EVENT_FACTS),
)


@dataclass(frozen=True)
class Header:
    """The metadata of a rule as written: its values, and the line of each key (`parameters.window` too)."""

    values: Mapping[str, Any]
    lines: Mapping[str, int]


class BadHeader(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def read_header(source: str, first: int) -> Header:
    """Raises BadHeader: it is no YAML, no mapping, or YAML that means more than it says."""
    line = first
    try:
        depth = 0
        for event in yaml.parse(source, Loader=yaml.SafeLoader):
            line = first + (event.start_mark.line if event.start_mark else 0)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise BadHeader(line, "the metadata has no room for YAML's anchors (&, *): write the value out.")
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            if depth > _MOST_LEVELS:
                raise BadHeader(line, f"the metadata is nested more than {_MOST_LEVELS} levels deep.")
        node = yaml.compose(source, Loader=yaml.SafeLoader)
        values = yaml.safe_load(source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
        raise BadHeader(first + (mark.line if mark else 0), f"the metadata is not YAML: {what}.") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadHeader(first, f"the metadata holds a value that is none ({told}): quote it.") from None
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise BadHeader(first, "the metadata is not a mapping of keys to values.")
    lines: dict[str, int] = {}
    for prefix, mapping in [("", node), *((f"{key.value}.", value) for key, value in node.value)]:
        if not isinstance(mapping, yaml.MappingNode):
            continue
        for key, _ in mapping.value:
            name, at = f"{prefix}{key.value}", first + key.start_mark.line
            if name in lines:
                raise BadHeader(at, f"`{name}` is given twice: leave one out.")
            lines[name] = at
    return Header(values, lines)


def check_header(header: Header, folder: Path, ids: dict[str, Path]) -> Iterator[Complaint]:
    values, top = header.values, min(header.lines.values(), default=1)

    def line(key: str) -> int:
        return header.lines.get(key, top)

    about_events = values.get("watches", "events") != "poller"
    for key in ("title", "id", "level", "parameters", *(("lookback",) if about_events else ())):
        if key not in values:
            yield top, f"the metadata has no `{key}`: add it."
    for key, value in values.items():
        if key not in _FORMS:
            yield line(str(key)), f"unknown key `{str(key)[:60]}`: leave it out.{near(str(key), _FORMS)}"
        elif not _is_of_form(value, _FORMS[key]):
            yield line(key), f"`{key}` is not {_FORMS[key]}."
    good = {key: value for key, value in values.items() if key in _FORMS and _is_of_form(value, _FORMS[key])}
    if "id" in good:
        yield from ((line("id"), what) for what in _check_id(good["id"], folder, ids))
    for key, known in (("level", SEVERITIES), ("status", STATUSES), ("watches", ("events", "poller"))):
        if key in good and good[key] not in known:
            yield line(key), f"{key} {good[key]!r} is not one of {', '.join(known)}."
    for tag in good.get("tags", ()):
        if not _TECHNIQUE.fullmatch(tag) and tag.removeprefix("attack.") not in (TACTICS if "." in tag else ()):
            yield line("tags"), f"tag {tag!r} is no technique such as attack.t1621, and no tactic of ATT&CK."
    for name in good.get("reads", ()):
        if name not in event_types():
            yield line("reads"), f"`reads` names {name!r}, which is no activity.{near(name, event_types())}"
    for name, value in (good.get("parameters") or {}).items():
        yield from ((line(f"parameters.{name}"), what) for what in _check_parameter(name, value))
    spans, _ = parameters_of(good.get("parameters"))
    for key in ("lookback", "lookahead"):
        try:
            _span(str(good.get(key, "0s")), spans)
        except ValueError as error:
            yield line(key), f"{key}: {error}, nor a parameter; it is a sum such as window + 4h."


def _is_of_form(value: object, form: str) -> bool:
    if form == "text":
        return isinstance(value, str) and bool(value.strip())
    if form == "a list of texts":
        return isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)
    if form == "true or false":
        return isinstance(value, bool)
    return value is None or (isinstance(value, dict) and all(isinstance(name, str) for name in value))


def _check_id(uid: str, folder: Path, ids: dict[str, Path]) -> Iterator[str]:
    try:
        is_uuid = str(UUID(uid)) == uid.lower()
    except ValueError:
        is_uuid = False
    if not is_uuid:
        yield f"id {uid!r} is no UUID: uuidgen makes one."
        return
    home = folder.resolve()
    if ids.setdefault(uid.lower(), home) != home:
        yield f"id {uid} is that of {ids[uid.lower()].name}: give this rule one of its own."


def _check_parameter(name: str, value: object) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield f"parameter {name!r}: small letters, digits and _ make a name."
    if name in (*SLICE_BINDS, *WATCH_BINDS) or name in RuleSettings.model_fields:
        yield f"parameter {name!r} has a meaning of its own in poller: give it another name."
    try:
        _parameter(value)
    except ValueError as error:
        yield f"parameter {name}: {error}."


def parameters_of(declared: object) -> tuple[dict[str, int], set[str]]:
    """The defaults that can be read, and which of them are durations."""
    known: dict[str, int] = {}
    for name, value in declared.items() if isinstance(declared, dict) else ():
        try:
            known[str(name)] = _parameter(value)
        except ValueError:
            known[str(name)] = parse_duration("1s") // timedelta(milliseconds=1)
    durations = {name for name in known if isinstance(declared, dict) and isinstance(declared.get(name), str)}
    return known, durations


def check_binds(query: str, parameters: Mapping[str, int], about_events: bool, header: Header) -> Iterator[Complaint]:
    blank = re.sub(r"'(?:[^']|'')*'", lambda match: re.sub(r"[^\n]", " ", match.group()), query)
    known = {*parameters, *(SLICE_BINDS if about_events else WATCH_BINDS)}
    used = set()
    for match in _BIND.finditer(blank):
        used.add(match[1])
        if match[1] not in known:
            declared = ", ".join(parameters) or "none"
            yield (
                1 + blank[: match.start()].count("\n"),
                f"unknown parameter :{match[1]} (this rule declares {declared}).{near(match[1], known)}",
            )
    for name in parameters:
        if name not in used:
            where = header.lines.get(f"parameters.{name}", header.lines.get("parameters", 1))
            yield where, f"parameter {name} is not used: use :{name} in the query, or leave it out."


def check_summary(header: Header, checked: Checked, about_events: bool) -> Iterator[Complaint]:
    """Facts that nobody knows: their clause would never be said."""
    clauses = header.values.get("summary") or []
    if not _is_of_form(clauses, "a list of texts"):
        return
    line = header.lines.get("summary", 1)
    for clause in clauses:
        for field in re.findall(r"\{([^{}]+)\}", clause):
            name, _, counted = field.partition(":")
            for fact in [name] if counted else name.split("|"):
                if what := _unknown_fact(fact, checked, about_events):
                    yield line, f"summary: {{{field[:80]}}}: {what}"
        if re.search(r"[{}]", re.sub(r"\{[^{}]+\}", "", clause)):
            yield line, f"summary: a brace has no other half in {clause[:60]!r}."


def _unknown_fact(fact: str, checked: Checked, about_events: bool) -> str | None:
    if not about_events:
        if fact in checked.columns or not checked.columns:
            return None
        return f"the rows have no column {fact!r}.{near(fact, checked.columns)}"
    if fact in ("attempts", "kinds") and checked.columns and "attempt" not in checked.columns:
        return f"{fact!r} counts the column `attempt`, which the rows have not."
    if fact in _FACTS:
        return None
    role, dot, what = fact.partition(".")
    if not dot:
        hint = near(fact, _FACTS)
        return f"there is no fact {fact!r}; there are {', '.join(_FACTS)}, and those of a role.{hint}"
    if what not in _ROLE_FACTS:
        hint = near(what, _ROLE_FACTS) or f" There are {', '.join(_ROLE_FACTS)}."
        return f"there is no fact {what!r} of a role.{hint}"
    if checked.roles is not None and role not in checked.roles:
        return f"the query yields no role {role!r}, only {', '.join(sorted(checked.roles)) or 'none'}."
    return None
