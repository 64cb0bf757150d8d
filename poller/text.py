"""Text from strangers made safe for where it goes: a terminal or log line, a CSV cell, JSON. Nothing here imports much.

Okta hands on what attackers type (user agents, device names, user names). On a terminal such text could move the
cursor, recolour, set a title or turn the reading direction; in a spreadsheet it could be a formula.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import Any

# Control characters (C0, DEL, C1), what ends a line, what turns the reading direction, what can't be seen, and lone
# surrogates, which no terminal encoding can write.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# A spreadsheet reads a cell as a formula by its first character; some trim space before it, and some take the
# full-width forms for the same.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_CREDENTIALS = re.compile(r"(?i)\b(SSWS|Bearer|DPoP)[ :=]+[^\s'\",;]+")
_URL_PASSWORD = re.compile(r"(?i)(://[^\s:/@]*):[^\s/@]*@|([?&;](?:password|passwd|client_assertion)=)[^\s&;'\"]*")
_SECRET_VARIABLES = ("POLLER_OKTA_API_TOKEN", "POLLER_OKTA_PRIVATE_KEY")


def printable(text: str) -> str:
    """Text for a terminal or a log line: control, bidi and invisible characters become a visible escape (`\\x1b`)."""
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def csv_cell(value: Any) -> str:
    """A value as a CSV cell that a spreadsheet shows and never computes: one line, no controls, no formula."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        value = " ".join(str(item) for item in value)
    text = printable(str(value))
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


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
