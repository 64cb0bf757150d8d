"""Raw events of an org in which somebody is attacked just now, for tests that poll it with the real clock."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from poller.rules.timelines import records

ATTACK = """
    09:00:00  alice  push_rejected
    09:01:00  alice  push_rejected
    09:02:00  alice  push_rejected
    09:03:00  alice  push_rejected
    09:04:00  alice  push_rejected
    09:05:00  alice  mfa_succeeded
"""


def attacked(start: datetime, user: str = "alice") -> list[dict[str, Any]]:
    """Five pushes denied, a minute apart, and the sixth approved: one finding of `push_fatigue`."""
    return [
        {**json.loads(record), "published": (start + timedelta(minutes=minute)).isoformat(timespec="milliseconds")}
        for minute, record in enumerate(records(ATTACK.replace("alice", user)))
    ]
