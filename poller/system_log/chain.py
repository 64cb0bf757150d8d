"""The chain of `next` links of one run: where it goes on, where it ends, and where it breaks. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from poller.errors import LostCursor

PAGE_LIMIT = 1000  # the most records that Okta gives in a page
EMPTY_PAGES = 10  # in a row, each with a `next` of its own, that are followed before this passes for being caught up


@dataclass(frozen=True)
class Step:
    """What a page means for the run. `is_end`: nothing more is to be had now. `fault`: what is wrong with its `next`;
    where the page is an end all the same, that is not worth more than asking again."""

    is_end: bool = False
    fault: LostCursor | None = None


class Chain:
    """The links asked so far in one run from the org at `where`.

    A polling run ends with an empty page whose `next` is itself, a bounded one with the page that has no `next`.
    """

    def __init__(self, where: str, bounded: bool) -> None:
        self._where, self._bounded = where, bounded
        self._asked: set[str] = set()
        self._idle: set[str] = set()  # the links of the empty pages in a row up to the last one

    def step(self, link: str, records: int, next_link: str | None, itself: str | None) -> Step:
        """The page of `link` has come, with so many records and the links `next` and `self`. A page that is asked for
        once more counts as it comes then."""
        self._asked.add(link)
        if records:
            self._idle.clear()
        else:
            self._idle.add(link)
        if next_link is None:
            if self._bounded:  # its end; but a page that is full may only have lost its link
                lost = self._fault("gave a full page without a link to the next one") if records >= PAGE_LIMIT else None
                return Step(True, lost)
            # Okta says that a polling request always has one. The cursor stays where it is: after a page that was not
            # full, the same link brings whatever is still to come.
            return Step(records < PAGE_LIMIT, self._fault("gave a page without a link to the next one"))
        if not records and (next_link == itself or next_link in self._idle):
            return Step(is_end=True)
        if next_link in self._asked:
            return Step(fault=self._fault(f"gave {records} events whose link to the next page leads in a circle"))
        return Step(is_end=len(self._idle) > EMPTY_PAGES and not self._bounded)

    def _fault(self, what: str) -> LostCursor:
        return LostCursor(f"{self._where} {what}. If this lasts, report it to Okta: poller goes on by time.")
