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
    """The link as it is to be sent, its path and query byte for byte.

    Raises UnsafeLink unless it is, letter by letter, the System Log of this very origin: no parser is asked what it
    makes of a link before that is certain, since no two agree on user information, backslashes and blanks.
    """
    ours, address = URL(origin), link.partition("?")[0]
    home, _, more = address.rpartition(LOGS_PATH)
    known = {f"{ours.scheme}://{ours.host_subcomponent}:{ours.port}", str(ours.origin())}
    if more or home.lower() not in known or _NOT_IN_A_LINK.search(link):
        raise UnsafeLink(
            f"the link {printable(address[:100])} does not lead to the System Log of {origin}: refused, and nothing "
            "was sent to it. If the org has another address now, set POLLER_OKTA_ORG_URL to it."
        )
    return URL(link, encoded=True)
