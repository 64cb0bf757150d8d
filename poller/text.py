"""Text from strangers made safe for where it goes: a terminal or log line, a CSV cell, JSON. Nothing here imports much.

Okta hands on what attackers type (user agents, device names, user names). On a terminal such text could move the
cursor, recolour, set a title or turn the reading direction; in a spreadsheet it could be a formula.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unicodedata import category

# Control characters and what ends a line (C0, DEL, C1, separators of lines and paragraphs), every format character
# (they turn the reading direction, join or hide), fillers and selectors that can't be seen, what is no character, and
# lone surrogates, which no terminal encoding can write.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MOST_MARKS = 4  # on one letter: more of them grow over the lines above and below (the limit is that of UTS 39, 5.4)
_MAYBE_MARKS = re.compile(r"[^\w\x00-\x7f]{5,}")  # no mark is a letter or digit
# A spreadsheet reads a cell as a formula by its first character; some trim space before it, and some take the
# full-width forms for the same. Where the list separator is a semicolon, what follows one is a cell of its own.
_FORMULA = re.compile(r"^(?=\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20])|(?<=;)(?=[\s\"]*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")
_CREDENTIALS = re.compile(r"(?i)\b(SSWS|Bearer|DPoP)[ :=]+(?!\*\*\*)[^\s'\",;]+")
_URL_PASSWORD = re.compile(r"(?i)(://[^\s:/@]*):[^\s/@]*@|([?&;](?:password|passwd|client_assertion)=)[^\s&;'\"]*")
_SECRET_VARIABLES = ("POLLER_OKTA_API_TOKEN", "POLLER_OKTA_PRIVATE_KEY")


def printable(text: str) -> str:
    """Text for a terminal or a log line: control, bidi and invisible characters become a visible escape (`\\x1b`), and
    so do the marks that are heaped on a letter."""
    text = _UNSAFE.sub(lambda match: _escape(match.group()), text)
    return _MAYBE_MARKS.sub(lambda match: "".join(_flat(match.group())), text)


def csv_cell(value: Any) -> str:
    """A value as a CSV cell that a spreadsheet shows and never computes: one line, no controls, no formula."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        value = " ".join(str(item) for item in value)
    text = printable(str(value))
    return _FORMULA.sub("'", text) if isinstance(value, str) else text


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in printable ASCII, so that nothing in it can act on a terminal, and that loses nothing."""
    return json.dumps(value, indent=indent, ensure_ascii=True).replace("\x7f", "\\u007f")


def iso(moment: datetime) -> str:
    """An aware datetime as ISO 8601 UTC text in milliseconds, ending in `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_secrets(text: str) -> str:
    """The last guard before an unforeseen text is shown: credentials and passwords in it become `***`."""
    for name in _SECRET_VARIABLES:
        secret = os.environ.get(name, "").strip()
        if len(secret) >= 8:
            text = text.replace(secret, "***")
    text = _CREDENTIALS.sub(r"\1 ***", text)
    return _URL_PASSWORD.sub(lambda match: f"{match[1]}:***@" if match[1] is not None else f"{match[2]}***", text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _flat(text: str) -> Iterator[str]:
    marks = 0
    for character in text:
        marks = marks + 1 if category(character) in ("Mn", "Me") else 0
        yield _escape(character) if marks > _MOST_MARKS else character
