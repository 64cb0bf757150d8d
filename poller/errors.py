"""Every error that poller raises on purpose. Each message is one line: what happened, where, what to do next."""

from __future__ import annotations

from typing import Literal

FailureKind = Literal[
    "rate_limit",
    "concurrency_limit",
    "server_error",
    "timeout",
    "connection",
    "tls",
    "malformed_page",
    "redirect",
    "unsafe_link",
    "lost_cursor",
    "refused",
    "too_large",
    "credentials",
]
"""How a request to Okta can fail: the `kind` of log lines and metrics."""


class PollerError(Exception):
    """Base of them all. `exit_code` is what the command line ends with: 1 could not be done, 2 wrong usage."""

    exit_code = 1


class SettingsError(PollerError):
    """A setting is missing, malformed or unsafe."""

    exit_code = 2


class UsageError(PollerError):
    """The command's words do not make sense together, or name something that does not exist."""

    exit_code = 2


class DatabaseError(PollerError):
    """The database is out of reach, of the wrong schema version, or refused a statement."""


class LeaseLost(PollerError):
    """Another process has taken over what this one had in hand; nothing of it was stored."""


class OktaError(PollerError):
    """Okta could not be asked, or answered with something that can't be used. `kind` says in a word how it failed."""

    kind: FailureKind = "connection"

    def __init__(self, message: str, kind: FailureKind | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class OktaRefused(OktaError):
    """Okta refused the credentials, their permissions or the request itself; asking again will not help."""

    kind: FailureKind = "refused"

    def __init__(self, message: str, status: int = 0, kind: FailureKind | None = None) -> None:
        super().__init__(message, kind or ("credentials" if status in (401, 403) else None))
        self.status = status


class UnsafeLink(OktaError):
    """A `next` link points away from the configured org. Nothing was sent to it."""

    kind: FailureKind = "unsafe_link"


class LostCursor(OktaError):
    """The chain of `next` links leads in a circle, or breaks off at a full page: it has to be opened anew."""

    kind: FailureKind = "lost_cursor"


class MalformedPage(OktaError):
    """A body that is not one whole JSON array: cut off, or not JSON at all."""

    kind: FailureKind = "malformed_page"


class MalformedEvent(PollerError):
    """A record that cannot be an event: not an object, no `uuid`, or no usable `published`."""


class RuleError(PollerError):
    """A rule folder that can't be used: `file:line: what is wrong`."""

    exit_code = 2


class RuleFailed(PollerError):
    """The query of a user's rule failed, took too long, or yielded what is no finding."""


class Stopped(PollerError):
    """Asked to stop while waiting. Nothing is lost: the next start goes on from the last committed page."""

    exit_code = 0
