"""The line end to end: a real HTTP server at one end, a real database at the other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from poller import schema
from poller.cycle import backfill, poll
from poller.demo.okta import Answer, Request, SimulatedOkta, okta_error
from poller.errors import LostCursor, OktaRefused, Stopped, UnsafeLink
from poller.settings import OrgSettings
from poller.store import Store
from poller.system_log import SystemLog
from tests.delivery import found, push_fatigue

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(hours=6)
DAY = timedelta(days=1)
ORG = "acme"


def event(number: int, **fields) -> dict:
    return {
        "uuid": f"event-{number}",
        "published": (START + timedelta(seconds=number)).isoformat(),
        "eventType": "user.session.end",
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
        "outcome": {"result": "SUCCESS"},
        "transaction": {"id": f"transaction-{number}"},
        **fields,
    }


def attack(first: int) -> list[dict]:
    """Two pushes denied and one approved, a minute apart."""
    approved = {"debugContext": {"debugData": {"factor": "OKTA_VERIFY_PUSH"}}}
    return [
        event(first, eventType="user.mfa.okta_verify.deny_push"),
        event(first + 60, eventType="user.mfa.okta_verify.deny_push"),
        event(first + 120, eventType="user.authentication.auth_via_mfa", **approved),
    ]


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta() as server:
        yield server


def system_log(okta: SimulatedOkta, stop: threading.Event | None = None) -> SystemLog:
    org = OrgSettings(name=ORG, org_url=okta.url, api_token=okta.token)
    return SystemLog(org, 1.0, stop or threading.Event())


def stored(store: Store) -> list[str]:
    with store.reading() as connection:
        return sorted(connection.scalars(sa.select(schema.events.c.uid)))


def run_poll(store: Store, okta: SimulatedOkta):
    return poll(store, system_log(okta), ORG, push_fatigue(), DAY)


def run_backfill(store: Store, okta: SimulatedOkta, since=START, until=NOW, asked="since", stop=None, **more):
    return backfill(store, system_log(okta, stop), ORG, push_fatigue(), asked, since, until, **more)


def in_pages(okta: SimulatedOkta, size: int):
    """Every answer holds at most so many events, whatever was asked for."""

    def smaller(request: Request) -> Answer:
        target = request.target.replace("limit=1000", f"limit={size}")
        return okta.answer(replace(request, target=target))

    return smaller


# ---- the live cursor ----


def test_an_attack_in_the_log_is_a_finding_in_the_database(store, okta):
    okta.append([event(0), *attack(10)])
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.found) == (4, 1)
    assert [finding["user_name"] for finding in found(store)] == ["alice@acme.example"]


def test_a_new_org_starts_at_its_lookback_and_then_only_follows_next(store, okta):
    okta.append([event(-3 * 86400), event(0)])
    run_poll(store, okta)
    okta.append([event(1)])
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.seen) == (1, 0)
    assert stored(store) == ["event-0", "event-1"]
    assert all("until" not in request.query for request in okta.requests)
    assert all("after" in request.query for request in okta.requests[1:])


def test_a_late_event_is_found_by_its_cursor_and_not_by_its_time(store, okta):
    denied, again, approved = attack(10)
    okta.append([denied, approved, event(5000)])
    assert run_poll(store, okta).stored.found == 0
    okta.append([again])
    assert run_poll(store, okta).stored.found == 1


def test_the_cursor_is_the_next_link_verbatim(store, okta):
    okta.append([event(0)])
    link = f"{okta.url}/api/v1/logs?since=2026-01-01T00%3a00%3A00.000Z&limit=1000&after=1_%2b,2&sortOrder=ASCENDING"
    okta.answer_next(
        lambda request: replace(okta.answer(request), headers=(("Link", f'<{link}>; rel="next"'),)),
        lambda request: replace(Answer(body=b"[]"), headers=(("Link", f'<{request.url}>; rel="next"'),)),
    )
    run_poll(store, okta)
    assert store.cursor(ORG) == link


def test_an_okta_that_gives_less_than_it_is_asked_for_is_followed_to_the_end(store, okta):
    okta.append([event(number) for number in range(7)])
    okta.intercept = in_pages(okta, 2)
    assert run_poll(store, okta).stored.new == 7


def test_a_trickle_of_events_is_followed_up_to_what_happened_since_the_poll_began(store, okta):
    okta.append([event(number) for number in range(7)])
    small = in_pages(okta, 2)

    def trickle(request: Request) -> Answer:
        okta.append([event(0, uuid=f"trickle-{len(okta.requests)}", published=datetime.now(UTC).isoformat())])
        time.sleep(0.01)  # the next one is of a later millisecond
        return small(request)

    okta.intercept = trickle
    done = run_poll(store, okta)
    assert (done.pages, done.stored.new) == (5, 10)
    with store.reading() as connection:
        assert connection.scalar(sa.select(schema.orgs.c.caught_up_time)) is not None


@pytest.mark.parametrize("ahead", [timedelta(seconds=-20), timedelta(days=400)], ids=["just before", "years to come"])
def test_small_pages_of_events_dated_about_now_are_all_fetched(store, okta, ahead):
    now = datetime.now(UTC)
    okta.append(
        [event(number, published=(now + ahead + timedelta(seconds=number)).isoformat()) for number in range(20)],
        persisted=int(now.timestamp() * 1000) - 1000,
    )
    okta.intercept = in_pages(okta, 2)
    assert run_poll(store, okta).stored.new == 20


def test_pages_are_followed_through_empty_ones(store, okta):
    """Each empty page has a next link of its own, until the last, whose next link is itself."""
    pages = {0: [event(0)], 3: [event(1)], 9: [event(2)]}

    def answer(request: Request) -> Answer:
        number = int(request.query.get("after", 0))
        link = request.url if number == 10 else f"{okta.url}/api/v1/logs?after={number + 1}"
        return Answer(200, (("Link", f'<{link}>; rel="next"'),), json.dumps(pages.get(number, [])).encode())

    okta.intercept = answer
    assert run_poll(store, okta).stored.new == 3
    assert len(okta.requests) == 11


def test_a_page_of_nothing_but_unusable_records_moves_the_cursor(store, okta):
    okta.append([b"1", b"null", b'{"uuid": ""}'])
    assert run_poll(store, okta).stored.quarantined == 3
    okta.append([event(0)])
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.quarantined) == (1, 0)


def test_what_cannot_be_an_event_does_not_stop_the_page(store, okta):
    okta.append([event(0), b'{"published": "2026-01-01T00:00:00Z"}', b'"text"', event(1)])
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.quarantined) == (2, 2)


def test_a_foreign_next_link_keeps_the_events_and_the_cursor_and_fails_the_poll(store, okta):
    okta.append([event(0)])
    run_poll(store, okta)
    cursor = store.cursor(ORG)
    okta.append([event(1)])
    with SimulatedOkta() as evil:
        foreign = (("Link", f'<{evil.url}/api/v1/logs?after=1>; rel="next"'),)
        okta.answer_next(lambda request: replace(okta.answer(request), headers=foreign))
        with pytest.raises(UnsafeLink):
            run_poll(store, okta)
        assert evil.requests == []
    assert store.cursor(ORG) == cursor
    assert stored(store) == ["event-0", "event-1"]
    assert run_poll(store, okta).stored.seen == 1


def test_an_answer_without_next_keeps_the_cursor(store, okta):
    okta.append([event(0)])
    run_poll(store, okta)
    cursor = store.cursor(ORG)
    okta.append([event(1)])
    okta.intercept = lambda request: replace(okta.answer(request), headers=())
    assert run_poll(store, okta).stored.new == 1
    assert store.cursor(ORG) == cursor


def test_an_okta_that_leads_in_a_circle_loses_nothing_and_is_said(store, okta):
    full = json.dumps([event(number) for number in range(1000)]).encode()
    okta.intercept = lambda request: Answer(200, (("Link", f'<{request.url}>; rel="next"'),), full)
    with pytest.raises(LostCursor):
        run_poll(store, okta)
    assert len(stored(store)) == 1000
    okta.append([event(number) for number in range(1200)])
    okta.intercept = None
    assert run_poll(store, okta).stored.new == 200


def test_a_circle_of_links_that_all_look_new_is_noticed(store, okta):
    page = json.dumps([event(number) for number in range(1000)]).encode()

    def answer(request: Request) -> Answer:
        link = f"{okta.url}/api/v1/logs?after={len(okta.requests)}"
        return Answer(200, (("Link", f'<{link}>; rel="next"'),), page)

    okta.intercept = answer
    with pytest.raises(LostCursor, match="circle"):
        run_poll(store, okta)
    assert len(stored(store)) == 1000


def test_a_page_that_always_breaks_the_chain_is_passed_by(store, okta):
    okta.append([event(number) for number in range(3000)])

    def broken(request: Request) -> Answer:
        answer = okta.answer(request)
        return replace(answer, headers=()) if b"event-1500" in answer.body else answer

    okta.intercept = broken
    run_poll(store, okta)
    assert len(stored(store)) == 3000


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_cursor_that_okta_no_longer_takes_is_opened_anew_without_a_gap(store, okta, status):
    okta.append([event(0), event(7000)])
    run_poll(store, okta)
    okta.append([event(6000), event(7001)])
    okta.answer_next(okta_error(status, "E0000001", "The cursor is not known"))
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.seen) == (2, 1)
    assert "after" in (store.cursor(ORG) or "")
    assert run_poll(store, okta).stored.seen == 0


def test_a_cursor_lost_longer_ago_than_okta_looks_back_goes_on_with_what_okta_keeps(store, okta):
    okta.append([event(-200 * 86400)], persisted=int(NOW.timestamp() * 1000))
    run_poll(store, okta)
    okta.append([event(1)])
    okta.answer_next(okta_error(410, "E0000001", "gone"))
    assert run_poll(store, okta).stored.new == 1


def test_an_org_that_answers_at_another_address_now_goes_on_there(store, okta):
    with SimulatedOkta([event(0)]) as former:
        run_poll(store, former)
    okta.append([event(0), event(1)])
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.seen) == (1, 1)


def test_a_request_that_is_refused_as_such_is_not_asked_for_ever(store, okta):
    okta.intercept = lambda _: okta_error(400, "E0000053", "Invalid date")
    with pytest.raises(OktaRefused, match="90 days"):
        run_poll(store, okta)
    assert len(okta.requests) == 1


def test_a_poll_that_was_stopped_is_gone_on_with_where_it_ended(store, okta):
    okta.append([event(number) for number in range(1500)])
    stop = threading.Event()

    def stop_at_second(request: Request) -> Answer | None:
        if "after" in request.query:
            stop.set()
        return None

    okta.intercept = stop_at_second
    with pytest.raises(Stopped):
        poll(store, system_log(okta, stop), ORG, push_fatigue(), DAY)
    assert len(stored(store)) == 1000
    okta.intercept = None
    done = run_poll(store, okta)
    assert (done.stored.new, done.stored.seen) == (500, 0)


# ---- date ranges ----


def test_a_backfill_stores_its_range_runs_the_rules_and_leaves_the_cursor_alone(store, okta):
    okta.append([event(-10), event(0), *attack(10), event(1000)])
    done = run_backfill(store, okta, until=START + timedelta(seconds=1000))
    assert (done.stored.new, done.stored.found) == (4, 1)
    assert store.cursor(ORG) is None
    assert okta.requests[0].query.keys() == {"since", "until", "sortOrder", "limit"}


def test_backfilled_and_polled_events_give_the_same_findings(store, okta, new_database):
    okta.append([event(0), *attack(10), *attack(4000)])
    run_backfill(store, okta)
    with Store(new_database("sqlite")) as polled:
        run_poll(polled, okta)
        assert found(polled) == found(store)
    assert len(found(store)) == 2
    assert run_poll(store, okta).stored.seen == 7


def test_an_interrupted_backfill_goes_on_with_the_same_words(store, okta):
    okta.append([event(number) for number in range(2500)])
    stop = threading.Event()
    heard = []

    def progress(reached: datetime, events: int) -> None:
        heard.append((reached, events))
        stop.set()

    with pytest.raises(Stopped, match="1000 new events stored"):
        run_backfill(store, okta, stop=stop, progress=progress)
    assert heard == [(START + timedelta(seconds=999), 1000)]
    asked = len(okta.requests)
    done = run_backfill(store, okta, progress=lambda reached, events: heard.append((reached, events)))
    assert (done.stored.new, done.stored.seen) == (1500, 0)
    assert heard[1:] == [(START + timedelta(seconds=1999), 2000), (NOW, 2500)]
    assert "after" in okta.requests[asked].query


def test_a_resumed_age_is_followed_by_what_it_means_now(store, okta):
    okta.append([event(number) for number in range(1500)])
    stop = threading.Event()
    with pytest.raises(Stopped):
        run_backfill(store, okta, until=START + timedelta(seconds=1200), stop=stop, progress=lambda *_: stop.set())
    done = run_backfill(store, okta, since=START + timedelta(seconds=500))
    assert (done.stored.new, done.stored.seen) == (500, 0)
    assert len(stored(store)) == 1500


def test_a_backfill_whose_stored_link_is_refused_starts_its_range_again(store, okta):
    okta.append([event(number) for number in range(1500)])
    stop = threading.Event()
    with pytest.raises(Stopped):
        run_backfill(store, okta, stop=stop, progress=lambda *_: stop.set())
    okta.answer_next(okta_error(410, "E0000001", "gone"))
    done = run_backfill(store, okta)
    assert (done.stored.new, done.stored.seen) == (500, 1000)


def test_a_backfill_further_back_than_okta_looks_says_so(store, okta):
    with pytest.raises(OktaRefused, match="90 days"):
        run_backfill(store, okta, since=NOW - timedelta(days=200))


def test_an_empty_range_asks_nothing(store, okta):
    assert run_backfill(store, okta, until=START).pages == 0
    assert okta.requests == []
