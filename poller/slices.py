"""Points in time to the slices that they re-open. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Slice(NamedTuple):
    """A half-open span of event time, `[since, until)`, in epoch milliseconds."""

    since: int
    until: int


def reopened(times: Iterable[int], lookback: int, lookahead: int) -> list[Slice]:
    """The slices whose findings may have changed by events stored at `times`, merged and in order.

    An event at t can be evidence for a trigger up to `lookback` later, and can undo or explain one up to `lookahead`
    earlier, so it re-opens `[t - lookahead, t + lookback]`.
    """
    slices: list[Slice] = []
    for time in sorted(set(times)):
        since, until = time - lookahead, time + lookback + 1
        if slices and since <= slices[-1].until:
            slices[-1] = Slice(slices[-1].since, max(until, slices[-1].until))
        else:
            slices.append(Slice(since, until))
    return slices


def days(span: Slice) -> Iterator[Slice]:
    """A span in slices of a day, from its beginning; the last may be shorter."""
    for start in range(span.since, span.until, 86_400_000):
        yield Slice(start, min(start + 86_400_000, span.until))
