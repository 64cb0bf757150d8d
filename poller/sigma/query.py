"""A pattern of a Sigma rule as the SELECT of a rule: one event, or several that a correlation ties together. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Literal

from poller.activities import event_types
from poller.sigma.terms import Tree, columns_of, conjuncts, is_types_alone, literal, literal_types, present, sql

Kind = Literal["event", "event_count", "value_count", "temporal", "temporal_ordered"]
# Columns that say whose finding it is; without one of them among the keys it is about no user.
_OF_A_USER = (
    ("target_user_uid", "target_user_name"),
    ("user_uid", "user_name", "actor_uid", "actor_name", "session_uid", "root_session_uid", "device_token"),
    ("transaction_uid", "authn_request_uid"),
)
_WIDTH = 120
_OR = re.compile(r"('(?:[^']|'')*')| or ")
_KINDS = """\
-- Every kind of event that the org has, one look into the index each: the rule names none.
kinds as (
    select (select min(e.event_type) from events as e where e.org = :org and e.event_type > '') as event_type
    union all
    select (select min(e.event_type) from events as e where e.org = :org and e.event_type > k.event_type)
    from kinds as k
    where k.event_type is not null
)"""


@dataclass(frozen=True)
class Step:
    """Events of one Sigma rule: what it asks of them, and the columns to group and to count by (of several, the first
    that holds something)."""

    role: str
    tree: Tree
    keys: tuple[tuple[str, ...], ...] = ()
    value: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """What is looked for. `window` in milliseconds; `at_least` events, different values, or different steps."""

    kind: Kind
    steps: tuple[Step, ...]
    at_least: int = 1
    window: int = 0

    @property
    def user_column(self) -> str | None:
        """The column whose user the finding is about; None: it is about none."""
        keys = {column for step in self.steps for key in step.keys for column in key}
        if self.kind == "event" or keys & {*_OF_A_USER[1], *_OF_A_USER[2]}:
            return "user_uid"
        return "target_user_uid" if keys & set(_OF_A_USER[0]) else None

    @property
    def parameters(self) -> Mapping[str, int | str]:
        if self.kind == "event":
            return {}
        counted: Mapping[str, int | str] = {"at_least": self.at_least} if self.kind.endswith("_count") else {}
        return {**counted, "window": duration(self.window)}

    @property
    def lookback(self) -> str:
        return {"event": "0s", "temporal_ordered": "window"}.get(self.kind, "window + window")

    def has_no_types(self) -> bool:
        return any(literal_types(step.tree) is None for step in self.steps)

    def reads(self) -> list[str]:
        """Activities among whose event types are all that it names; none where there are no such."""
        wanted: set[str] = set()
        for step in self.steps:
            types = literal_types(step.tree)
            if types is None:
                return []
            wanted |= types
        named = {name: types for name, types in event_types().items() if name != "activities"}
        chosen: list[str] = []
        for kind in sorted(wanted):
            if not any(kind in named[name] for name in chosen):
                holding = [name for name in named if kind in named[name]]
                if not holding:
                    return []
                chosen.append(min(holding, key=lambda name: (len(named[name] - wanted), name)))
        return chosen


def duration(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds // 1000}s"


def query(pattern: Pattern) -> str:
    """The SELECT, with its comments, as it stands below the metadata."""
    binds = ["-- Binds: :org, :since, :until (the slice, epoch ms)"]
    binds += [f", :{name} (ms)" if name == "window" else f", :{name}" for name in pattern.parameters]
    ctes = [_KINDS] if pattern.has_no_types() else []
    if pattern.kind == "event":
        [step] = pattern.steps
        body = _selected(
            step,
            "e.org, e.user_uid, e.uid as trigger_uid, e.time as trigger_time, e.uid as evidence_uid,"
            f" {literal(step.role)} as role",
            ":since",
        )
    else:
        more, body = _correlated(pattern)
        ctes += more
    start = f"with {'recursive ' if pattern.has_no_types() else ''}\n" if ctes else ""
    return (
        "".join(binds) + ".\n" + start.replace(" \n", "\n") + ",\n".join(ctes) + ("\n" if ctes else "") + body + ";\n"
    )


def _selected(step: Step, chosen: str, since: str, held: Sequence[tuple[str, ...]] = ()) -> str:
    """The events of one step, by an index: from its event types, or else from all that the org has."""
    types = literal_types(step.tree)
    parts = conjuncts(step.tree)
    lines = [f"select {chosen}"]
    if types is not None:
        names = [literal(name) for name in sorted(types)]
        named = f"e.event_type = {names[0]}" if len(names) == 1 else f"e.event_type in ({', '.join(names)})"
        lines += ["from events as e", "where e.org = :org", f"  and {named if names else 'e.event_type is null'}"]
        parts = [part for part in parts if not is_types_alone(part)]
    else:
        lines += ["from kinds as k cross join events as e", "where e.org = :org and e.event_type = k.event_type"]
    lines += [f"  and e.time >= {since} and e.time < :until"]
    for part in parts:
        table = "k" if types is None and columns_of(part) == {"event_type"} else "e"
        lines.append(_folded_lines(f"  and {sql(part, table)}"))
    lines += [f"  and {present(columns)}" for columns in dict.fromkeys(held)]
    return "\n".join(lines)


def _folded_lines(line: str) -> str:
    """A long line broken before each `or` that stands in no literal."""
    if len(line) <= _WIDTH:
        return line
    return _OR.sub(lambda match: match[1] or "\n       or ", line)


def _one_of(columns: tuple[str, ...]) -> str:
    return f"e.{columns[0]}" if len(columns) == 1 else f"coalesce({', '.join(f'e.{column}' for column in columns)})"


def _correlated(pattern: Pattern) -> tuple[list[str], str]:
    """The CTEs, and the outermost SELECT."""
    keys = [f"by_{number}" for number in range(1, len(pattern.steps[0].keys) + 1)]
    user = {
        None: "cast(null as text) as user_uid",
        "user_uid": "e.user_uid",
        "target_user_uid": "e.target_user_uid as user_uid",
    }[pattern.user_column]
    is_named = pattern.kind.startswith("temporal")
    since = ":since - :window" if pattern.kind == "temporal_ordered" else ":since - :window - :window"
    parts = []
    for number, step in enumerate(pattern.steps, 1):
        columns = [f"e.org, {user}, e.uid, e.time"]
        columns += [f"{_one_of(key)} as {name}" for key, name in zip(step.keys, keys, strict=True)]
        held = [*step.keys, *([step.value] if step.value else [])]
        if pattern.kind == "value_count":
            columns.append(f"{_one_of(step.value)} as value")
        elif pattern.kind == "temporal":
            columns.append(f"{literal(step.role)} as value")
        elif pattern.kind == "temporal_ordered":
            columns.append(f"{number} as step")
        role = literal(step.role if is_named else "matched")
        parts.append(_selected(step, ", ".join([*columns, f"{role} as role"]), since, held))
    # An event that two of the rules ask for is still one event, unless it is to be told which rule asks for it.
    joined = ("\nunion all\n" if is_named else "\nunion\n").join(parts)
    matched = f"matched as materialized (\n{indent(joined, '    ')}\n)"
    names = "".join(f", {key}" for key in keys)
    group = "org" + names
    if pattern.kind == "temporal_ordered":
        return [matched, *_in_order(group, len(pattern.steps))], _evidence(keys, "t.begun", len(pattern.steps))
    if pattern.kind == "event_count":
        ctes = [
            f"""\
-- Of each event, how many lie in the window that ends with it.
counted as (
    select m.*, count(*) over (
               partition by {group} order by time range between :window preceding and current row) as counted
    from matched as m
)"""
        ]
    else:
        ctes = _different(group, names)
    ctes.append(f"""\
-- And that of the event before: the finding is made where the threshold is crossed.
crossed as (
    select c.*, lag(counted) over (partition by {group} order by time, uid) as counted_before
    from counted as c
    where uid is not null
)""")
    least = ":at_least" if pattern.kind != "temporal" else str(pattern.at_least)
    return [matched, *ctes], _evidence(keys, "t.time - :window", None, least)


def _different(group: str, names: str) -> list[str]:
    """How many different values the window holds, by adding up: no event is compared with all others."""
    return [
        f"""\
-- A value counts from its event on until it comes again, or leaves the window.
spans as (
    select m.*, lead(time) over (partition by {group}, value order by time, uid) as again
    from matched as m
),
changes as (
    select org, user_uid, uid, time{names}, 1 as change from spans
    union all
    select org, null, null, case when again <= time + :window then again else time + :window + 1 end{names}, -1
    from spans
),
counted as (
    select c.*, sum(change) over (
               partition by {group} order by time range between unbounded preceding and current row) as counted
    from changes as c
)"""
    ]


def _in_order(group: str, steps: int) -> list[str]:
    """Per step, when the chain that has come so far began at the latest. A chain is complete at its first last step."""
    ctes = []
    before, begun = "matched", "time"
    for step in range(1, steps):
        ctes.append(f"""\
-- When the latest chain of {"1 step" if step == 1 else f"{step} steps"} began that was there before each event.
after_{step} as (
    select m.*, max(case when step = {step} then {begun} end) over (
               partition by {group} order by time range between unbounded preceding and 1 preceding) as begun_{step}
    from {before} as m
)""")
        before, begun = f"after_{step}", f"begun_{step}"
    ctes.append(f"""\
completed as (
    select a.*, {begun} as begun, row_number() over (partition by {group}, {begun} order by time, uid) as nth
    from {before} as a
    where step = {steps} and {begun} >= time - :window
)""")
    return ctes


def _evidence(keys: Sequence[str], since: str, last_step: int | None, least: str = "") -> str:
    same = "".join(f" and m.{key} = t.{key}" for key in keys)
    if last_step is None:
        source, until = "crossed", "m.time <= t.time"
        chosen = f"t.counted >= {least} and coalesce(t.counted_before, 0) < {least}"
    else:
        source, chosen = "completed", "t.nth = 1"
        until = f"(m.uid = t.uid and m.step = t.step or m.time < t.time and m.step < {last_step})"
    return f"""\
select t.org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, m.uid as evidence_uid, m.role
from {source} as t join matched as m
  on  m.org = t.org{same}
  and m.time >= {since} and {until}
where {chosen} and t.time >= :since"""
