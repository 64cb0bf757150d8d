"""What a Sigma rule asks of an event, as a tree over the columns of `events`: written as SQL, and tried on one event.

Sigma compares text in any case, with `*` and `?` for what may stand there. SQL says it so that SQLite and Postgres
agree: `lower` and `like` in ASCII letters, and no regular expressions, which SQLite has not. Pure.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from itertools import islice, product
from typing import Any

from poller.activities import event_types
from poller.normalize import Event

BOOLEANS = frozenset({"is_proxy", "threat_suspected"})
NUMBERS = frozenset({"src_asn", "src_lat", "src_lon", "challenge_time"})
COLUMNS = tuple(name for name in Event._fields if name != "time")
_EXACT = frozenset({"event_type", "src_ip", *(name for name in COLUMNS if name.endswith("uid"))})
_CAPITALS = frozenset({"outcome", "severity", "risk_level", "factor", "factor_intent"})  # Okta writes them in capitals
_MOST_PATTERNS = 64  # that one regular expression may become
_MOST_TRIED = 2000
_MOST_TESTS = 40_000


class Wild(Enum):
    """What stands for text that is not known."""

    ONE = "_"
    MANY = "%"


class Edge(Enum):
    """Where a regular expression is tied to an end of the text."""

    BEGIN = "^"
    END = "$"


Parts = tuple["str | Wild", ...]


@dataclass(frozen=True)
class Like:
    """Text of this form. `is_cased`: its letters are meant as they are written."""

    parts: Parts
    is_cased: bool = False

    @property
    def is_plain(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)

    @property
    def text(self) -> str:
        """One text that is of this form."""
        return "".join(part if isinstance(part, str) else "x" if part is Wild.ONE else "" for part in self.parts)


@dataclass(frozen=True)
class Compare:
    """A number, or true or false; `sign` is `=`, `<`, `<=`, `>`, `>=` or `<>`."""

    sign: str
    value: float | bool


@dataclass(frozen=True)
class Missing:
    """Nothing is there."""


@dataclass(frozen=True)
class Same:
    """The same text as in another column."""

    column: str


@dataclass(frozen=True)
class Term:
    """One of the columns holds what is asked for."""

    columns: tuple[str, ...]
    test: Like | Compare | Missing | Same


@dataclass(frozen=True)
class And:
    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Or:
    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Not:
    item: Tree


Tree = Term | And | Or | Not


# ---- to SQL ----


def literal(text: str) -> str:
    """Text as a literal of SQL. Neither is a colon left before a word, which a driver would take for a bind, nor one
    behind a backslash, which SQLAlchemy would drop."""
    quoted = "'" + text.replace("'", "''") + "'"
    return re.sub(r"\\(?=:)|:(?=\w)", lambda match: f"{match.group()}' || '", quoted)


def folded(text: str) -> str:
    """ASCII letters in lower case, and nothing else changed: what `lower` does on both databases."""
    return "".join(letter.lower() if "A" <= letter <= "Z" else letter for letter in text)


def conjuncts(tree: Tree) -> list[Tree]:
    """What must hold together."""
    if isinstance(tree, And):
        return [part for item in tree.items for part in conjuncts(item)]
    return [tree]


def literal_types(tree: Tree) -> frozenset[str] | None:
    """The event types that it can be about; None: any."""
    if isinstance(tree, Term):
        if tree.columns == ("event_type",) and isinstance(tree.test, Like) and tree.test.is_plain:
            return frozenset({as_okta_writes("event_type", tree.test.text)})
    elif isinstance(tree, And):
        known = [types for item in tree.items if (types := literal_types(item)) is not None]
        return frozenset.intersection(*known) if known else None
    elif isinstance(tree, Or):
        named = [literal_types(item) for item in tree.items]
        if all(types is not None for types in named):
            return frozenset().union(*(types for types in named if types is not None))
    return None


def is_types_alone(tree: Tree) -> bool:
    """Whether it says no more than which event types."""
    if isinstance(tree, Or):
        return all(is_types_alone(item) for item in tree.items)
    return isinstance(tree, Term) and literal_types(tree) is not None


def columns_of(tree: Tree) -> frozenset[str]:
    if isinstance(tree, Term):
        return frozenset(tree.columns) | ({tree.test.column} if isinstance(tree.test, Same) else frozenset())
    items = (tree.item,) if isinstance(tree, Not) else tree.items
    return frozenset().union(*(columns_of(item) for item in items))


def as_okta_writes(column: str, text: str) -> str:
    """A value of a column whose letters are always the same, as an index finds it."""
    if column == "event_type":
        known = {folded(name): name for names in event_types().values() for name in names}
        return known.get(folded(text), text)
    if column in _EXACT:  # ids are never folded
        return text
    return text.upper() if column in _CAPITALS else folded(text)


def sql(tree: Tree, table: str = "e") -> str:
    """A condition, in brackets where it needs them."""
    if isinstance(tree, Term):
        tests = [_test(f"{table}.{column}", column, tree.test, table) for column in tree.columns]
        return _joined(tests, "and" if isinstance(tree.test, Missing) else "or")
    if isinstance(tree, Not):
        if isinstance(tree.item, Term) and isinstance(tree.item.test, Missing):
            return present(tree.item.columns, table)
        return f"not coalesce({sql(tree.item, table)}, false)"  # what is not there is not like it
    if isinstance(tree, And):
        return _joined([sql(item, table) for item in tree.items], "and")
    texts: list[str] = []
    plain: dict[str, list[str]] = {}
    for item in _alternatives(tree):
        if isinstance(item, Term) and len(item.columns) == 1 and isinstance(item.test, Like) and _is_one_text(item):
            column = item.columns[0]
            if column not in plain:
                texts.append(column)
            values = plain.setdefault(column, [])
            value = literal(as_okta_writes(column, item.test.text))
            if value not in values:
                values.append(value)
        else:
            texts.append(sql(item, table))
    texts = list(dict.fromkeys(texts))
    parts = [_in(table, text, plain[text]) if text in plain else text for text in texts]
    return _joined(parts, "or")


def _alternatives(tree: Tree) -> list[Tree]:
    """Of what one must hold, each by itself and with one column."""
    if isinstance(tree, Or):
        return [part for item in tree.items for part in _alternatives(item)]
    if isinstance(tree, Term) and not isinstance(tree.test, Missing):
        return [Term((column,), tree.test) for column in tree.columns]
    return [tree]


def _joined(parts: Sequence[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else "(" + f" {word} ".join(parts) + ")"


def present(columns: Sequence[str], table: str = "e") -> str:
    """That one of the columns holds something. `is not null` alone would tempt SQLite to read by an index of that
    column, and so all events."""
    places = [f"{table}.{column}" for column in columns]
    if set(columns) & (NUMBERS | BOOLEANS):
        return _joined([f"{place} is not null" for place in places], "or")
    return f"coalesce({', '.join(places)}, '') <> ''"


def _is_one_text(term: Term) -> bool:
    return isinstance(term.test, Like) and term.test.is_plain and not term.test.is_cased and bool(term.test.text)


def _in(table: str, column: str, values: Sequence[str]) -> str:
    side = f"{table}.{column}" if column in _EXACT | _CAPITALS else f"lower({table}.{column})"
    return f"{side} = {values[0]}" if len(values) == 1 else f"{side} in ({', '.join(values)})"


def _test(place: str, column: str, test: Like | Compare | Missing | Same, table: str) -> str:
    if isinstance(test, Missing):
        return f"{place} is null"
    if isinstance(test, Same):
        return f"lower({place}) = lower({table}.{test.column})"
    if isinstance(test, Compare):
        value = str(test.value).lower() if isinstance(test.value, bool) else repr(test.value)
        return f"{place} {test.sign} {value}"
    if test.is_plain:
        if test.is_cased:
            return f"{place} = {literal(test.text)}"
        return _in(table, column, [literal(as_okta_writes(column, test.text))])
    if set(test.parts) == {Wild.MANY}:
        return f"{place} is not null"
    if test.is_cased and (cased := _cased(place, test.parts)):
        return cased
    pattern = "".join(
        re.sub(r"([%_!])", r"!\1", folded(part)) if isinstance(part, str) else part.value for part in test.parts
    )
    escape = " escape '!'" if "!" in pattern else ""
    return f"lower({place}) like {literal(pattern)}{escape}"


def _cased(place: str, parts: Parts) -> str | None:
    """One text at the beginning, at the end or anywhere, in its very letters."""
    match parts:
        case (str(text), Wild.MANY):
            return f"substr({place}, 1, {len(text)}) = {literal(text)}"
        case (Wild.MANY, str(text)):
            return f"substr({place}, length({place}) - {len(text) - 1}) = {literal(text)}"
        case (Wild.MANY, str(text), Wild.MANY):
            return f"replace({place}, {literal(text)}, '') <> {place}"
    return None


# ---- on one event ----

_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def holds(tree: Tree, event: Mapping[str, Any]) -> bool:
    """Whether an event, by column, is one that is asked for: as the SQL says it."""
    if isinstance(tree, And):
        return all(holds(item, event) for item in tree.items)
    if isinstance(tree, Or):
        return any(holds(item, event) for item in tree.items)
    if isinstance(tree, Not):
        return not holds(tree.item, event)
    if isinstance(tree.test, Missing):
        return all(event[column] is None for column in tree.columns)
    return any(_holds(column, tree.test, event) for column in tree.columns)


def _holds(column: str, test: Like | Compare | Missing | Same, event: Mapping[str, Any]) -> bool:
    value = event[column]
    if isinstance(test, Missing) or value is None:
        return False
    if isinstance(test, Same):
        other = event[test.column]
        return other is not None and folded(str(value)) == folded(str(other))
    if isinstance(test, Compare):
        return _COMPARED[test.sign](value, test.value)
    if test.is_cased or (test.is_plain and column in _EXACT):
        return _is_like(str(value), test.parts)
    return _is_like(folded(str(value)), tuple(folded(part) if isinstance(part, str) else part for part in test.parts))


def _is_like(text: str, parts: Parts) -> bool:
    """Each piece between two `%` is taken where it stands first: nothing is tried twice."""
    pieces = [""]
    for part in parts:
        if part is Wild.MANY:
            pieces.append("")
        else:
            pieces[-1] += re.escape(part) if isinstance(part, str) else "."
    if len(pieces) == 1:
        return re.fullmatch(pieces[0], text, re.DOTALL) is not None
    first = re.match(pieces[0], text, re.DOTALL)
    if first is None:
        return False
    at = first.end()
    for piece in pieces[1:-1]:
        found = re.compile(piece, re.DOTALL).search(text, at)
        if found is None:
            return False
        at = found.end()
    return re.compile(f"(?:{pieces[-1]})\\Z", re.DOTALL).search(text, at) is not None


Given = Mapping[str, Any]  # values by column; None: nothing is to be there


def proposals(tree: Tree, wanted: bool = True) -> Iterator[Given]:
    """Values of columns that may make it hold, or not hold: to be tried."""
    return islice(_proposals(tree, wanted), max(20, min(_MOST_TRIED, _MOST_TESTS // _size(tree))))


def _size(tree: Tree) -> int:
    """How many tests it has."""
    if isinstance(tree, Term):
        return len(tree.columns)
    return sum(_size(item) for item in ((tree.item,) if isinstance(tree, Not) else tree.items))


def _proposals(tree: Tree, wanted: bool) -> Iterator[Given]:
    if isinstance(tree, Not):
        yield from _proposals(tree.item, not wanted)
    elif isinstance(tree, Term):
        for column in tree.columns:
            yield from ({column: value} for value in _values(column, tree.test, wanted))
    elif isinstance(tree, And) == wanted:
        each = [list(islice(_proposals(item, wanted), 40)) for item in tree.items]
        for chosen in product(*each):
            yield from _merged(chosen)
    else:
        for item in tree.items:
            yield from _proposals(item, wanted)


def _values(column: str, test: Like | Compare | Missing | Same, wanted: bool) -> list[Any]:
    if isinstance(test, Missing):
        return [None] if wanted else ["something"]
    if isinstance(test, Same):
        return ["something"]
    if isinstance(test, Compare):
        if isinstance(test.value, bool):
            return [test.value if wanted else not test.value]
        near = [test.value, test.value + 1, test.value - 1]
        return near if wanted else [near[1], near[2], near[0], None]
    if not wanted:
        return [None, "something.else"]
    is_folded = column == "event_type" or column in _CAPITALS
    return [as_okta_writes(column, test.text) if is_folded and test.is_plain and not test.is_cased else test.text]


def _merged(chosen: Iterable[Given]) -> Iterator[Given]:
    """One choice; where two texts are asked of one column, both in one."""
    merged: dict[str, list[Any]] = {}
    for given in chosen:
        for column, value in given.items():
            values = merged.setdefault(column, [])
            if value not in values:
                values.append(value)
    options = []
    for column, values in merged.items():
        texts = [str(value) for value in values if isinstance(value, str)]
        joined = [" ".join(texts), "".join(texts), "".join(reversed(texts))] if len(texts) > 1 else []
        options.append([(column, value) for value in [*joined, *sorted(values, key=lambda value: value is None)]])
    for option in islice(product(*options), 20):
        yield dict(option)


# ---- regular expressions ----


def patterns(expression: str, is_folded: bool) -> tuple[list[Parts], bool]:
    """The forms that a regular expression asks for, and whether they say just what it says, or more.

    Args:
        is_folded: its letters stand for both cases, as those of a form do.
    Raises ValueError: nothing of it can be said so.
    """
    parser: Any = import_module("re._parser")  # that of Python's own expressions, which has no public name
    try:
        parsed = parser.parse(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it can't be read: {error}") from None
    forms, is_exact = _forms(parsed)
    made: list[Parts] = []
    for form in forms:
        inner = [part for part in form if not isinstance(part, Edge)]
        begins, ends = form[:1] == [Edge.BEGIN], form[-1:] == [Edge.END]
        is_exact = is_exact and len(inner) + begins + ends == len(form)  # no end of the text in the midst of it
        parts = _tidy([*([] if begins else [Wild.MANY]), *inner, *([] if ends else [Wild.MANY])])
        if not any(isinstance(part, str) for part in parts):
            raise ValueError("it names no text that must be there")
        is_exact = is_exact and (is_folded or not any(isinstance(p, str) and folded(p) != p.upper() for p in parts))
        if parts not in made:
            made.append(parts)
    return made, is_exact


def _tidy(form: Iterable[str | Wild]) -> Parts:
    """Letters put together, and of `%` and `_` in a row one `%` behind the others."""
    made: list[str | Wild] = []
    text, ones, is_many = "", 0, False
    for part in [*form, None]:
        if text and not isinstance(part, str):
            made.append(text)
            text = ""
        elif (ones or is_many) and not isinstance(part, Wild):
            made.extend([Wild.ONE] * ones + [Wild.MANY] * is_many)
            ones, is_many = 0, False
        if isinstance(part, str):
            text += part
        ones += part is Wild.ONE
        is_many = is_many or part is Wild.MANY
    return tuple(made)


Form = list["str | Wild | Edge"]


def _forms(parsed: Any) -> tuple[list[Form], bool]:
    forms: list[Form] = [[]]
    is_exact = True
    for name, argument in parsed:
        more, exact = _form(str(name), argument)
        forms = [[*form, *tail] for form in forms for tail in more]
        is_exact = is_exact and exact
        if len(forms) > _MOST_PATTERNS:
            raise ValueError(f"it stands for more than {_MOST_PATTERNS} forms")
    return forms, is_exact


def _form(name: str, argument: Any) -> tuple[list[Form], bool]:
    match name:
        case "LITERAL":
            return [[chr(argument)]], True
        case "ANY":
            return [[Wild.ONE]], True
        case "AT" if str(argument) in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return [[Edge.BEGIN]], True
        case "AT" if str(argument) in ("AT_END", "AT_END_STRING"):
            return [[Edge.END]], True
        case "SUBPATTERN":
            return _forms(argument[-1])
        case "BRANCH":
            branches = [_forms(branch) for branch in argument[1]]
            return [form for forms, _ in branches for form in forms], all(exact for _, exact in branches)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _repeated(*argument)
        case "IN" if len(argument) <= 10 and all(str(kind) == "LITERAL" for kind, _ in argument):
            return [[chr(letter)] for _, letter in argument], True
        case "IN" | "NOT_LITERAL":
            return [[Wild.ONE]], False
        case "AT" | "ASSERT" | "ASSERT_NOT":
            return [[]], False
    return [[Wild.MANY]], False


def _repeated(least: int, most: Any, inner: Any) -> tuple[list[Form], bool]:
    forms, is_exact = _forms(inner)
    if least == 0 and most == 1:
        return [[], *forms], is_exact
    if len(forms) > 1 or least > 200:
        return [[Wild.MANY]], False
    tail: Form = [] if most == least else [Wild.MANY]
    says_all = most == least or (forms == [[Wild.ONE]] and str(most) == "MAXREPEAT")
    return [forms[0] * least + tail], is_exact and says_all
