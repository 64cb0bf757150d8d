"""Laws of the rules, over random streams: the same events make the same findings, however they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller.rules import Rule
from poller.slices import Slice
from poller.store import Store
from tests import oracle
from tests.delivery import NOW, clear, deliver, found, push_fatigue
from tests.streams import START, streams

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
