"""The query of a rule: forms that one database alone knows, or that mean another thing on the other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from poller.checking.tree import TYPES, Query

_FORMS = (
    *(exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ, exp.In, exp.Like, exp.Cast, exp.Distinct, exp.Substring, exp.Round),
    *(exp.Greatest, exp.Least, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod),
)
_MOST_INTEGER = 2**31 - 1  # of what Postgres counts in 32 bits


def check_forms(query: Query) -> None:
    """What can be told without knowing the columns."""
    for scope in query.scopes:
        _forms(query, scope)


def check_values(query: Query) -> None:
    """What can be told of columns that are all known."""
    for scope in query.scopes:
        if isinstance(scope.expression, exp.Select):
            _groups(query, scope)
            _kinds_fit(query, scope)


def _forms(query: Query, scope: Scope) -> None:
    select = scope.expression
    parts = select.args.get("expressions") or []
    are_alike = bool(parts) and all(isinstance(part.unalias(), exp.Literal) for part in parts)  # `select 1 ... limit 1`
    if select.args.get("limit") and not select.args.get("order") and not are_alike:
        query.say(select.args["limit"], "`limit` without `order by` keeps any rows: add an order by.")
    for node in scope.find_all(*_FORMS):
        _form(query, node, scope)


def _form(query: Query, node: exp.Expr, scope: Scope) -> None:
    if isinstance(node, (exp.NullSafeEQ, exp.NullSafeNEQ)):
        what = "`is` compares with null, true or false alone, and `is distinct from` is not in SQLite before 3.39"
        query.say(node, f"{what}: write = or <>, of coalesce(a, '') where null counts.")
    elif isinstance(node, exp.Is) and not isinstance(node.expression.unnest(), (exp.Null, exp.Boolean)):
        query.say(node, "`is` compares with null, true or false alone on Postgres: write =.")
    elif isinstance(node, exp.In) and node.args.get("field"):
        query.say(node, "`in` takes values or a SELECT in brackets: write `in (select ... from ...)`.")
    elif isinstance(node, (exp.Greatest, exp.Least)):
        name = "max" if isinstance(node, exp.Greatest) else "min"
        query.say(node, f"{name}(a, b) is on SQLite alone: write case when a > b then a else b end.")
    elif isinstance(node, exp.Round) and node.args.get("decimals"):
        query.say(node, "round(x, n) takes no floating number on Postgres: write round(x * 100) / 100.")
    elif isinstance(node, exp.Substring) and (query.value(node.args.get("start")) or 0) < 1:
        query.say(node, "substr() counts from 1, and from the end on SQLite alone: begin at a number of 1 or more.")
    elif isinstance(node, exp.Cast):
        _cast(query, node, scope)
    elif isinstance(node, exp.Like):
        _like(query, node)
    elif isinstance(node, (exp.Div, exp.Mod)):
        _division(query, node)
    elif isinstance(node, (exp.Add, exp.Sub, exp.Mul)):
        _overflow(query, node)
    elif isinstance(node, exp.Distinct) and node.args.get("on"):
        query.say(node, "`distinct on` is on Postgres alone: number the rows with row_number().")


def _cast(query: Query, node: exp.Cast, scope: Scope) -> None:
    to = node.to.this.name if hasattr(node.to.this, "name") else str(node.to.this)
    if to not in TYPES or node.to.expressions:
        query.say(node, "cast to text, integer, bigint or double precision: other types differ.")
    elif to in ("INT", "BIGINT") and query.kind(node.this, scope) == "text":
        query.say(node, "text that is no number becomes 0 on SQLite, and is an error on Postgres: compare it as text.")
    elif to in ("INT", "BIGINT") and isinstance(node.this.unnest(), (exp.Div, exp.Avg)):
        query.say(node, "a cast cuts off on SQLite and rounds on Postgres: write cast(floor(x) as bigint).")


def _like(query: Query, node: exp.Like) -> None:
    pattern, what = node.expression.unnest(), node.this.unnest()
    if isinstance(pattern, exp.Literal) and pattern.is_string:
        text = pattern.this
        if "\\" in text and not isinstance(node.parent, exp.Escape):
            query.say(node, r"`\` means something in `like` on Postgres alone: add escape '\'.")
        letters = [letter for letter in text if letter.isalpha()]
        if not letters or (isinstance(what, exp.Lower) and text == text.lower()):
            return
        if isinstance(what, exp.Upper) and text == text.upper():
            return
        query.say(node, f"`like` minds case on Postgres alone: write lower({what.sql()}) like '{text.lower()}'.")
    elif not isinstance(what, (exp.Lower, exp.Upper)):
        query.say(node, "`like` minds case on Postgres alone: put both sides into lower().")


def _division(query: Query, node: exp.Div | exp.Mod) -> None:
    below = node.expression.unnest()
    is_safe = (
        isinstance(below, (exp.Nullif, exp.Case))
        or (isinstance(below, exp.Placeholder) and below.name in query.parameters)
        or bool(query.value(below))
    )
    if not is_safe:
        sign = "/" if isinstance(node, exp.Div) else "%"
        query.say(node, f"x {sign} 0 is null on SQLite, an error on Postgres: divide by nullif({below.sql()}, 0).")
    for side in (node.this, node.expression):
        if any(isinstance(part, exp.Sum) and not part.find_ancestor(exp.Cast) for part in _in_value(side)):
            query.say(node, "a sum divides as a whole number on SQLite alone: write cast(sum(x) as double precision).")
            break


def _overflow(query: Query, node: exp.Binary) -> None:
    """Literals and parameters are counted in 32 bits by Postgres as long as no column is among them."""
    value = query.value(node)
    if value is None or (isinstance(node.parent, type(node)) and query.value(node.parent) is not None):
        return
    has_duration = any(part.name in query.durations for part in node.walk() if not part.args.get("expressions"))
    if abs(value) > (_MOST_INTEGER // 10 if has_duration else _MOST_INTEGER):
        query.say(node, "Postgres counts this in 32 bits, which is too few: write cast(... as bigint) around a term.")


def _groups(query: Query, scope: Scope) -> None:
    select = scope.expression
    group = select.args.get("group")
    parts = [*select.expressions, *(select.args[name] for name in ("having", "order") if select.args.get(name))]
    mine = {id(node) for node in scope.walk()}
    if not group and not any(
        isinstance(node, exp.AggFunc) and id(node) in mine and not _is_windowed(node)
        for part in parts
        for node in part.walk()
    ):
        return
    outputs = {part.alias_or_name.lower(): part.unalias() for part in select.expressions}
    grouped = {
        _same(query, _group_of(query, item, outputs, scope), scope) for item in (group.expressions if group else [])
    }
    for part in parts:
        for column in part.find_all(exp.Column):
            if id(column) not in mine or isinstance(column.this, exp.Star):
                continue
            owner = query.owner(column, scope)
            if owner is None or owner[2] is not scope:
                continue  # of the SELECT around, or an output
            if not _is_grouped(query, column, select, grouped, scope):
                query.say(
                    column,
                    f"`{column.name}` is neither in `group by` nor in an aggregate, which Postgres refuses:"
                    f" add it to group by, or take min({column.name}).",
                )
    if any(part.is_star for part in select.expressions):
        query.say(select.expressions[0], "`*` can't be grouped: name the columns.")


def _group_of(query: Query, item: exp.Expr, outputs: Mapping[str, exp.Expr], scope: Scope) -> exp.Expr:
    number = query.value(item) if isinstance(item, exp.Literal) else None
    if number and number <= len(scope.expression.expressions):
        chosen: exp.Expr = scope.expression.expressions[number - 1].unalias()
        return chosen
    if isinstance(item, exp.Column) and query.owner(item, scope) is None:
        return outputs.get(item.name.lower(), item)
    return item


def _same(query: Query, node: exp.Expr, scope: Scope) -> str:
    if isinstance(node, exp.Column):
        owner = query.owner(node, scope)
        return f"{owner[0] if owner else ''}.{node.name.lower()}"
    return node.sql().lower()


def _is_grouped(query: Query, column: exp.Column, select: exp.Expr, grouped: set[str], scope: Scope) -> bool:
    here: exp.Expr | None = column
    while here is not None and here is not select:
        if _same(query, here, scope) in grouped:
            return True
        if isinstance(here, (exp.AggFunc, exp.Filter)) and not _is_windowed(here):
            return True
        here = here.parent
    return False


def _kinds_fit(query: Query, scope: Scope) -> None:
    def kind(node: exp.Expr | None) -> str | None:
        return query.kind(node, scope)

    for node in scope.walk():
        if isinstance(node, (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)):
            _alike(query, node, [kind(node.this), kind(node.expression)])
        elif isinstance(node, exp.In) and node.expressions:
            _alike(query, node, [kind(node.this), *map(kind, node.expressions)])
        elif isinstance(node, exp.Between):
            _alike(query, node, [kind(node.this), kind(node.args["low"]), kind(node.args["high"])])
        elif isinstance(node, exp.Coalesce):
            _alike(query, node, [kind(node.this), *map(kind, node.expressions)])
        elif isinstance(node, exp.Case):
            _alike(
                query, node, [*(kind(part.args["true"]) for part in node.args["ifs"]), kind(node.args.get("default"))]
            )
            if node.this is not None:
                _alike(query, node, [kind(node.this), *(kind(part.this) for part in node.args["ifs"])])
            else:
                for part in node.args["ifs"]:
                    _condition(query, part.this, kind)
        elif isinstance(node, (exp.And, exp.Or)):
            _condition(query, node.this, kind)
            _condition(query, node.expression, kind)
        elif isinstance(node, (exp.Not, exp.Where, exp.Having)):
            _condition(query, node.this, kind)
        elif isinstance(node, exp.Join) and node.args.get("on"):
            _condition(query, node.args["on"], kind)
        elif isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)):
            for side in (node.this, node.expression):
                if kind(side) in ("text", "boolean"):
                    query.say(side, f"`{short(side)}` is {kind(side)}, with which Postgres does not calculate.")
        elif isinstance(node, (exp.Sum, exp.Avg, exp.Min, exp.Max)) and kind(node.this) == "boolean":
            query.say(
                node,
                f"Postgres knows no {node.sql_name().lower()}() of true and false:"
                " write case when ... then 1 else 0 end in it.",
            )
        elif isinstance(node, exp.DPipe) and "boolean" in (kind(node.this), kind(node.expression)):
            query.say(node, "true and false are other texts on each database: write case when ... then 'yes' end.")


def _alike(query: Query, node: exp.Expr, kinds: list[str | None]) -> None:
    known = sorted({kind for kind in kinds if kind})
    if len(known) > 1:
        hint = " Ask `is true` or `is false`, not for 1 or 0." if "boolean" in known else " Cast one of them."
        query.say(node, f"`{short(node)}` mixes {' and '.join(known)}, which Postgres refuses.{hint}")


def _condition(query: Query, node: exp.Expr, kind: Callable[[exp.Expr], str | None]) -> None:
    if kind(node) in ("text", "number"):
        query.say(node, f"`{short(node)}` is {kind(node)}, and no condition on Postgres: compare it with something.")


def _is_windowed(node: exp.Expr) -> bool:
    """Whether an aggregate is one over a window, and so groups nothing."""
    parent = node.parent
    while isinstance(parent, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        parent = parent.parent
    return isinstance(parent, exp.Window) and parent.this is not None


def _in_value(node: exp.Expr) -> Iterator[exp.Expr]:
    """A node and what is calculated in it, not what another SELECT does."""
    return node.walk(prune=lambda part: isinstance(part, (exp.Query, exp.Cast)))


def short(node: exp.Expr) -> str:
    text = " ".join(node.sql(dialect="sqlite").split())
    return text if len(text) <= 60 else f"{text[:57]}..."
