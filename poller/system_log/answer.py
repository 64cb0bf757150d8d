"""What an answer of Okta's says beside its page: rate limits, its clock, errors. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from multidict import CIMultiDictProxy

from poller.errors import FailureKind, OktaError
from poller.text import printable, without_secrets

MAX_WAIT = 300  # seconds; Okta's rate-limit windows last a minute, so a reset further off is not believed


class TryAgain(OktaError):
    """A failure that may pass. `wait`: seconds until it is known to (None: nobody knows)."""

    def __init__(self, message: str, kind: FailureKind, wait: float | None = None) -> None:
        super().__init__(message, kind)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end. `received`: epoch seconds by this machine's clock."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    received: float

    content_type = "application/json"  # to the SDK, which reads no token answer that is called anything else

    @property
    def date(self) -> float | None:
        """Okta's own clock, epoch seconds."""
        try:
            return parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            return None

    @property
    def time(self) -> float:
        """When it was given, by Okta's clock, or at most a second later; epoch seconds. A Date header names the second
        that has begun: within it this machine's clock is the finer one, if it agrees."""
        if self.date is None or self.date <= self.received <= self.date + 1:
            return self.received
        return self.date + 1

    def number(self, name: str) -> int | None:
        """X-Rate-Limit-NAME; where it stands several times, the strictest."""
        values = [value.strip() for value in ",".join(self.headers.getall(f"X-Rate-Limit-{name}", [])).split(",")]
        return min((int(value) for value in values if value.isdecimal() and len(value) < 16), default=None)

    def seconds_to_reset(self) -> float | None:
        """Until the rate-limit window ends, by Okta's clock; None where the answer doesn't say so believably."""
        reset = self.number("Reset")
        if reset is None:
            return None
        seconds = reset - (self.received if self.date is None else self.date)
        return seconds if 0 < seconds <= MAX_WAIT else None

    def error(self) -> tuple[str, str]:
        """Code and summary of an error body in Okta's or OAuth's form; '' for what it hasn't got."""
        try:
            body = json.loads(self.body[:65536])
        except (ValueError, RecursionError):
            return "", ""
        if not isinstance(body, dict):
            return "", ""
        code = body.get("errorCode") or body.get("error") or ""
        return str(code), str(body.get("errorSummary") or body.get("error_description") or "").rstrip(".")

    def reason(self) -> str:
        """`401 E0000011: Invalid token provided`: status and error, safe to show even if it repeats the request."""
        code, summary = (without_secrets(text) for text in self.error())
        return printable(f"{self.status}{f' {code[:60]}' if code else ''}{f': {summary[:200]}' if summary else ''}")

    def raise_if_busy(self, where: str) -> None:
        """Raises TryAgain for an answer that means: not now."""
        if self.status == 429:
            is_concurrency = self.number("Limit") == 0 and self.number("Remaining") == 0
            wait = None if is_concurrency else self.seconds_to_reset()
            text = f"{where} still limits requests ({self.reason()}). Lower POLLER_RATE_LIMIT_SHARE, or wait."
            kind: FailureKind = "concurrency_limit" if is_concurrency else "rate_limit"
            raise TryAgain(text, kind, None if wait is None else max(1.0, wait))
        if self.status >= 500 or self.status in (408, 425):
            text = f"{where} is in trouble ({self.reason()}). See status.okta.com, and try again later."
            raise TryAgain(text, "timeout" if self.status == 408 else "server_error")
