"""The query of a rule, whole: whether it is one SELECT that only reads, of tables and columns that there are, bound to
its org, and yields the rows of a rule. Pure: nothing is run. What only a database can tell is in `plan`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from poller.checking.forms import check_forms, check_values, short
from poller.checking.tree import Query, parsed
from poller.checking.words import DEEPEST, READS_ONLY, Complaint, near, odd_words, too_deep
from poller.findings import CONFIDENCES

REQUIRED = ("org", "user_uid", "trigger_uid", "trigger_time", "evidence_uid", "role")
OPTIONAL = ("first_seen", "last_attempt", "confidence", "attempt")


@dataclass(frozen=True)
class Checked:
    """What was seen of a query. `columns` are those of its rows, `roles` the words of its column `role`, where they can
    be told."""

    problems: tuple[Complaint, ...]
    columns: tuple[str, ...] = ()
    roles: frozenset[str] | None = None
    sources: Mapping[str, int] = field(default_factory=dict)  # {name or alias of a table that is read: its line}
    steps: Mapping[str, int] = field(default_factory=dict)  # {name: how many SELECTs take but the least or greatest}


def check_query(text: str, parameters: Mapping[str, int], durations: Collection[str], about_events: bool) -> Checked:
    """Everything that is wrong with a query.

    Args:
        text: `rule.sql` whole, its comments blanked out; line breaks are where they were.
        parameters: defaults of the declared ones, durations in milliseconds.
        durations: those of them that are durations.
        about_events: whether it reads events, or else the work of poller (`watches: poller`).
    """
    problems = list(odd_words(text))
    first = 1 + text[: len(text) - len(text.lstrip())].count("\n")
    if not text.strip():
        return Checked(((first, "there is no query below the metadata: write one SELECT."),))
    deep = too_deep(text)
    if deep:
        return Checked((deep,))
    try:
        query = parsed(text, first, problems, parameters, durations, about_events)
        if query is None:
            return Checked(tuple(problems))
        _check(query)
        problems += query.problems
        return Checked(tuple(problems), query.columns, query.words_of("role"), query.lines_of_sources(), query.steps())
    except RecursionError:
        return Checked((*problems, (first, f"the query is nested too deeply: {DEEPEST} levels are enough for a rule.")))
    except Exception as error:  # of the parser, on what nobody writes
        told = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return Checked((*problems, (first, f"the query can't be understood ({told}): write it more plainly.")))


def _check(query: Query) -> None:
    _names(query)
    for scope in query.scopes:
        _sources(query, scope)
    are_known = not query.problems
    selects = [scope for scope in query.scopes if isinstance(scope.expression, exp.Select)]
    for scope in selects:
        _resolve_columns(query, scope)
    are_known = are_known and not query.problems
    check_forms(query)
    if are_known:
        check_values(query)
        if query.about_events:
            _orgs_are_bound(query)
    _rows(query)


def _names(query: Query) -> None:
    for cte in query.tree.find_all(exp.CTE):
        name = cte.alias.lower()
        if name in query.tables:
            query.say(cte.args["alias"], f"`with {name}` hides the table {name}: give it another name.")
        if not isinstance(cte.this, exp.Query):
            query.say(cte, f"`{name}` is no SELECT: {READS_ONLY}.")


def _sources(query: Query, scope: Scope) -> None:
    for alias, (_, source) in scope.selected_sources.items():
        if not isinstance(source, exp.Table):
            if not alias:
                query.say(scope.expression, "a SELECT in `from` has no name: write `as` and a name behind it.")
            continue
        name = source.name.lower()
        if source.args.get("db") or source.args.get("catalog"):
            query.say(source, f"{source.sql()}: name the table alone, without a schema.")
        elif not isinstance(source.this, exp.Identifier):
            continue  # a function: named before
        elif name not in query.tables:
            ctes = {cte.alias.lower() for cte in query.tree.find_all(exp.CTE)}
            if name in ctes:
                query.say(source, f"`{name}` is not to be read here: it stands further down, or needs `recursive`.")
                continue
            may = "orgs and pages" if not query.about_events else "events and the activities of activities.sql"
            hint = near(name, {*query.tables, *ctes})
            query.say(source, f"a rule can't read `{name}`: it may read {may}.{hint}")


def _resolve_columns(query: Query, scope: Scope) -> None:
    outputs = set(query.columns_of(scope) or ())
    for column in scope.find_all(exp.Column):
        name = column.name.lower()
        if isinstance(column.this, exp.Star):
            if column.table.lower() not in {alias.lower() for alias in scope.selected_sources}:
                query.say(column, f"`{column.table}.*`: there is no {column.table} here.")
            continue
        if not column.table and name in outputs and _may_be_output(query, column, scope):
            continue
        owner = query.owner(column, scope)
        if owner is not None and query.has(owner[1], name):
            continue
        query.say(column, _unknown(query, column, scope, outputs, owner))


def _may_be_output(query: Query, column: exp.Column, scope: Scope) -> bool:
    """`order by` and `group by` may name a column of the answer."""
    parent = column.parent
    if isinstance(parent, exp.Group):
        return True
    return isinstance(parent, exp.Ordered) and parent.parent is scope.expression.args.get("order")


def _unknown(query: Query, column: exp.Column, scope: Scope, outputs: set[str], owner: object) -> str:
    name = column.name.lower()
    aliases = {alias.lower(): source for alias, (_, source) in scope.selected_sources.items()}
    if name == "raw":
        return "`raw` is the compressed record, which no rule can read: use the other columns of events."
    if column.table and owner is None:
        hint = near(column.table.lower(), aliases)
        return f"`{column.table}.{name}`: nothing here is named {column.table}.{hint}"
    if not column.table:
        owners = [alias for alias, source in aliases.items() if query.has(source, name)]
        if len(owners) > 1:
            return f"`{name}` is a column of {' and '.join(owners)}: write which, such as {owners[0]}.{name}."
        if name in outputs:
            return f"`{name}` is made by this very SELECT, and Postgres does not know it here: repeat what it is."
    sources = [aliases[column.table.lower()]] if column.table.lower() in aliases else list(aliases.values())
    known = {known for source in sources for known in query.columns_of(source) or ()}
    whose = f" in {column.table}" if column.table else ""
    return f"there is no column `{name}`{whose}.{near(name, known)}"


def _orgs_are_bound(query: Query) -> None:
    """Each table that is read has `org = :org`, or is joined on org to what has it. A SELECT that hands its org on may
    leave that to those who read it."""
    open_scopes: set[int] = set()
    for scope in query.scopes:  # what is read comes before who reads it
        if not isinstance(scope.expression, exp.Select):
            if any(id(branch) in open_scopes for branch in scope.set_operation_scopes):
                open_scopes.add(id(scope))
            continue
        bound = _bound(query, scope, open_scopes)
        handed_on = {_org_of(query, part, there) for part, there in query.made(scope, "org")}
        for alias, (node, _) in scope.selected_sources.items():
            if alias.lower() in bound:
                continue
            if scope is not query.root and scope.parent is not None and alias.lower() in handed_on:
                open_scopes.add(id(scope))
                continue
            what = f"`{alias}` is read without its org: add {alias}.org = :org, or join it on org to what has it."
            query.say(node, what)


def _bound(query: Query, scope: Scope, open_scopes: Collection[int]) -> set[str]:
    """The sources of a SELECT whose org is :org."""
    pairs: list[tuple[str, str]] = []
    for equal in scope.find_all(exp.EQ):
        sides = [_org_of(query, side, scope) for side in (equal.this, equal.expression)]
        if sides[0] and sides[1] and _holds(equal, scope.expression):
            pairs.append((sides[0], sides[1]))
    for join in scope.expression.args.get("joins") or []:
        if any(part.name.lower() == "org" for part in join.args.get("using") or []):
            names = [alias.lower() for alias in scope.selected_sources]
            pairs += [(names[0], name) for name in names[1:]]
    bound = {":org"}
    for alias, (_, source) in scope.selected_sources.items():
        if isinstance(source, Scope) and id(source) not in open_scopes:
            bound.add(alias.lower())
    while more := {
        side for pair in pairs for side, other in (pair, pair[::-1]) if other in bound and side not in bound
    }:
        bound |= more
    return bound


def _org_of(query: Query, node: exp.Expr, scope: Scope) -> str | None:
    """The source whose org it is; `:org` for the bind, and for what the SELECT around has."""
    node = node.unnest()
    if isinstance(node, exp.Placeholder):
        return ":org" if node.name == "org" else None
    if not isinstance(node, exp.Column) or node.name.lower() != "org":
        return None
    owner = query.owner(node, scope)
    if owner is None:
        return None
    return owner[0] if owner[2] is scope else ":org"


def _holds(node: exp.Expr, query: exp.Expr) -> bool:
    """Whether a condition holds for every row: one of those that `where` or `on` joins by `and`."""
    here = node.parent
    while isinstance(here, (exp.And, exp.Paren)):
        here = here.parent
    return isinstance(here, (exp.Where, exp.Join)) and here.parent is query


def _rows(query: Query) -> None:
    outermost = query.root
    while isinstance(outermost.expression, exp.SetOperation) and outermost.set_operation_scopes:
        outermost = outermost.set_operation_scopes[0]
    parts = outermost.expression.expressions
    line = query.line(parts[0]) if parts else query.first
    for part in parts:
        if part.is_star:
            query.say(line, "`select *` in the outermost SELECT: name the columns that a row has.")
            return
        if not part.alias_or_name:
            query.say(part, f"`{short(part)}` has no name: write `as` and the name of the column.")
    names = [part.alias_or_name.lower() for part in parts]
    for name in REQUIRED if query.about_events else ("org", "trigger_time"):
        if name not in names:
            query.say(line, f"the rows have no column `{name}`: docs/rules.md says what each is.")
    if not query.about_events:
        return
    for part, name in zip(parts, names, strict=True):
        if name and name not in REQUIRED + OPTIONAL:
            hint = near(name, REQUIRED + OPTIONAL)
            query.say(part, f"a row has no column `{name}`: leave it out.{hint}")
        if name and names.count(name) > 1:
            query.say(part, f"the column `{name}` is there twice: leave one out.")
    for bind in ("org", "since", "until"):
        if not re.search(rf"(?<![:\w]):{bind}\b", query.text):
            query.say(line, f"the query does not use :{bind}: a rule is about one org and the slice [:since, :until).")
    for word in sorted(query.words_of("confidence") or ()):
        if word not in CONFIDENCES:
            query.say(line, f"confidence {word!r} is not one of {', '.join(CONFIDENCES)}.")
