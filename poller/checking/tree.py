"""The query of a rule as a SQL parser reads it: whose each column is, what it is made of, and of what kind. Pure."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import cache, cached_property

import sqlalchemy as sa
import sqlglot
from sqlglot import errors, exp
from sqlglot.optimizer.scope import Scope, ScopeType, traverse_scope

from poller import schema
from poller.activities import activity_views
from poller.checking.words import Complaint

TYPES = {"TEXT": "text", "INT": "number", "BIGINT": "number", "DOUBLE": "number"}


@cache
def tables(about_events: bool) -> dict[str, dict[str, str]]:
    """{table or view: {column: `text`, `number` or `boolean`}} that a rule may read."""

    def kinds(table: sa.Table) -> dict[str, str]:
        return {column.name: _sort_of(column.type) for column in table.c if column.name not in ("raw",)}

    def _sort_of(type_: object) -> str:
        if isinstance(type_, sa.Boolean):
            return "boolean"
        return "number" if isinstance(type_, (sa.Integer, sa.Numeric, sa.Float)) else "text"

    if not about_events:
        return {"orgs": kinds(schema.orgs), "pages": kinds(schema.pages)}
    events = kinds(schema.events)
    return {"events": events, **{view: {"activity": "text", **events} for view in activity_views()}}


def parsed(
    text: str,
    first: int,
    problems: list[Complaint],
    parameters: Mapping[str, int],
    durations: Collection[str],
    about_events: bool,
) -> Query | None:
    """The query as both dialects read it; None where one of them can't, which is then among the problems."""
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    trees: list[exp.Expr | None] = []
    for dialect in ("sqlite", "postgres"):
        try:
            trees = [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
        except errors.ParseError as error:
            if not problems:
                told = error.errors[0] if error.errors else {}
                what, at = told.get("description") or "it makes no sense", told.get("highlight")
                near_it = f", near `{' '.join(at.split())[:40]}`" if at else ""
                problems.append((told.get("line") or first, f"this is no SQL of {_name(dialect)}{near_it}: {what}."))
            return None
        except errors.SqlglotError as error:
            if not problems:
                problems.append((first, f"this is no SQL of {_name(dialect)}: {str(error).splitlines()[0][:200]}."))
            return None
        if len(trees) != 1:
            return None  # a second statement was named before
        if not isinstance(trees[0], (exp.Select, exp.SetOperation)):
            if not problems:
                problems.append((first, "a rule is one SELECT, and this is none."))
            return None
        if dialect == "sqlite":
            tree = trees[0]
    return Query(tree, text, first, parameters, durations, about_events)


def _name(dialect: str) -> str:
    return {"sqlite": "SQLite", "postgres": "Postgres"}[dialect]


class Query:
    """One parsed query, and what is found wrong with it."""

    def __init__(
        self,
        tree: exp.Query,
        text: str,
        first: int,
        parameters: Mapping[str, int],
        durations: Collection[str],
        about_events: bool,
    ) -> None:
        self.tree, self.text, self.first = tree, text, first
        self.parameters, self.durations, self.about_events = parameters, durations, about_events
        self.tables = tables(about_events)
        self.problems: list[Complaint] = []
        self.scopes: list[Scope] = traverse_scope(tree)
        self.root = self.scopes[-1]
        self._columns: dict[int, tuple[str, ...] | None] = {}

    def say(self, node: exp.Expr | int, what: str) -> None:
        complaint = (node if isinstance(node, int) else self.line(node), what)
        if complaint not in self.problems:
            self.problems.append(complaint)

    def line(self, node: exp.Expr) -> int:
        """Of the first name or literal in it; else of what stands around it."""
        here: exp.Expr | None = node
        while here is not None:
            lines = [int(part.meta["line"]) for part in here.walk() if "line" in part.meta]
            if lines:
                return min(lines)
            here = here.parent
        return self.first

    def lines_of_sources(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for scope in self.scopes:
            for alias, (node, source) in scope.selected_sources.items():
                if isinstance(source, exp.Table):
                    found.setdefault(alias.lower(), self.line(node))
                    found.setdefault(source.name.lower(), self.line(node))
        return found

    def steps(self) -> dict[str, int]:
        """{name of a table: how many SELECTs take but the least or greatest value of it}."""
        found: dict[str, int] = {}
        for scope in self.scopes:
            parts = scope.expression.expressions if isinstance(scope.expression, exp.Select) else []
            is_one = len(parts) == 1 and isinstance(parts[0].unalias(), (exp.Min, exp.Max))
            if is_one and not scope.expression.args.get("group") and len(scope.selected_sources) == 1:
                [name] = scope.selected_sources
                found[name.lower()] = found.get(name.lower(), 0) + 1
        return found

    def columns_of(self, source: object) -> tuple[str, ...] | None:
        """Of a table or a SELECT, in order; None where they can't be told."""
        if isinstance(source, exp.Table):
            known = self.tables.get(source.name.lower())
            return tuple(known) if known is not None else None
        if not isinstance(source, Scope):
            return None
        if id(source) not in self._columns:
            self._columns[id(source)] = None  # what a query says of itself
            self._columns[id(source)] = self._columns_of_scope(source)
        return self._columns[id(source)]

    def _columns_of_scope(self, scope: Scope) -> tuple[str, ...] | None:
        above = scope.expression.parent
        while isinstance(above, exp.SetOperation):
            above = above.parent
        listed = scope.outer_columns or (isinstance(above, exp.CTE) and above.alias_column_names)  # `with name(a, b)`
        if listed:
            return tuple(name.lower() for name in listed)
        if isinstance(scope.expression, exp.SetOperation):
            return self.columns_of(scope.set_operation_scopes[0]) if scope.set_operation_scopes else None
        if not isinstance(scope.expression, exp.Select):
            return None
        names: list[str] = []
        for part in scope.expression.expressions:
            if not part.is_star:
                names.append(part.alias_or_name.lower())
                continue
            of = part.table.lower() if isinstance(part, exp.Column) else ""
            for alias, (_, source) in scope.selected_sources.items():
                if not of or alias.lower() == of:
                    columns = self.columns_of(source)
                    if columns is None:
                        return None
                    names += columns
        return tuple(names)

    def owner(self, column: exp.Column, scope: Scope) -> tuple[str, object, Scope] | None:
        """Whose column it is: (name in the query, table or SELECT, where it stands). None: of nobody, or of many."""
        name, table = column.name.lower(), column.table.lower()
        here: Scope | None = scope
        while here is not None:
            found = [
                (alias.lower(), source, here)
                for alias, (_, source) in here.selected_sources.items()
                if (alias.lower() == table if table else self.has(source, name))
            ]
            if found:
                return found[0] if len(found) == 1 or self._is_using(here, name) else None
            here = here.parent if here.scope_type in (ScopeType.SUBQUERY, ScopeType.SET_OPERATION) else None
        return None

    def has(self, source: object, name: str) -> bool:
        columns = self.columns_of(source)
        return columns is None or name in columns

    def _is_using(self, scope: Scope, name: str) -> bool:
        joins = scope.expression.args.get("joins") or []
        return any(part.name.lower() == name for join in joins for part in join.args.get("using") or [])

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return self.columns_of(self.root) or ()

    def made(self, source: Scope, name: str) -> list[tuple[exp.Expr, Scope]]:
        """The expressions that a SELECT makes a column of, one for each branch of a union."""
        columns = self.columns_of(source)
        if columns is None or name not in columns:
            return []
        return self._made_at(source, columns.index(name), exp.Select, 0)

    def _made_at(self, source: Scope, place: int, select: type, depth: int) -> list[tuple[exp.Expr, Scope]]:
        if depth > 30:
            return []
        if isinstance(source.expression, exp.SetOperation):
            return [
                part
                for branch in source.set_operation_scopes
                for part in self._made_at(branch, place, select, depth + 1)
            ]
        parts = source.expression.expressions if isinstance(source.expression, select) else []
        if place < len(parts) and not any(part.is_star for part in parts[: place + 1]):
            return [(parts[place].unalias(), source)]
        names = self.columns_of(source)  # a star: the column is that of a source
        if names is None or place >= len(names):
            return []
        for _, (_, inner) in source.selected_sources.items():
            if self.has(inner, names[place]):
                return [(exp.column(names[place]), source)]
        return []

    def words_of(self, column: str) -> frozenset[str] | None:
        """The literals that a column of the answer can be; None where they can't be told."""
        if column not in self.columns:
            return None
        found: set[str] = set()
        made = self.made(self.root, column)
        if not made or not all(self._literals(part, scope, found, 0) for part, scope in made):
            return None
        return frozenset(found)

    def _literals(self, node: exp.Expr | None, scope: Scope, found: set[str], depth: int) -> bool:
        if node is None or isinstance(node, exp.Null):
            return True
        if depth > 30:
            return False
        node = node.unnest()
        if isinstance(node, exp.Literal) and node.is_string:
            found.add(node.this)
            return True
        if isinstance(node, exp.Case):
            parts = [*(part.args["true"] for part in node.args["ifs"]), node.args.get("default")]
            return all(self._literals(part, scope, found, depth + 1) for part in parts)
        if isinstance(node, exp.Column):
            owner = self.owner(node, scope)
            if owner is None or not isinstance(owner[1], Scope):
                return False
            made = self.made(owner[1], node.name.lower())
            return bool(made) and all(self._literals(part, there, found, depth + 1) for part, there in made)
        return False

    def kind(self, node: exp.Expr | None, scope: Scope, depth: int = 0) -> str | None:
        """`text`, `number` or `boolean`; None where it can't be told."""
        if node is None or depth > 30:
            return None
        deeper = depth + 1
        node = node.unnest()
        if isinstance(node, exp.Column):
            owner = self.owner(node, scope)
            if owner is None:
                return None
            if isinstance(owner[1], exp.Table):
                return self.tables[owner[1].name.lower()].get(node.name.lower())
            made = self.made(owner[1], node.name.lower()) if isinstance(owner[1], Scope) else []
            return next((kind for part, there in made if (kind := self.kind(part, there, deeper))), None)
        if isinstance(node, exp.Literal):
            return "text" if node.is_string else "number"
        if isinstance(node, exp.Placeholder):
            return "text" if node.name == "org" else "number"
        if isinstance(node, (exp.Boolean, exp.Predicate, exp.Connector, exp.Not)):
            return "boolean"
        if isinstance(node, exp.Cast):
            return TYPES.get(node.to.this.name)
        if isinstance(node, exp.Case):
            branches = [*(part.args["true"] for part in node.args["ifs"]), node.args.get("default")]
            return next((kind for part in branches if (kind := self.kind(part, scope, deeper))), None)
        if isinstance(node, exp.Coalesce):
            parts = [node.this, *node.expressions]
            return next((kind for part in parts if (kind := self.kind(part, scope, deeper))), None)
        if isinstance(node, (exp.DPipe, exp.Lower, exp.Upper, exp.Trim, exp.Substring)):
            return "text"
        if isinstance(node, (exp.Count, exp.Sum, exp.Avg, exp.RowNumber, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)):
            return "number"
        if isinstance(
            node,
            (
                exp.Min,
                exp.Max,
                exp.Lag,
                exp.Lead,
                exp.FirstValue,
                exp.LastValue,
                exp.NthValue,
                exp.Nullif,
                exp.Window,
                exp.Filter,
                exp.Alias,
            ),
        ):
            return self.kind(node.this, scope, deeper)
        return None

    def value(self, node: exp.Expr | None) -> int | None:
        """Of whole literals and declared parameters, as they are by default."""
        node = node.unnest() if node is not None else None
        if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit() and len(node.this) < 20:
            return int(node.this)
        if isinstance(node, exp.Placeholder):
            return self.parameters.get(node.name)
        if isinstance(node, exp.Neg):
            value = self.value(node.this)
            return None if value is None else -value
        if isinstance(node, (exp.Add, exp.Sub, exp.Mul)):
            left, right = self.value(node.this), self.value(node.expression)
            if left is None or right is None:
                return None
            return (
                left + right
                if isinstance(node, exp.Add)
                else left - right
                if isinstance(node, exp.Sub)
                else left * right
            )
        return None
