"""The `next` link of a page: found among its Link headers, and checked before anything is sent to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yarl import URL

from poller.errors import UnsafeLink
from poller.text import printable

LOGS_PATH = "/api/v1/logs"
# A link value is <address>, then parameters that may be quoted; commas part one from the next, but stand in addresses
# and in quotes too. Source: RFC 8288, section 3.
_LINK = re.compile(r'<([^<>]*)>((?:[^"<,]|"(?:[^"\\]|\\.)*")*)')
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')
_NOT_IN_A_LINK = re.compile(r"[^!-~]|[\\#<>\"]")


def find_link(headers: Iterable[str], relation: str) -> str | None:
    """The address of the first link of a relation (`next`, `self`), verbatim, from all Link headers of an answer."""
    for address, parameters in _LINK.findall(", ".join(headers)):
        for name, quoted, bare in _PARAMETER.findall(parameters):
            if name.lower() == "rel":
                if relation in (quoted or bare).lower().split():
                    return str(address)
                break  # only the first rel of a link counts
    return None


def check_link(link: str, origin: str) -> URL:
    """The link as it is to be sent, byte for byte.

    Raises UnsafeLink unless it is the System Log of this very origin: same scheme, host and port, no user information,
    and no character (space, control, backslash) that two parsers could read in two ways.
    """
    try:
        url, ours = URL(link, encoded=True), URL(origin)
        is_ours = (url.scheme.lower(), (url.raw_host or "").lower(), url.port) == (
            ours.scheme,
            ours.raw_host,
            ours.port,
        )
    except ValueError:
        is_ours = False
    if not is_ours or url.raw_path != LOGS_PATH or "@" in link.partition("?")[0] or _NOT_IN_A_LINK.search(link):
        shown = printable(link.partition("?")[0])[:120]
        raise UnsafeLink(
            f"the link {shown} does not lead to the System Log of {origin}: refused, and nothing was sent to it. "
            "If the org has another address now, set POLLER_OKTA_ORG_URL to it."
        )
    return url
