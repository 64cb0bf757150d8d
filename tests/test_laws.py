"""Laws of the rules, over random streams: the same events make the same findings, however they come."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller.rules import Rule, load_rules
from poller.rules.timelines import Timeline, read_timelines
from poller.slices import Slice
from poller.store import Store
from tests import oracle
from tests.delivery import NOW, clear, deliver, found, push_fatigue
from tests.streams import START, iso, streams

EVERY_RULE = [rule for rule in load_rules() if rule.is_about_events()]
law = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
Stores = dict[str, Store]
Stream = list[dict[str, Any]]


@pytest.fixture(scope="module")
def stores(new_database: Callable[[str], str]) -> Iterator[Stores]:
    """One database of each kind, emptied before each example."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(Store(new_database(kind))) for kind in ("sqlite", "postgres")}


def after(store: Store, stream: Stream, *, page: int = 1000, rules: list[Rule] | None = None) -> list[dict[str, Any]]:
    """What is found in an empty database once the stream has come in pages of `page`."""
    clear(store)
    deliver(store, stream, page=page, rules=rules)
    return found(store)


@law
@given(stream=streams(clear=True), rejections=st.integers(1, 4), minutes=st.sampled_from([1, 10, 45]))
def test_the_rule_finds_what_the_oracle_finds_on_both_databases(
    stores: Stores, stream: Stream, rejections: int, minutes: int
) -> None:
    rules = push_fatigue(rejections=rejections, window=f"{minutes}m")
    expected = {
        (finding.trigger_uid, finding.user_uid, finding.confidence, tuple(sorted(finding.evidence)))
        for finding in oracle.findings(stream, rejections=rejections, window_ms=minutes * 60_000)
    }
    rows = {kind: after(store, stream, rules=rules) for kind, store in stores.items()}
    assert rows["sqlite"] == rows["postgres"]
    assert expected == {
        (
            row["trigger_uid"],
            row["user_uid"],
            row["confidence"],
            tuple((uid, role) for uid, role in row["evidence"] if role != "sent"),
        )
        for row in rows["sqlite"]
    }


@law
@given(stream=streams(), page=st.integers(1, 9), kind=st.sampled_from(["sqlite", "sqlite", "postgres"]))
def test_cutting_time_into_pages_changes_no_finding(stores: Stores, stream: Stream, page: int, kind: str) -> None:
    assert after(stores[kind], stream, page=page) == after(stores[kind], stream)


@law
@given(data=st.data(), page=st.integers(1, 9), kind=st.sampled_from(["sqlite", "sqlite", "postgres"]))
def test_neither_order_nor_lateness_nor_repetition_changes_a_finding(
    stores: Stores, data: st.DataObject, page: int, kind: str
) -> None:
    stream = data.draw(streams())
    again = data.draw(st.lists(st.sampled_from(stream), max_size=10)) if stream else []
    shuffled = data.draw(st.permutations(stream + again))
    assert after(stores[kind], shuffled, page=page) == after(stores[kind], stream)


@st.composite
def wild_streams(draw: st.DrawFn) -> Stream:
    """Events of one user, strewn over up to a day, with so few ids that they come back hours later."""
    span = draw(st.sampled_from([700, 4_000, 30_000, 86_400]))
    moments = st.one_of(st.integers(0, span * 1000), st.sampled_from([0, 300_000, 600_000, 600_001, 7_200_000]))
    few = st.sampled_from([None, None, "a", "b"])
    kinds = st.sampled_from(
        [
            ("user.authentication.auth_via_mfa", "FAILURE"),
            ("user.authentication.auth_via_mfa", "ABANDONED"),
            ("user.authentication.auth_via_mfa", "UNANSWERED"),
            ("user.authentication.auth_via_mfa", "SUCCESS"),
            ("user.mfa.okta_verify.deny_push", "SUCCESS"),
            ("system.push.send_factor_verify_push", "SUCCESS"),
            ("user.session.start", "SUCCESS"),
            ("policy.evaluate_sign_on", "CHALLENGE"),
            ("user.authentication.verify", "SUCCESS"),
            ("user.authentication.sso", "SUCCESS"),
        ]
    )
    return [
        {
            "uuid": f"wild-{number}",
            "published": iso(draw(moments)),
            "eventType": kind,
            "outcome": {"result": result},
            "actor": {"id": "00u1", "type": "User", "alternateId": "alice@example.com"},
            "client": {"ipAddress": draw(st.sampled_from(["203.0.113.9", "198.51.100.7"]))},
            "authenticationContext": {"externalSessionId": draw(few), "rootSessionId": draw(few)},
            "transaction": {"id": draw(few)},
            "debugContext": {
                "debugData": {
                    "factor": draw(st.sampled_from(["OKTA_VERIFY_PUSH", "OKTA_VERIFY_PUSH", "SIGNED_NONCE", None])),
                    "authnRequestId": draw(few),
                    "authenticatorMethodChallengeTime": iso(at)
                    if (at := draw(st.none() | moments)) is not None
                    else None,
                }
            },
        }
        for number, (kind, result) in enumerate(draw(st.lists(kinds, min_size=3, max_size=14)))
    ]


@settings(law, max_examples=150)
@given(data=st.data(), page=st.integers(1, 3))
def test_ids_that_come_back_hours_later_make_no_finding_depend_on_the_order(
    stores: Stores, data: st.DataObject, page: int
) -> None:
    stream = data.draw(wild_streams())
    shuffled = data.draw(st.permutations(stream))
    assert after(stores["sqlite"], shuffled, page=page) == after(stores["sqlite"], stream)


@law
@given(data=st.data(), kind=st.sampled_from(["sqlite", "sqlite", "postgres"]))
def test_cutting_the_slices_changes_no_finding(stores: Stores, data: st.DataObject, kind: str) -> None:
    stream = data.draw(streams())
    expected = after(stores[kind], stream)
    [rule] = push_fatigue()
    times = sorted({event.time for raw in stream if (event := oracle._event(raw))})
    cuts = sorted(data.draw(st.lists(st.sampled_from(times), max_size=4, unique=True))) if times else []
    with stores[kind].reading() as connection:
        parts = [Slice(a, b) for a, b in zip([0, *cuts], [*cuts, 2**50], strict=True)]
        uids = [finding.uid for part in parts for finding in stores[kind].evaluate(connection, rule, "acme", part)]
    assert uids == [row["uid"] for row in sorted(expected, key=lambda row: (row["trigger_time"], row["trigger_uid"]))]


@law
@given(stream=streams())
def test_running_the_rules_again_over_everything_changes_nothing(stores: Stores, stream: Stream) -> None:
    store, rules = stores["sqlite"], push_fatigue()
    expected = after(store, stream)
    for _ in range(2):
        done = store.run_rules("acme", rules, START - timedelta(days=1), START + timedelta(days=2), NOW)
        assert (done.found, done.changed, done.undone) == (0, 0, 0)
    assert found(store) == expected


# ---- all rules at once ----


@pytest.fixture(scope="module")
def stories() -> list[Timeline]:
    """The timelines of all rules."""
    return [timeline for rule in EVERY_RULE for timeline in read_timelines(rule)]


@pytest.mark.parametrize("seed", range(3))
def test_what_all_rules_find_follows_from_the_events_alone(stores: Stores, stories: list[Timeline], seed: int) -> None:
    """Timelines of all rules in one org: in time and in large pages; and shuffled, with repeats, in small ones."""
    source = random.Random(seed)
    by_uid = {json.loads(one)["uuid"]: one for story in source.sample(stories, 25) for one in story.records}
    in_time = sorted(by_uid.values(), key=lambda one: str(json.loads(one)["published"]))
    mixed = [*in_time, *source.choices(in_time, k=20)]
    source.shuffle(mixed)
    told = []
    for kind, page in (("sqlite", 1000), ("postgres", 1000), ("sqlite", source.choice([1, 7, 50])), ("postgres", 17)):
        clear(stores[kind])
        deliver(stores[kind], in_time if page == 1000 else mixed, page=page, rules=EVERY_RULE)
        told.append(found(stores[kind]))
    assert told[0]
    assert all(other == told[0] for other in told)
