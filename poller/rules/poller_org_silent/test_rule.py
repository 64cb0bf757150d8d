"""An org that says nothing, measured by what is usual there."""

from __future__ import annotations

from tests.watching import Watched

DAY = 24 * 60


def busy(watched: Watched, days: int, every: int = 60) -> None:
    for number, minute in enumerate(range(-days * DAY, 1, every)):
        watched.page(at=minute, events=[f"{number}"])


def test_a_busy_org_that_falls_silent(watched: Watched) -> None:
    busy(watched, days=8)
    watched.page(at=170)
    assert watched.look(at=170) == []
    watched.page(at=190)
    assert watched.look(at=190) == ["new"]
    assert watched.summary() == (
        "acme has written no event for 3 h, since 2026-03-02 09:00:00 UTC;"
        " its longest silence before that lasted 60 min."
    )
    watched.page(at=200, events=["again"])
    watched.page(at=210)
    assert watched.look(at=210) == ["resolved"]


def test_silence_that_goes_on_behind_a_failure_is_still_there(watched: Watched) -> None:
    busy(watched, days=8)
    watched.page(at=190)
    assert watched.look(at=190) == ["new"]
    watched.fail(at=191)
    assert watched.look(at=198) == ["resolved"]
    watched.page(at=200)
    assert watched.look(at=200) == ["new"]


def test_an_org_that_is_often_silent_is_given_longer(watched: Watched) -> None:
    busy(watched, days=8, every=12 * 60)
    watched.page(at=30 * 60)
    assert watched.look(at=30 * 60) == []


def test_a_young_org_is_given_a_day(watched: Watched) -> None:
    busy(watched, days=2)
    watched.page(at=20 * 60)
    assert watched.look(at=20 * 60) == []
    watched.page(at=25 * 60)
    assert watched.look(at=25 * 60) == ["new"]


def test_silence_of_poller_is_no_silence_of_the_org(watched: Watched) -> None:
    busy(watched, days=8)
    assert watched.look(at=10 * 60) == []


def test_old_events_that_have_just_been_read_are_no_silence(watched: Watched) -> None:
    watched.page(at=0, events=["a"], newest=-100 * DAY)
    watched.page(at=1)
    assert watched.look(at=1) == []
