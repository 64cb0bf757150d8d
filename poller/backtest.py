"""What a rule finds in the events that are stored: as it is, beside another form of it, or one finding once more.

Nothing is written here. Evaluation is that of the line itself (`Store.evaluate`), a day at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from poller.errors import UsageError
from poller.findings import Finding
from poller.rules import Rule
from poller.schema import finding_history, findings, orgs
from poller.slices import Slice, days
from poller.store import Store, epoch_ms_of

Progress = Callable[[float], object]  # how much is done, 0 to 1


@dataclass(frozen=True)
class Difference:
    """What a change does to the findings of a rule. `moved`: the same attack (user and evidence in common), found at
    another of its events. `closed` tells of those that it drops how they ended: (status, reason) and how many."""

    added: list[Finding] = field(default_factory=list)
    removed: list[Finding] = field(default_factory=list)
    kept: list[Finding] = field(default_factory=list)
    moved: list[tuple[Finding, Finding]] = field(default_factory=list)
    closed: Counter[tuple[str, str | None]] = field(default_factory=Counter)


def orgs_of(store: Store, name: str = "") -> list[str]:
    """The orgs that have events, or the one of this name. Raises UsageError: there is none."""
    with store.reading() as connection:
        known = list(connection.scalars(sa.select(orgs.c.org).order_by(orgs.c.org)))
    chosen = [org for org in known if name in ("", org)]
    if not chosen:
        there = f" There are: {', '.join(known)}." if known else " Nothing was ever polled."
        raise UsageError(
            f"no events are stored of an org {name!r}.{there}" if name else f"no events are stored.{there}"
        )
    return chosen


def judged(
    store: Store, rule: Rule, org: str, since: datetime, until: datetime, progress: Progress = lambda done: None
) -> Iterator[Finding]:
    """What a rule finds in `[since, until)` of what is stored, in order of time. Raises RuleFailed of a user's rule."""
    whole = Slice(epoch_ms_of(since), epoch_ms_of(until))
    for day in days(whole):
        with store.reading() as connection:
            found = store.evaluate(connection, rule, org, day)
        yield from found
        progress((day.until - whole.since) / (whole.until - whole.since))


def difference(store: Store, before: Sequence[Finding], after: Sequence[Finding]) -> Difference:
    """What becomes of the findings `before` when they are those `after`."""
    old, new = {finding.uid: finding for finding in before}, {finding.uid: finding for finding in after}
    added = [finding for uid, finding in new.items() if uid not in old]
    removed = [finding for uid, finding in old.items() if uid not in new]
    moved = list(_moved(removed, added))
    gone, come = {was.uid for was, _ in moved}, {now.uid for _, now in moved}
    removed = [finding for finding in removed if finding.uid not in gone]
    return Difference(
        added=[finding for finding in added if finding.uid not in come],
        removed=removed,
        kept=[finding for uid, finding in new.items() if uid in old],
        moved=moved,
        closed=Counter(_ends(store, [finding.uid for finding in removed]).values()),
    )


def _moved(removed: Sequence[Finding], added: Sequence[Finding]) -> Iterator[tuple[Finding, Finding]]:
    """Pairs that tell of the same: same org and user, and evidence in common. Each finding is in one pair at most."""
    by_event: dict[tuple[str, str], list[Finding]] = {}
    for finding in added:
        for uid, _ in finding.evidence:
            by_event.setdefault((finding.org, uid), []).append(finding)
    taken = set[str]()
    for was in removed:
        near = [f for uid, _ in was.evidence for f in by_event.get((was.org, uid), []) if f.user_uid == was.user_uid]
        now = min(
            (f for f in near if f.uid not in taken),
            key=lambda f: (abs(f.trigger_time - was.trigger_time), f.uid),
            default=None,
        )
        if now is not None:
            taken.add(now.uid)
            yield was, now


def _ends(store: Store, uids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Of each finding its status, and the last reason that a person gave; `not stored` for one that never was made."""
    ends: dict[str, tuple[str, str | None]] = dict.fromkeys(uids, ("not stored", None))
    with store.reading() as connection:
        for start in range(0, len(uids), 500):
            some = list(uids[start : start + 500])
            for row in connection.execute(sa.select(findings.c.uid, findings.c.status).where(findings.c.uid.in_(some))):
                ends[row.uid] = (row.status, None)
            said = sa.select(finding_history).where(finding_history.c.finding_uid.in_(some))
            for row in connection.execute(said.order_by(finding_history.c.id)):
                if row.reason is not None and row.finding_uid in ends:
                    ends[row.finding_uid] = (ends[row.finding_uid][0], row.reason)
    return ends


def again(store: Store, rule: Rule, org: str, trigger_uid: str, trigger_time: int) -> Finding | None:
    """The finding of this trigger, by the rule as it is and the events as they are; None: there is none."""
    with store.reading() as connection:
        found = store.evaluate(connection, rule, org, Slice(trigger_time, trigger_time + 1))
    return next((finding for finding in found if finding.trigger_uid == trigger_uid), None)
