"""An org that is read, but late."""

from __future__ import annotations

from tests.watching import Watched


def test_an_org_that_keeps_up_does_not_lag(watched: Watched) -> None:
    for minute in range(0, 120, 10):
        watched.page(at=minute)
    assert watched.look(at=115) == []


def test_pages_of_the_past_for_longer_than_the_limit(watched: Watched) -> None:
    watched.page(at=0)
    watched.page(at=100, newest=10)
    watched.page(at=105, newest=12)
    assert watched.look(at=131, started=100) == ["new"]
    assert watched.summary() == (
        "acme is 119 min behind: what was published since 2026-03-02 09:12:00 UTC has not been read yet."
    )


def test_catching_up_quickly_after_a_start_is_no_alarm(watched: Watched) -> None:
    watched.page(at=0)
    watched.page(at=100, newest=10)
    assert watched.look(at=101, started=99) == []
    watched.page(at=102)
    assert watched.look(at=130, started=99) == []


def test_no_page_at_all_and_no_error_is_a_lag_too(watched: Watched) -> None:
    watched.page(at=0)
    assert watched.look(at=31, started=0) == ["new"]
    watched.page(at=40)
    watched.page(at=44)
    assert watched.look(at=46, started=0) == ["resolved"]


def test_a_long_poll_interval_is_no_lag(watched: Watched) -> None:
    watched.page(at=0)
    assert watched.look(at=70, interval=60) == []
    assert watched.look(at=121, interval=60) == ["new"]


def test_a_clock_that_is_off_is_no_lag(watched: Watched) -> None:
    watched.page(at=0, okta_is=-60)
    watched.page(at=10, okta_is=-60)
    assert watched.look(at=12) == []


def test_the_first_read_of_the_past_is_no_lag(watched: Watched) -> None:
    watched.page(at=0, newest=-5000)
    watched.page(at=60, newest=-4000)
    assert watched.look(at=61) == []


def test_an_org_that_cannot_be_polled_is_the_business_of_another_rule(watched: Watched) -> None:
    watched.page(at=0)
    watched.fail(at=1)
    assert watched.look(at=60) == []
