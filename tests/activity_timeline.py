"""Timelines in activity names, as the tests beside the rules write them.

    09:00:00      alice  push_rejected
    09:05:00.250  alice  mfa_succeeded  factor=FIDO_WEBAUTHN sign_in=A

One event a line: time of day (UTC), user, activity, and what is unlike the sample: `sign_in` (its authnRequestId),
`session`, `transaction`, `challenge` (when the push was sent, a time of day), `ip`, `factor`. Without `sign_in` each
event is of a sign-in of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from poller.rules import Rule
from poller.store import Store
from tests.delivery import clear, deliver, found
from tests.timelines import Record, User, record

# activity: the sample it is made of, and its variant
SAMPLES = {
    "push_sent": ("push_sent", "identity_engine"),
    "push_rejected": ("push_denied", "identity_engine"),
    "push_rejected_classic": ("push_denied_classic", "failure"),
    "push_abandoned": ("push_abandoned", "no_challenge_time"),
    "push_unanswered": ("push_unanswered", "no_challenge_time"),
    "mfa_succeeded": ("push_approved", "identity_engine"),
    "password_succeeded": ("password_verified", "identity_engine"),
    "sign_in_verified": ("sign_in_verified", "identity_engine"),
    "session_started": ("session_started", "identity_engine"),
    "factor_challenged": ("sign_on_challenged", "identity_engine"),
    "sign_on_allowed": ("sign_on_allowed", "identity_engine"),
    "app_opened": ("app_opened", "identity_engine"),
    "app_too_old": ("push_denied_upgrade_needed", "classic"),
    "password_refused": ("password_refused", "identity_engine"),
}


def parse(text: str) -> list[Record]:
    """The events of a timeline, in its order."""
    events = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines()))):
        time, name, activity, *details = line.split()
        options: dict[str, Any] = dict(detail.split("=", 1) for detail in details)
        factor = options.pop("factor", None)
        if factor:
            options["put"] = {"debugContext.debugData.factor": factor}
        sample, variant = SAMPLES[activity]
        user = User(f"00u{name}", f"{name}@example.com", name.title())
        options.setdefault("sign_in", f"sign-in-{number}")
        events.append(record(f"{number} {line}", sample, time, variant=variant, user=user, **options))
    return events


def told(store: Store, events: Iterable[Record], rules: list[Rule]) -> list[str]:
    """What is found in an empty database: `alice 09:00:00-09:05:00 6 events`, by time."""
    clear(store)
    deliver(store, [event.wire() for event in events], rules=rules)
    return [
        f"{row['user_name'].removesuffix('@example.com')} "
        f"{_clock(row['first_seen_time'])}-{_clock(row['last_seen_time'])} {row['evidence_count']} events"
        for row in found(store)
    ]


def _clock(time: datetime) -> str:
    text = time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]
    return text.removesuffix(".000")
