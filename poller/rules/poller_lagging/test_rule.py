"""An org that is read, but late."""

from __future__ import annotations

from tests.watching import Watched


def test_an_org_that_keeps_up_does_not_lag(watched: Watched) -> None:
    for minute in range(0, 120, 10):
        watched.page(at=minute)
    assert watched.look(at=115) == []


def test_pages_of_the_past_for_longer_than_the_hold(watched: Watched) -> None:
    watched.page(at=0)
    watched.page(at=100, newest=10)
    watched.page(at=105, newest=12)
    assert watched.look(at=111, started=99) == ["new"]
    assert (
        watched.summary()
        == "acme is 99 min behind: what was published since 2026-03-02 09:12:00 UTC has not been read yet."
    )


def test_catching_up_quickly_is_no_alarm(watched: Watched) -> None:
    watched.page(at=0)
    watched.page(at=100, newest=10)
    assert watched.look(at=101, started=99) == []
    watched.page(at=102)
    assert watched.look(at=111, started=99) == []


def test_no_page_at_all_and_no_error_is_a_lag_too(watched: Watched) -> None:
    watched.page(at=0)
    assert watched.look(at=31, started=0) == ["new"]
    watched.page(at=40)
    watched.page(at=44)
    assert watched.look(at=46, started=0) == ["resolved"]


def test_the_first_read_of_the_past_is_no_lag(watched: Watched) -> None:
    watched.page(at=0, newest=-5000)
    watched.page(at=60, newest=-4000)
    assert watched.look(at=61) == []


def test_an_org_that_cannot_be_polled_is_the_business_of_another_rule(watched: Watched) -> None:
    watched.page(at=0)
    watched.fail(at=1)
    assert watched.look(at=60) == []
