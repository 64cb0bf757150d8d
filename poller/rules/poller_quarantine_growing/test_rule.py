"""Records that can't be events, again and again."""

from __future__ import annotations

from tests.watching import Watched


def test_one_bad_page_is_no_alarm(watched: Watched) -> None:
    watched.page(at=0, junk=3)
    watched.page(at=1, junk=3)
    assert watched.look(at=30) == []


def test_bad_records_that_keep_coming(watched: Watched) -> None:
    watched.page(at=0, junk=3)
    watched.page(at=10, junk=2)
    assert watched.look(at=11) == ["new"]
    assert watched.summary().startswith("acme sent 5 records since 2026-03-02 09:00:00 UTC that can't be events")


def test_very_many_at_once(watched: Watched) -> None:
    watched.page(at=0, junk=100)
    assert watched.look(at=1) == ["new"]


def test_it_is_over_when_none_have_come_for_long(watched: Watched) -> None:
    watched.page(at=0, junk=100)
    watched.look(at=1)
    assert watched.look(at=6 * 60 + 1) == ["resolved"]
