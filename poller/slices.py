"""Points in time to the slices that they re-open. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
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
    ordered = sorted(set(times))
    if not ordered:
        return []
    apart = lookback + 1 + lookahead
    ends = [at for at, (before, time) in enumerate(pairwise(ordered), 1) if time - before > apart]
    return [
        Slice(ordered[first] - lookahead, ordered[end - 1] + lookback + 1)
        for first, end in pairwise([0, *ends, len(ordered)])
    ]


def joined(slices: Iterable[Slice], gap: int = 0) -> list[Slice]:
    """Slices that meet, or are no more than `gap` milliseconds apart, as one; in order."""
    wider: list[Slice] = []
    for since, until in sorted(slices):
        if wider and since <= wider[-1].until + gap:
            wider[-1] = Slice(wider[-1].since, max(until, wider[-1].until))
        else:
            wider.append(Slice(since, until))
    return wider


def days(span: Slice) -> Iterator[Slice]:
    """A span in slices of a day, from its beginning; the last may be shorter."""
    for start in range(span.since, span.until, 86_400_000):
        yield Slice(start, min(start + 86_400_000, span.until))
