"""An org that fails for long enough is a finding, until it is over."""

from __future__ import annotations

from tests.watching import Watched


def test_quiet_while_polls_succeed(watched: Watched) -> None:
    watched.page(at=0)
    assert watched.look(at=60) == []


def test_a_blip_is_no_alarm(watched: Watched) -> None:
    watched.page(at=0)
    watched.fail(at=1)
    watched.fail(at=9)
    assert watched.look(at=10) == []
    watched.page(at=10)
    watched.fail(at=11)
    assert watched.look(at=20) == []


def test_it_says_since_when_and_why(watched: Watched) -> None:
    watched.page(at=0)
    watched.fail(at=1)
    watched.fail(at=11, message="Okta refused the API token.")
    assert watched.look(at=11) == ["new"]
    assert watched.summary() == (
        "acme could not be polled for 10 min, since 2026-03-02 09:01:00 UTC: attacks there are not seen meanwhile;"
        " the last error: Okta refused the API token."
    )


def test_it_is_one_finding_while_it_lasts_and_ends_by_itself(watched: Watched) -> None:
    watched.fail(at=0)
    assert watched.look(at=10) == ["new"]
    watched.fail(at=90)
    assert watched.look(at=90) == ["new"]
    watched.page(at=91)
    assert watched.look(at=92) == ["new"]
    assert watched.look(at=96) == ["resolved"]
    watched.fail(at=100)
    assert watched.look(at=120) == ["resolved", "new"]


def test_what_an_analyst_has_closed_is_not_opened_again_while_it_lasts(watched: Watched) -> None:
    watched.fail(at=0)
    watched.look(at=10)
    watched.close()
    assert watched.look(at=14) == ["resolved"]
    assert watched.look(at=18) == ["resolved"]


def test_orgs_that_others_poll_are_left_to_them(watched: Watched) -> None:
    watched.fail(at=0)
    assert watched.look(at=20, held=()) == []
