"""Who can still be worn down by pushes, from the log alone: who gets them without number challenge, and who denies or
ignores them most; admins first, by week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.findings import moment
from poller.reading import Reading, at

_ANSWERS = """
select activity, user_uid, user_name, time, number_challenge_response, push_response
from activities
where org = :org and time >= :since and time < :until
  and event_type in ('user.authentication.auth_via_mfa', 'user.mfa.okta_verify.deny_push')
  and (activity in ('push_rejected', 'push_abandoned', 'push_unanswered')
    or activity = 'mfa_succeeded' and factor = 'OKTA_VERIFY_PUSH')
order by time, uid
"""

# Who acts as an administrator, or was made one.
_ADMINS = """
select user_uid from events
where org = :org and time >= :since and time < :until and outcome = 'SUCCESS'
  and event_type = 'user.session.access_admin_app'
union
select target_user_uid from events
where org = :org and time >= :since and time < :until and event_type = 'user.account.privilege.grant'
union
select user_uid from events
where org = :org and time >= :since and time < :until and app_name = 'Okta Admin Console'
  and event_type = 'user.authentication.sso' and outcome = 'SUCCESS'
"""


@dataclass
class Pushes:
    """Counts of answered and unanswered pushes. `plain`: approved or denied without a number to choose; `unsaid`: Okta
    did not say how (Classic)."""

    approved: int = 0
    rejected: int = 0
    ignored: int = 0
    plain: int = 0
    with_number: int = 0
    unsaid: int = 0

    def count(self, event: Mapping[str, Any]) -> None:
        activity = event["activity"]
        self.approved += activity == "mfa_succeeded"
        self.rejected += activity == "push_rejected"
        self.ignored += activity in ("push_abandoned", "push_unanswered")
        if activity in ("mfa_succeeded", "push_rejected"):
            if event["number_challenge_response"]:
                self.with_number += 1
            elif event["push_response"]:
                self.plain += 1
            else:
                self.unsaid += 1

    def told(self) -> dict[str, int]:
        return dict(vars(self))


@dataclass
class User:
    """One user's pushes, in all and by week (its Monday)."""

    uid: str
    name: str | None
    is_admin: bool
    pushes: Pushes = field(default_factory=Pushes)
    weeks: dict[str, Pushes] = field(default_factory=lambda: defaultdict(Pushes))
    last_plain: int | None = None

    @property
    def refused(self) -> int:
        return self.pushes.rejected + self.pushes.ignored

    def told(self) -> dict[str, Any]:
        return {
            "user_uid": self.uid,
            "user_name": self.name,
            "is_admin": self.is_admin,
            **self.pushes.told(),
            "last_plain_time": at(self.last_plain),
            "weeks": {week: pushes.told() for week, pushes in self.weeks.items()},
        }


def of_org(database: Reading, org: str, since: int, until: int) -> list[User]:
    """The users of an org who got pushes in `[since, until)` epoch ms: admins first, then who gets most plain ones,
    then who refuses most."""
    span: dict[str, Any] = {"org": org, "since": since, "until": until}
    admins = {row["user_uid"] for row in database.rows(_ADMINS, **span)}
    users: dict[str, User] = {}
    for event in database.rows(_ANSWERS, **span):
        uid = event["user_uid"]
        if uid is None:
            continue
        user = users.setdefault(uid, User(uid, event["user_name"], uid in admins))
        user.name = event["user_name"] or user.name
        plain = user.pushes.plain
        user.pushes.count(event)
        user.weeks[monday(event["time"])].count(event)
        if user.pushes.plain > plain:
            user.last_plain = event["time"]
    return sorted(users.values(), key=lambda user: (not user.is_admin, -user.pushes.plain, -user.refused, user.uid))


def by_week(users: Iterable[User]) -> dict[str, tuple[Pushes, int]]:
    """{Monday: (everybody's pushes, how many users got plain ones)}, in order of time."""
    weeks: dict[str, tuple[Pushes, int]] = {}
    for user in users:
        for week, pushes in user.weeks.items():
            total, exposed = weeks.get(week, (Pushes(), 0))
            sums = {name: count + getattr(total, name) for name, count in pushes.told().items()}
            weeks[week] = Pushes(**sums), exposed + (pushes.plain > 0)
    return dict(sorted(weeks.items()))


def monday(time: int) -> str:
    """The date of the Monday before a time of epoch ms, UTC."""
    day: datetime = moment(time).astimezone(UTC)
    return f"{day - timedelta(days=day.weekday()):%Y-%m-%d}"
