"""The query of a rule, read word by word: signs, words and functions that SQLite and Postgres do not share, and a
second statement. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches

Complaint = tuple[int, str]
"""A line of `rule.sql`, and what is wrong there and what to do about it."""

DEEPEST = 40  # brackets inside one another


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*')|(?P<bind>(?<!:):[A-Za-z_]\w*)|(?P<number>(?:\d+\w*(?:\.\w*)?|\.\d\w*)(?:(?<=[eE])[+-]\d+)?)"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign>->>|->|::|\|\||<=|>=|<>|!=|==|<<|>>|!~\*?|~\*|&&|\S)"
)
_NUMBER = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")
_SIGNS = frozenset(["(", ")", ",", ".", ";", "*", "+", "-", "/", "%", "||", "=", "<>", "!=", "<", ">", "<=", ">="])
_ODD_SIGNS = {
    "->": "JSON is written differently on each database: read a column of events instead",
    "->>": "JSON is written differently on each database: read a column of events instead",
    "::": "SQLite has no such cast: write cast(x as bigint)",
    "==": "Postgres knows it not: write =",
    '"': "write names without quotes, and text in single quotes",
    "`": "write names without quotes, and text in single quotes",
    "[": "write names without brackets; there are no arrays on SQLite",
    "?": "a bind is written with its name, such as :since",
    "$": "a bind is written with its name, such as :since",
    "@": "a bind is written with its name, such as :since",
    "#": "a bind is written with its name, such as :since",
    ":": "a bind is written with its name, such as :since",
    "'": "a text begins here that does not end",
}
READS_ONLY = "a rule is one SELECT that only reads: leave it out"
_ONE_ONLY = "it is not on both databases"
_CLOCK = "a rule knows no clock: it is about the slice [:since, :until)"
_WORDS = {
    **dict.fromkeys(
        words(
            "insert update delete merge create drop alter truncate pragma attach detach copy set call vacuum reindex"
            " grant revoke do execute prepare deallocate begin commit rollback savepoint release listen notify lock"
            " into returning explain analyze analyse refresh import load discard cluster checkpoint declare reset"
        ),
        READS_ONLY,
    ),
    **dict.fromkeys(
        words(
            "ilike glob regexp rlike match similar isnull notnull lateral any some array unnest tablesample natural"
            " indexed ordinality variadic user session_user current_user current_role interval extract overlaps"
        ),
        _ONE_ONLY,
    ),
    **dict.fromkeys(words("current_date current_time current_timestamp localtime localtimestamp"), _CLOCK),
    **dict.fromkeys(["real", "float", "string"], "write double precision, or text: others differ"),
    "collate": "ids are compared exactly, as they are: leave it out",
    "for": "a rule locks nothing, and substr(x, 1, 2) takes a part of a text",
    "offset": "what it leaves out depends on the slice: leave it out",
    "fetch": "write limit, with an order by",
    "both": "write trim(x)",
    "leading": "write ltrim(x)",
    "trailing": "write rtrim(x)",
    "full": "SQLite before 3.39 has no full join: write a union all of two left joins",
    "right": "SQLite before 3.39 has no right join: turn it into a left join",
}
_FUNCTIONS = words(
    "coalesce nullif min max count sum avg abs round lower upper length substr substring replace trim ltrim rtrim"
    " lag lead first_value last_value nth_value row_number rank dense_rank ntile percent_rank cume_dist cast sin cos"
    " tan asin acos atan atan2 radians degrees sqrt power pow exp ln floor ceil ceiling pi"
)
_NOT_CALLED = words(  # that a bracket may follow
    "in exists and or not as over filter values from join on where select when then else case by union all except"
    " intersect distinct between like having is materialized limit using with recursive escape window order group"
    " partition cross inner left outer end"
)
_INSTEAD = {
    **dict.fromkeys(["ifnull", "nvl", "isnull"], "write coalesce(a, b)"),
    **dict.fromkeys(["iif", "if", "decode"], "write case when ... then ... else ... end"),
    **dict.fromkeys(["group_concat", "string_agg", "array_agg", "listagg"], "yield one row for each piece of evidence"),
    **dict.fromkeys(["greatest", "least"], "write case when a > b then a else b end"),
    **dict.fromkeys(["instr", "strpos", "position", "char_index"], "compare with like, or with substr(x, 1, 3)"),
    **dict.fromkeys(["concat", "concat_ws", "format", "printf"], "write a || b"),
    **dict.fromkeys(["mod"], "write a % b"),
    **dict.fromkeys(["bool_or", "bool_and", "every"], "write max(case when ... then 1 else 0 end)"),
    **dict.fromkeys(["total"], "write sum(x)"),
    **dict.fromkeys(["random", "gen_random_uuid", "randomblob"], "a rule yields the same each time it is run"),
    **dict.fromkeys(
        words(
            "now date time datetime julianday unixepoch strftime to_timestamp date_trunc date_part age clock_timestamp"
            " statement_timestamp to_char timediff"
        ),
        "time is a whole number in epoch milliseconds, and a rule knows no clock",
    ),
}


def near(word: str, known: Collection[str], say: str = " Did you mean {}?") -> str:
    found = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return say.format(found[0]) if found else ""


def odd_words(text: str) -> Iterator[Complaint]:
    """What can be told word by word: odd signs, words of one database alone, unknown functions, a second statement."""
    pieces = [(match.lastgroup, match.group(), match.start()) for match in _TOKEN.finditer(text)]
    lines = _line_counter(text)
    lists = {
        match[1].lower()
        for match in re.finditer(r"(?i)(\w+)\s*\([\w\s,]*\)\s*as\b(?:\s+(?:not\s+)?materialized)?\s*\(", text)
    }
    ended = False
    for index, (kind, piece, start) in enumerate(pieces):
        before = pieces[index - 1] if index else (None, "", 0)
        after = pieces[index + 1][1] if index + 1 < len(pieces) else ""
        word = piece.lower()
        line = lines(start)
        if piece == ";":
            ended = True
        elif ended:
            yield line, "a second statement begins here: a rule is one SELECT."
            return
        elif kind == "text":
            if before[0] == "word" and before[2] + len(before[1]) == start:
                yield line, f"{before[1]}'...' is a text of one database alone: write it in plain single quotes."
            if re.search(r"(?<![:\w\\]):[A-Za-z_]", piece):
                yield (
                    line,
                    "a colon before a letter inside a text is taken for a bind: compare with another part of it.",
                )
        elif kind == "number":
            if not _NUMBER.fullmatch(piece):
                yield line, f"{piece} is no number on both databases: write it in plain digits."
        elif kind == "sign":
            if piece not in _SIGNS:
                yield line, f"{_seen(piece)}: {_ODD_SIGNS.get(piece, _ONE_ONLY)}."
        elif kind == "word" and before[1] != ".":
            if word == "double" and after.lower() != "precision":
                yield line, "`double`: Postgres has no such type: write double precision."
            elif word == "replace" and after != "(":
                yield line, f"`{word}`: {READS_ONLY}."
            elif word in _WORDS and not (before[1].lower() == "as" and after in (",", "from", "")):
                yield line, f"`{word}`: {_WORDS[word]}."
            elif after == "(" and word not in _NOT_CALLED | _FUNCTIONS | lists and before[1].lower() != "as":
                why = _INSTEAD.get(word) or "a rule may call " + ", ".join(sorted(_FUNCTIONS))
                yield line, f"{word}() is not on both databases, or not the same: {why}."
        elif kind == "word" and after == "(":
            yield line, f"{before[1]}{word}(): a function has no dot before it."


def _seen(piece: str) -> str:
    """A sign as it can be shown: strange ones by their code."""
    return f"`{piece}`" if piece.isascii() and piece.isprintable() else f"U+{ord(piece[0]):04X}"


def _line_counter(text: str) -> Callable[[int], int]:
    breaks = [match.start() for match in re.finditer("\n", text)]
    return lambda position: 1 + bisect_right(breaks, position - 1)


def too_deep(text: str) -> Complaint | None:
    depth = cases = 0
    for match in _TOKEN.finditer(text):
        piece = match.group().lower()
        depth += (piece == "(") - (piece == ")")
        cases += (piece == "case") - (piece == "end")
        if depth + cases > DEEPEST:
            line = 1 + text[: match.start()].count("\n")
            return line, f"more than {DEEPEST} brackets inside one another: take parts of the query out into `with`."
    return None
