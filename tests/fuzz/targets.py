"""What is fuzzed: each target takes any bytes, and raises when a promise about them is broken.

Wherever another reader of the same bytes exists (json, urllib, csv and, where it is installed, the URL parser of
browsers), its answer is what ours is held against.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from poller.errors import MalformedEvent, MalformedPage, UnsafeLink
from poller.normalize import CUT_MARK, MAX_ID, MAX_TEXT, Event, normalize, split_page
from poller.raw import compress, decompress
from poller.system_log.links import LOGS_PATH, check_link, find_link
from poller.text import csv_cell, printable, to_json

try:
    import ada_url
except ImportError:  # an optional second opinion: `pip install ada-url`
    ada_url = None

# ---- pages ----


def page(body: bytes) -> None:
    """`split_page`: the records that json sees, as the very bytes of the body, or MalformedPage."""
    values = _json(body.removeprefix(b"\xef\xbb\xbf"))
    try:
        records = split_page(body)
    except MalformedPage as error:
        _is_one_safe_line(error)
        assert type(values) is not list, "a good page was refused"
        return
    position = 0
    for raw in records:
        position = body.index(raw, position) + len(raw)
    if values is not _NOTHING:
        assert type(values) is list, "this is no page"
        assert [json.dumps(_json(raw)) for raw in records] == [json.dumps(value) for value in values]
    if len(body) % 2 and records and records[-1]:
        assert split_page(b" [" + b" ,\n".join(records) + b"\t] ") == records
    for raw in records[:2]:
        with contextlib.suppress(MalformedEvent):
            normalize(raw)


_NOTHING = object()


def _json(raw: bytes) -> Any:
    """The value as Python's own decoder reads it, where it does."""
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError):
        return _NOTHING


# ---- records ----

_NUMBERS = ("time", "challenge_time", "src_asn")
_FLAGS = ("is_proxy", "threat_suspected")
_IDS = ("uid", "user_uid", "actor_uid", "session_uid", "root_session_uid", "transaction_uid", "authn_request_uid")
_PLACE = ("src_lat", "src_lon")
_FREE_TEXT = (
    *("user_name", "actor_name", "outcome_reason", "user_agent", "behaviors", "message"),
    *("target_name", "target_user_name", "privilege", "request_uri", "threat_detections"),
)
PLACES = {
    "event_type": "eventType",
    "outcome": "outcome.result",
    "outcome_reason": "outcome.reason",
    "actor_uid": "actor.id",
    "actor_name": "actor.alternateId",
    "src_ip": "client.ipAddress",
    "src_city": "client.geographicalContext.city",
    "user_agent": "client.userAgent.rawUserAgent",
    "device": "client.device",
    "factor": "debugContext.debugData.factor",
    "push_response": "debugContext.debugData.pushOnlyResponseType",
    "behaviors": "debugContext.debugData.behaviors",
    "session_uid": "authenticationContext.externalSessionId",
    "transaction_uid": "transaction.id",
    "severity": "severity",
    "message": "displayMessage",
}
_PUBLISHED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z")


def record(raw: bytes) -> None:
    """`normalize`: an event that any database keeps and that says what the record says, or MalformedEvent."""
    value = _json(raw)
    try:
        event = normalize(raw)
    except MalformedEvent as error:
        _is_one_safe_line(error)
        assert not _is_surely_an_event(value), "an event was lost"
        return
    _fits_the_columns(event)
    if type(value) is dict:
        _says_what_the_record_says(event, value)
        # However the same record is spelled, and whichever decoder reads it, it is the same event.
        end = raw.rstrip(b" \t\r\n").removesuffix(b"}")
        again = (
            json.dumps(value).encode(),
            b" " + raw + b"\n",
            end + b', "out of range": 1e999}',
            end + b', "deep": ' + b"[" * 1500 + b"]" * 1500 + b"}",
        )[len(raw) % 4]
        if b"Infinity" not in again:  # json's word for a number that it does not hold
            assert normalize(again) == event


def _is_surely_an_event(value: Any) -> bool:
    if type(value) is not dict or type(value.get("uuid")) is not str or not value["uuid"].strip():
        return False
    return _instant(value.get("published")) is not None


def _instant(text: object) -> int | None:
    """An instant in the form that Okta's documentation gives, in epoch milliseconds."""
    if type(text) is not str or not _PUBLISHED.fullmatch(text) or text < "1900":
        return None
    try:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except ValueError:
        return None


def _fits_the_columns(event: Event) -> None:
    assert type(event) is Event
    for name, value in event._asdict().items():
        if name in _NUMBERS:
            assert (value is None and name != "time") or (type(value) is int and abs(value) < 2**63)
        elif name in _FLAGS:
            assert value is None or type(value) is bool
        elif name in _PLACE:
            assert value is None or (type(value) is float and abs(value) <= 180)
        elif value is not None or name == "uid":
            assert type(value) is str
            assert 0 < len(value) <= (MAX_TEXT if name in _FREE_TEXT else MAX_ID)
            value.encode()  # raises on a lone surrogate
            assert "\x00" not in value


def _says_what_the_record_says(event: Event, value: dict[str, Any]) -> None:
    if (time := _instant(value.get("published"))) is not None:
        assert event.time == time
    is_person = (event.actor_type or "User").lower() in ("user", "systemprincipal")
    name = "actor.alternateId" if is_person else "actor.displayName"
    for column, path in {**PLACES, "uid": "uuid", "actor_name": name}.items():
        there: Any = value
        for key in path.split("."):
            there = there.get(key) if type(there) is dict else None
        if type(there) is str and there:
            shown, verbatim = getattr(event, column), re.sub("[\x00\ud800-\udfff]", "\ufffd", there)
            limit = MAX_TEXT if column in _FREE_TEXT else MAX_ID
            if len(verbatim) <= limit:
                assert shown == verbatim
            else:
                assert CUT_MARK in shown
                assert verbatim.startswith(shown.partition(CUT_MARK)[0])


# ---- links ----

ORIGINS = ("https://acme.okta.com", "http://127.0.0.1:8080", "https://[2001:db8::1]:8443")
_FORBIDDEN = re.compile(r"[^!-~]|[\\#<>\"]")


def link(data: bytes) -> None:
    """`find_link` and `check_link`. One line is one Link header; the whole is also taken for a link."""
    text = data.decode("utf-8", "surrogateescape")  # as aiohttp decodes headers
    headers = text.split("\n")
    links = _links(", ".join(headers))
    for relation in ("next", "self"):
        found = find_link(headers, relation)
        assert found is None or f"<{found}>" in text.replace("\n", ", ")
        if links is not None:
            assert found == next((address for address, relations in links if relation in relations), None)
        if found is not None:
            _leads_home_or_is_refused(found)
    _leads_home_or_is_refused(text)
    origin = ORIGINS[len(data) % len(ORIGINS)]
    _leads_home_or_is_refused(f"{origin}{text}")
    mine = f"{origin}{LOGS_PATH}?x{_FORBIDDEN.sub('', text)}"
    assert str(check_link(mine, origin)) == mine


def _leads_home_or_is_refused(link: str) -> None:
    for origin in ORIGINS:
        try:
            url = check_link(link, origin)
        except UnsafeLink as error:
            _is_one_safe_line(error)
            continue
        scheme, _, host = origin.partition("://")
        default = ":443" if host == "acme.okta.com" else ""
        start = re.match(rf"(?i:{scheme}://{re.escape(host)})({default})?", link)
        assert start, link
        sent = link[start.end() :]
        assert re.fullmatch(rf"{LOGS_PATH}(\?[!-~]*)?", sent), link
        parts = urlsplit(link)
        assert (parts.scheme, parts.netloc.lower().removesuffix(default)) == (scheme, host)
        assert (parts.path, parts.fragment, parts.username, parts.password) == (LOGS_PATH, "", None, None)
        # What goes over the wire: the path and query of the link, byte for byte.
        assert url.raw_path_qs == (LOGS_PATH if sent == f"{LOGS_PATH}?" else sent)
        assert (url.scheme, url.raw_authority.lower().removesuffix(default)) == (scheme, host)
        if ada_url is not None:
            seen = ada_url.URL(link)
            assert (seen.origin, seen.pathname, seen.username, seen.password) == (origin, LOGS_PATH, "", "")


def _links(text: str) -> list[tuple[str, list[str]]] | None:
    """(address, relations) of each link of a well-formed header, read a character at a time; None if it isn't."""
    links: list[tuple[str, list[str]]] = []
    at = 0

    def blank() -> None:
        nonlocal at
        while at < len(text) and text[at] in " \t":
            at += 1

    def taken(allowed: str) -> str:
        nonlocal at
        start = at
        while at < len(text) and text[at] in allowed:
            at += 1
        return text[start:at]

    def here(expected: str) -> bool:
        nonlocal at
        is_here = text.startswith(expected, at)
        at += len(expected) if is_here else 0
        return is_here

    while True:
        blank()
        end = text.find(">", at)
        if not here("<") or end < 0 or "<" in text[at:end]:
            return None
        address, relations, at = text[at:end], None, end + 1
        blank()
        while here(";"):
            blank()
            name = taken(_TOKEN)
            blank()
            value = ""
            if not name:
                return None
            if here("="):
                blank()
                if here('"'):
                    while not here('"'):
                        here("\\")
                        if at >= len(text):
                            return None
                        value += text[at]
                        at += 1
                else:
                    value = taken(_TOKEN)
                    if not value:
                        return None
                blank()
            if name.lower() == "rel" and relations is None:
                if "\\" in value:
                    return None  # escapes in a relation: nobody agrees on them
                relations = value.lower().split()
        links.append((address, relations or []))
        if at == len(text):
            return links
        if not here(","):
            return None


_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# ---- text for people ----

_CATEGORIES = [(chr(code), unicodedata.category(chr(code))) for code in range(sys.maxunicode + 1)]
_HIDDEN = frozenset(char for char, category in _CATEGORIES if category in ("Cc", "Cf", "Cs", "Zl", "Zp"))
_MARKS = frozenset(char for char, category in _CATEGORIES if category in ("Mn", "Me"))
_FORMULA = re.compile(r"\s*[=+\-@|%＝＋－＠]")


def text(data: bytes) -> None:
    """`printable`, `csv_cell`, `to_json`: nothing acts on a terminal or in a spreadsheet, and JSON loses nothing."""
    any_text = _decoded(data)
    shown = printable(any_text)
    assert not is_unsafe(shown)
    assert printable(shown) == shown
    assert shown == any_text or not (any_text.isascii() and any_text.isprintable())
    shown.encode()
    _is_never_computed([any_text, f"x;{any_text}", [any_text, any_text], None])
    for value in (any_text, [any_text], {any_text: any_text}):
        written = to_json(value)
        assert written.isascii()
        assert written.isprintable()
        assert json.loads(written) == value


def _decoded(data: bytes) -> str:
    """Any text at all that a decoder of JSON can give, lone surrogates included."""
    try:
        any_text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        any_text = data.decode("utf-8", "surrogateescape")
    return any_text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def is_unsafe(shown: str) -> bool:
    """Whether anything in it is not for display: controls, format characters, separators, heaps of marks."""
    if shown.isascii() and shown.isprintable():
        return False
    marks = "".join("m" if char in _MARKS else " " for char in shown) if not _MARKS.isdisjoint(shown) else ""
    return not _HIDDEN.isdisjoint(shown) or "mmmmm" in marks


def _is_one_safe_line(error: Exception) -> None:
    assert not is_unsafe(str(error))


def _is_never_computed(values: Sequence[Any]) -> None:
    """Written as one row, it is one line, and no spreadsheet of any country sees a formula in it."""
    out, written = io.StringIO(), ["uid", *(csv_cell(value) for value in values)]
    csv.writer(out, lineterminator="\r\n").writerow(written)
    assert len(out.getvalue().splitlines()) == 1
    for separator in ",;\t":
        ((*cells,),) = csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=separator)
        assert cells == written or separator != ","
        assert not any(_FORMULA.match(cell) for cell in cells), (separator, cells)


# ---- raw records ----


def raw(data: bytes) -> None:
    """`compress` and `decompress`: the same bytes come back."""
    assert decompress(compress(data)) == data


TARGETS: dict[str, Callable[[bytes], None]] = {f.__name__: f for f in (page, record, link, text, raw)}
