"""Rule folders to Rules. A rule is one SELECT (`rule.sql`) with Sigma's metadata in its first comment, a runbook
(`README.md`) and timelines (`timelines.yml`). The format is described in docs/rules.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from poller.activities import event_types
from poller.errors import RuleError, SettingsError
from poller.findings import SEVERITIES
from poller.settings import RuleSettings, parse_duration

RULES_FOLDER = Path(__file__).parent
MAX_FILE = 100_000  # characters of a rule.sql
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("tags", "references", "falsepositives", "summary", "reads"), list),
    "parameters": dict,
    **dict.fromkeys(("title", "description"), str),
}
_WORDS: Mapping[type, str] = {list: "list of texts", dict: "mapping of names to values"}
SLICE_BINDS = ("org", "since", "until")
WATCH_BINDS = ("now", "started", "interval")
_HEADER = re.compile(r"\s*/\*(.*?)\*/", re.DOTALL)
_BIND = re.compile(r"(?<![:\w]):([a-zA-Z_]\w*)")
_NOT_SQL = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """One rule as it is in force.

    `parameters` are what its binds are given: whole numbers, durations in milliseconds. An event at time t can change
    what the rule finds between `t - lookahead` and `t + lookback`: sums of parameters and durations (`window + 4h`).
    """

    name: str
    title: str
    uid: str
    status: str
    description: str
    level: str
    tags: tuple[str, ...]
    references: tuple[str, ...]
    falsepositives: tuple[str, ...]
    parameters: Mapping[str, int]
    defaults: Mapping[str, int | str]
    lookback_sum: str
    lookahead_sum: str
    summary: tuple[str, ...]
    sql: str
    folder: Path
    enabled: bool = True
    watches: str = "events"
    reads: tuple[str, ...] = ()
    author: str = ""
    license: str = ""
    is_own: bool = False  # a rule of the user's: of POLLER_RULES_PATH

    def is_about_events(self) -> bool:
        """Whether it is run over slices of events; else it is asked every minute how poller itself is (`watch`)."""
        return self.watches == "events"

    @cached_property
    def lookback(self) -> int:
        """Milliseconds."""
        return _span(self.lookback_sum, self.parameters)

    @cached_property
    def lookahead(self) -> int:
        """Milliseconds."""
        return _span(self.lookahead_sum, self.parameters)

    @cached_property
    def event_types(self) -> frozenset[str] | None:
        """The event types whose arrival can change what it finds; None: any. They are those of the activities that its
        header or else its query names."""
        known = event_types()
        named = set(self.reads or re.findall(r"\w+", self.statement.lower()))  # names are in any case
        if not self.reads and named & {"events", "activities"}:
            return None
        return frozenset().union(*(known[name] for name in named if name in known)) or None

    @cached_property
    def version(self) -> str:
        """12 hex digits of its query, its parameters and what its findings say: it changes with any of them."""
        said = [" ".join(self.statement.split()), sorted(self.parameters.items()), self.title, self.level, self.summary]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]

    @cached_property
    def statement(self) -> str:
        """The query without its comments, whose colons and question marks a driver would take for binds."""
        return _NOT_SQL.sub(lambda match: match.group() if match.group().startswith("'") else " ", self.sql)

    @cached_property
    def runbook(self) -> str:
        return (self.folder / "README.md").read_text("utf-8")


def load_rules(
    settings: Mapping[str, RuleSettings] | None = None,
    own: Path | None = None,
    unusable: Callable[[RuleError], object] | None = None,
) -> list[Rule]:
    """Every rule of poller, and of the folder `own`, by name, with the settings of its `[rules.NAME]` table applied.

    Raises SettingsError (a setting for no such rule or parameter) and RuleError (a folder that can't be used), unless
    `unusable` hears of that instead.
    """
    settings = settings or {}
    rules = dict(_built_in())
    broken = set()
    for path in _own_rules(own, unusable):
        name = path.parent.name
        try:
            if name in rules:
                raise RuleError(f"{path}:1: poller has a rule {name} of its own. Give the folder another name.")
            rules[name] = _read_own_rule(path.parent)
        except RuleError as error:
            if unusable is None:
                raise
            broken.add(name)
            unusable(error)
    for name in settings:
        if name not in rules and name not in broken:
            raise SettingsError(f"rules.{name}: there is no such rule. There are: {', '.join(rules)}.")
    return [configured(rules[name], settings.get(name, RuleSettings())) for name in sorted(rules)]


@cache
def _built_in() -> Mapping[str, Rule]:
    """{name: rule} of those that come with poller, which stay as they are while it runs."""
    return {path.parent.name: read_rule(path.parent) for path in sorted(RULES_FOLDER.glob("*/rule.sql"))}


def _read_own_rule(folder: Path) -> Rule:
    try:
        return read_rule(folder, is_own=True)
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise RuleError(f"{folder / 'rule.sql'}:1: the metadata can't be used: {error}.") from None


def _own_rules(own: Path | None, unusable: Callable[[RuleError], object] | None) -> list[Path]:
    if own is None:
        return []
    try:
        if not own.is_dir():
            raise RuleError(f"POLLER_RULES_PATH: {own} is no folder. It is to hold a folder for each rule of yours.")
        return sorted(own.glob("*/rule.sql"))
    except OSError as error:
        problem = RuleError(f"POLLER_RULES_PATH: {own} can't be read: {error.strerror}.")
    except RuleError as error:
        problem = error
    if unusable is None:
        raise problem
    unusable(problem)
    return []


def read_rule(folder: Path, is_own: bool = False) -> Rule:
    """One rule folder. Raises RuleError: `rules/NAME/rule.sql:LINE: what is wrong`."""
    import yaml

    path = folder / "rule.sql"
    where = str(path) if is_own else f"rules/{folder.name}/rule.sql"
    text = read_text(path, where)
    header = _HEADER.match(text)
    if not header:
        raise RuleError(f"{where}:1: it does not start with a comment that holds the rule's metadata.")
    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(header[1], loader)):
            raise RuleError(f"{where}:1: the metadata has an alias (`*name`), which a rule does not need.")
        meta = yaml.load(header[1], loader)  # noqa: S506 -- it is a safe one
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 + text[: header.start(1)].count("\n") + (mark.line if mark else 0)
        raise RuleError(f"{where}:{line}: the metadata is not YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(meta, dict):
        raise RuleError(f"{where}:1: the metadata is not a mapping of keys to values.")

    def wrong(key: str, what: str) -> RuleError:
        return RuleError(f"{where}:{_line(header[0], key)}: {what}")

    watches = str(meta.get("watches", "events"))
    if watches not in ("events", "poller"):
        raise wrong("watches", f"it watches {watches!r}, which is neither `events` nor `poller`.")
    for key in ("title", "id", "level", "parameters", *(("lookback",) if watches == "events" else ())):
        if key not in meta:
            raise RuleError(f"{where}:1: the metadata has no `{key}`.")
    if meta["level"] not in SEVERITIES:
        raise wrong("level", f"level {meta['level']!r} is not one of {', '.join(SEVERITIES)}.")
    for key, kinds in _KINDS.items():
        if not isinstance(meta.get(key), (kinds, type(None))) or any(
            not isinstance(item, str) for item in (meta.get(key) or ()) if kinds is not str
        ):
            raise wrong(key, f"`{key}` is not {'text' if kinds is str else 'a ' + _WORDS[kinds]}.")
    defaults = meta["parameters"] or {}
    parameters: dict[str, int] = {}
    for name, value in defaults.items():
        try:
            parameters[name] = _parameter(value)
        except ValueError as error:
            raise wrong(name, f"{error}.") from None
    lookback, lookahead = str(meta.get("lookback", "0s")), str(meta.get("lookahead", "0s"))
    for key, span in (("lookback", lookback), ("lookahead", lookahead)):
        try:
            _span(span, parameters)
        except ValueError as error:
            raise wrong(key, f"{error}.") from None
    query = _blank(text)
    if is_own and (end := re.search(r";(?=\s*[^\s;])", query)):
        line = 1 + query[: end.start()].count("\n")
        raise RuleError(f"{where}:{line}: it holds more than one statement. A rule is one SELECT.")
    _check_binds(where, query, {*parameters, *(SLICE_BINDS if watches == "events" else WATCH_BINDS)}, parameters)
    if not (folder / "README.md").is_file():
        raise RuleError(f"{where.removesuffix('rule.sql')}README.md: there is no runbook beside the rule.")
    reads = tuple(meta.get("reads") or ())
    for name in reads:
        if name not in event_types():
            raise wrong("reads", f"`reads` names {name!r}, which is no activity. poller/activities.sql has them.")
    return Rule(
        name=folder.name,
        title=str(meta["title"]),
        uid=str(meta["id"]),
        status=str(meta.get("status", "experimental")),
        description=str(meta.get("description", "")).strip(),
        level=meta["level"],
        tags=tuple(meta.get("tags") or ()),
        references=tuple(meta.get("references") or ()),
        falsepositives=tuple(meta.get("falsepositives") or ()),
        parameters=parameters,
        defaults=dict(defaults),
        lookback_sum=lookback,
        lookahead_sum=lookahead,
        summary=tuple(meta.get("summary") or ("{user}: " + str(meta["title"]),)),
        sql=text[header.end() :].strip().rstrip(";"),
        folder=folder,
        enabled=bool(meta.get("enabled", True)),
        watches=watches,
        reads=reads,
        author=str(meta.get("author", "")),
        license=str(meta.get("license", "")),
        is_own=is_own,
    )


def read_text(path: Path, where: str, most: int = MAX_FILE) -> str:
    """A file of a rule folder. Raises RuleError: it is no plain file, or not text, or endless."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise RuleError(f"{where}:1: it is no plain file.")
        with path.open("rb") as file:
            text = file.read(4 * most + 1).decode()
    except UnicodeDecodeError:
        raise RuleError(f"{where}:1: it is not text in UTF-8.") from None
    except OSError as error:
        raise RuleError(f"{where}:1: it can't be read: {error.strerror}.") from None
    if len(text) > most:
        raise RuleError(f"{where}:1: it is longer than {most} characters.")
    return text


def configured(rule: Rule, settings: RuleSettings) -> Rule:
    """The rule with a `[rules.NAME]` table applied; with a longer window it looks back further."""
    parameters = dict(rule.parameters)
    for name, value in settings.parameters.items():
        if name not in parameters:
            declared = ", ".join(parameters)
            raise SettingsError(f"rules.{rule.name}: unknown parameter {name} (this rule declares {declared}).")
        default = rule.defaults[name]
        if isinstance(value, str) != isinstance(default, str):
            raise SettingsError(f"rules.{rule.name}.{name}: {value!r} is not in the form of its default, {default!r}.")
        try:
            parameters[name] = _parameter(value)
        except ValueError as error:
            raise SettingsError(f"rules.{rule.name}.{name}: {error}.") from None
    enabled = rule.enabled if settings.enabled is None else settings.enabled
    return replace(rule, parameters=parameters, level=settings.severity or rule.level, enabled=enabled)


def _parameter(value: Any) -> int:
    """A whole number of 1 or more, or a duration in milliseconds. Raises ValueError."""
    number = parse_duration(value) // timedelta(milliseconds=1) if isinstance(value, str) else value
    if type(number) is not int:
        raise ValueError(f"{value!r} is neither a whole number nor a duration such as 10m")
    if not 1 <= number < 2**53:
        raise ValueError(f"{value!r} is out of range: it must be 1 or more")
    return number


def _span(expression: str, parameters: Mapping[str, int]) -> int:
    """`window + 4h`: parameters and durations, added up, in milliseconds."""
    total = 0
    for term in expression.split("+"):
        term = term.strip()
        total += parameters[term] if term in parameters else parse_duration(term) // timedelta(milliseconds=1)
    return total


def _line(header: str, key: str) -> int:
    """The line of a file that a key of its header stands in, 1 where it is not to be found."""
    match = re.search(rf"(?:^|[{{,])\s*{re.escape(str(key))}\s*:", header, re.MULTILINE)
    return 1 + header[: match.end()].count("\n") if match else 1


def _blank(text: str) -> str:
    """The text with its comments and literals made spaces: what is left stands where it stood."""
    return _NOT_SQL.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def _check_binds(where: str, query: str, known: Collection[str], parameters: Collection[str]) -> None:
    for match in _BIND.finditer(query):
        if match[1] not in known:
            line = 1 + query[: match.start()].count("\n")
            declared = ", ".join(parameters)
            raise RuleError(f"{where}:{line}: unknown parameter :{match[1]} (this rule declares {declared}).")
