"""`timelines.yml` beside a rule: what it finds in which events. Read from a folder, and run in any store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import yaml

from poller.errors import RuleError, RuleFailed, SettingsError
from poller.ledger import FIRST, Turn
from poller.rules import MAX_FILE, Rule, configured, read_text
from poller.rules.timeline_events import DAY, DOMAIN, NOBODY, event_of, written
from poller.schema import findings
from poller.settings import RuleSettings
from poller.store import Store, epoch_ms_of, read_records

FILE = "timelines.yml"
_FINDING = re.compile(r"\S+ \S+-\d\S+ [1-9][0-9]* events?")
_KEYS = ("title", "timeline", "settings", "findings")
_NOW = DAY + timedelta(days=2)  # all events of a timeline are past


@dataclass(frozen=True)
class Timeline:
    """Events, as System Log records, and the texts of the findings that its rule makes of them.

    `rule` is the rule with the timeline's settings, else with its defaults. `text` is as it is written, and `where` is
    its file and line.
    """

    title: str
    rule: Rule
    text: str
    records: Sequence[bytes]
    expected: Sequence[str]
    where: str


def read_timelines(rule: Rule) -> list[Timeline]:
    """The timelines beside a rule that has no settings applied; none where there is no file.

    Raises RuleError: `rules/NAME/timelines.yml:LINE: what is wrong`.
    """
    path = rule.folder / FILE
    where = str(path) if rule.is_own else f"rules/{rule.name}/{FILE}"
    if not path.exists():
        return []
    text = read_text(path, where, 10 * MAX_FILE)
    try:
        top = yaml.SafeLoader(text).get_single_node()
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        raise RuleError(f"{where}:{mark.line + 1 if mark else 1}: it is not YAML: {problem}.") from None
    if top is None:
        return []
    if not isinstance(top, yaml.SequenceNode):
        raise _error(where, top, "it is not a list of timelines")
    found: list[Timeline] = []
    for item in top.value:
        timeline = _timeline(rule, where, item)
        if any(timeline.title == other.title for other in found):
            raise _error(where, item, f"there are two timelines {timeline.title!r}")
        found.append(timeline)
    return found


def _timeline(rule: Rule, where: str, item: yaml.Node) -> Timeline:
    parts = _mapping(where, item, "a timeline", _KEYS)
    for key in ("title", "timeline", "findings"):
        if key not in parts:
            raise _error(where, item, f"the timeline has no `{key}`")
    title = _words(where, parts["title"], "the title")
    text = _words(where, parts["timeline"], "the timeline")
    first = parts["timeline"].start_mark.line + 1
    if isinstance(parts["timeline"], yaml.ScalarNode) and parts["timeline"].style == "|":
        first += 1  # the text begins on the line after `timeline: |`
    elif "\n" in text:
        raise _error(where, parts["timeline"], "a timeline of several lines begins with `timeline: |`")
    settings = _settings(rule, where, parts["settings"]) if "settings" in parts else rule
    return Timeline(
        title=title,
        rule=settings,
        text=text,
        records=records(text, where, first),
        expected=_texts(where, parts["findings"]),
        where=f"{where}:{item.start_mark.line + 1}",
    )


def records(text: str, where: str = "timeline", first_line: int = 1) -> list[bytes]:
    """The events of a timeline, in its order. Raises RuleError: `WHERE:LINE: what is wrong`."""
    people: dict[str, int] = {}
    made: list[bytes] = []
    for number, line in enumerate(text.splitlines(), first_line):
        if not line.strip() or line.strip().startswith("#"):
            continue
        try:
            made.append(event_of(line, len(made) + 1, people))
        except ValueError as error:
            raise RuleError(f"{where}:{number}: {error}.") from None
    return made


def _settings(rule: Rule, where: str, node: yaml.Node) -> Rule:
    values = {}
    for name, value in _mapping(where, node, "`settings`", tuple(rule.parameters)).items():
        if not isinstance(value, yaml.ScalarNode):
            raise _error(where, value, f"{name}: it is not a number or a duration")
        values[name] = int(value.value) if re.fullmatch("[0-9]{1,18}", value.value) else value.value
    try:
        return configured(rule, RuleSettings.model_validate(values))
    except SettingsError as error:
        raise _error(where, node, str(error).rstrip(".")) from None


def _texts(where: str, node: yaml.Node) -> list[str]:
    if not isinstance(node, yaml.SequenceNode):
        raise _error(where, node, "`findings` is not a list of texts such as 'alice 09:00:00-09:05:00 6 events'")
    texts = [_words(where, item, "a finding") for item in node.value]
    for item, text in zip(node.value, texts, strict=True):
        if not _FINDING.fullmatch(text):
            raise _error(where, item, f"{text!r} is not in the form of 'alice 09:00:00-09:05:00 6 events'")
    return [text.replace(" 1 events", " 1 event") for text in texts]


def _mapping(where: str, node: yaml.Node, what: str, keys: Sequence[str]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _error(where, node, f"{what} is not a mapping of keys to values")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value not in keys:
            named = repr(key.value) if isinstance(key, yaml.ScalarNode) else "of that form"
            raise _error(where, key, f"{what} has no key {named}; there are: {', '.join(keys)}")
        if key.value in found:
            raise _error(where, key, f"{key.value} is given twice")
        found[key.value] = value
    return found


def _words(where: str, node: yaml.Node, what: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
        raise _error(where, node, f"{what} is not text")
    return str(node.value)


def _error(where: str, node: yaml.Node, message: str) -> RuleError:
    return RuleError(f"{where}:{node.start_mark.line + 1}: {message}.")


def run(store: Store, timeline: Timeline, org: str, page: int = 1000, is_reversed: bool = False) -> list[str]:
    """What the timeline's rule finds in its events: `alice 09:00:00-09:05:00 6 events`, by time.

    Args:
        org: one that the database does not know: its events, and what is found in them, stay there.
        page: how many events come at once; each page is a transaction, with the rule over what it touched.
        is_reversed: the last event comes first.
    Raises RuleFailed or DatabaseError: the query does not work.
    """
    arriving = list(reversed(timeline.records) if is_reversed else timeline.records)
    rules = [timeline.rule]
    for start in range(0, len(arriving), page):
        here, next_link = (f"https://{org}.example.com/api/v1/logs?after={start + step}" for step in (0, page))
        turn = Turn(here, next_link, time=epoch_ms_of(_NOW), is_end=False, opened=FIRST)
        store.commit_poll(org, read_records(arriving[start : start + page]), turn, rules, _NOW)
        _, failed = store.work_off(org, rules, _NOW)
        for _, error in failed:
            raise RuleFailed(error)
    query = sa.select(findings).where(findings.c.org == org, findings.c.rule == timeline.rule.name)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(findings.c.trigger_time)).all()
    return [_told(row) for row in rows]


def agree(found: Sequence[str], expected: Sequence[str]) -> bool:
    """The same findings, in any order."""
    return sorted(found) == sorted(expected)


def _told(row: Any) -> str:
    name = (row.user_name or row.user_uid or NOBODY).removesuffix(DOMAIN)
    span = f"{written(row.first_seen_time)}-{written(row.last_seen_time)}"
    return f"{name} {span} {row.evidence_count} {'event' if row.evidence_count == 1 else 'events'}"
