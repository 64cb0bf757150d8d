"""The rule `push_fatigue` against attack timelines in raw events: both databases, one page or many, any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from poller.store import Store
from tests.delivery import deliver, found, push_fatigue
from tests.timelines import TIMELINES, Expected, Timeline

ORDERS: dict[str, Callable[[Timeline], tuple[list[bytes], int]]] = {
    "in one page": lambda timeline: (_records(timeline), 1000),
    "an event a page": lambda timeline: (_records(timeline), 1),
    "in any order, a few a page": lambda timeline: (_shuffled(timeline), 3),
    "backwards, each twice": lambda timeline: (_records(timeline)[::-1] * 2, 2),
}


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def shared_store(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> Iterator[Store]:
    """One database for all of them: each timeline has orgs of its own."""
    with Store(new_database(request.param)) as store:
        yield store


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda timeline: timeline.name.replace(" ", "-"))
def test_a_timeline_makes_its_findings_and_no_others(shared_store: Store, timeline: Timeline, order: str) -> None:
    rules = push_fatigue(**timeline.settings)
    orgs = {event.org for event in timeline.events}
    for org in orgs:
        mine = Timeline(timeline.name, [event for event in timeline.events if event.org == org])
        records, page = ORDERS[order](mine)
        deliver(shared_store, records, org=f"{org} {order} {timeline.name}", page=page, rules=rules)

    for org in orgs:
        there = {row["trigger_uid"]: row for row in found(shared_store, f"{org} {order} {timeline.name}")}
        for expected in (e for e in timeline.expect if e.org == org):
            trigger = expected.trigger_uids & there.keys()
            assert trigger, f"no finding on {expected.trigger}"
            _check(timeline, expected, there.pop(trigger.pop()))
        assert not there, [row["summary"] for row in there.values()]


def _check(timeline: Timeline, expected: Expected, row: dict) -> None:
    pushes = "push" if expected.attempts == 1 else "pushes"
    kinds = [
        f"{expected.kinds[kind]} {kind}" for kind in ("rejected", "abandoned", "unanswered") if kind in expected.kinds
    ]
    assert f"{expected.attempts} Okta Verify {pushes} ({', '.join(kinds)})" in row["summary"]
    assert row["user_uid"] == expected.user.uid
    assert row["confidence"] in expected.confidences
    label = {event.uid: event.label for event in timeline.events if event.org == expected.org}
    evidence = {label[uid] for uid, _ in row["evidence"]}
    assert set(expected.evidence) <= evidence
    assert not set(expected.not_evidence) & evidence
    for text in expected.says:
        assert text in row["summary"]


def _records(timeline: Timeline) -> list[bytes]:
    return [event.wire() for event in timeline.events]


def _shuffled(timeline: Timeline) -> list[bytes]:
    records = _records(timeline)
    random.Random(timeline.name).shuffle(records)
    return records
