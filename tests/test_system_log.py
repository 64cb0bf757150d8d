"""Fetching, against a real HTTP server that behaves, and misbehaves, as Okta does."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest
from structlog.testing import capture_logs

from poller import metrics
from poller.demo.okta import Answer, Request, SimulatedOkta, okta_error, too_many_requests
from poller.demo.okta_oauth import OAuthApp, key_pair
from poller.errors import LostCursor, MalformedPage, OktaError, OktaRefused, SettingsError, Stopped, UnsafeLink
from poller.settings import OrgSettings
from poller.system_log import (
    ATTEMPTS,
    BACKOFF,
    JITTER,
    LIMITED_ATTEMPTS,
    LONGEST_BACKOFF,
    PATIENCE,
    Page,
    SystemLog,
)
from poller.system_log.answer import MAX_WAIT
from poller.system_log.chain import EMPTY_PAGES
from poller.system_log.connection import ANSWER_SECONDS, MAX_BODY, SIGNED_SECONDS
from poller.system_log.links import check_link, find_link

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(hours=3)


def event(number: int) -> dict[str, str]:
    published = NOW - timedelta(hours=2) + timedelta(seconds=number)
    return {"uuid": f"event-{number}", "published": published.isoformat(), "eventType": "user.session.start"}


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta([event(number) for number in range(3)]) as server:
        yield server


def system_log(
    okta: SimulatedOkta, *, token: str | None = None, stop: threading.Event | None = None, **more: float
) -> SystemLog:
    org = OrgSettings(name="acme", org_url=okta.url, api_token=token or okta.token)
    return SystemLog(org, 0.5, stop or threading.Event(), **more)


def uids(log: SystemLog, link: str | None = None) -> list[str]:
    """What a run from a link on brings."""
    pages = log.pages(link or log.polling_link(SINCE))
    return [json.loads(record)["uuid"] for page in pages for record in page.records]


def until(condition) -> None:
    """Wait for what has to come; a minute is for a machine that is busy."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


EVENTS = ["event-0", "event-1", "event-2"]


# ---- pages and links ----


def test_a_polling_run_follows_next_until_an_empty_page(okta):
    okta.append([event(number) for number in range(3, 2500)])
    pages = list(system_log(okta).pages(system_log(okta).polling_link(SINCE)))
    assert [len(page.records) for page in pages] == [1000, 1000, 500, 0]
    assert [page.is_last for page in pages] == [False, False, False, True]
    assert [page.is_short for page in pages] == [False, False, True, True]
    assert [page.link for page in pages[1:]] == [page.next_link for page in pages[:-1]]
    assert pages[-1].next_link == pages[-1].link


def test_a_bounded_run_ends_with_the_page_that_has_no_next(okta):
    okta.append([event(number) for number in range(3, 1500)])
    log = system_log(okta)
    pages = list(log.pages(log.bounded_link(SINCE, NOW - timedelta(hours=2) + timedelta(seconds=1200)), bounded=True))
    assert [(len(page.records), page.next_link is None, page.is_last) for page in pages] == [
        (1000, False, False),
        (200, True, True),
    ]


def test_links_ask_for_ascending_pages_of_a_thousand(okta):
    log = system_log(okta)
    uids(log)
    assert okta.requests[0].query == {
        "since": SINCE.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "sortOrder": "ASCENDING",
        "limit": "1000",
    }
    assert "until" in log.bounded_link(SINCE, NOW)


def test_records_are_the_bytes_that_okta_sent(okta):
    odd = b'{"uuid": "x",  "published":"2026-01-01T00:00:00Z", "actor": {"displayName": "\\ud800 \\u0000"}}'
    okta.answer_next(lambda request: replace(okta.answer(request), body=b"[" + odd + b"\n]"))
    log = system_log(okta)
    assert next(log.pages(log.polling_link(SINCE))).records == [odd]


def test_the_next_page_is_on_its_way_while_a_full_one_is_stored_and_never_more_than_one(okta):
    okta.append([event(number) for number in range(3, 2100)])
    log = system_log(okta)
    pages = log.pages(log.polling_link(SINCE))
    next(pages)
    until(lambda: len(okta.requests) == 2)  # sent without being asked for
    assert [len(page.records) for page in pages] == [1000, 100, 0]
    assert okta.max_in_flight == 1
    assert len(okta.requests) == 4


def test_a_stored_link_goes_over_the_wire_exactly_as_okta_gave_it(okta):
    query = "after=%2B+a%zz,b;c='d'&limit=1000&x=%E2%82%AC%2f"
    answer = okta_error(400, "E0000001", "no")
    okta.answer_next(
        lambda request: replace(
            okta.answer(request),
            headers=(("Link", f'<{okta.url}/api/v1/logs?{query}>; title="a, <b>; rel=prev"; rel="next"'),),
        ),
        answer,
    )
    with pytest.raises(OktaRefused):
        uids(system_log(okta))
    assert okta.requests[1].target == f"/api/v1/logs?{query}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        (["<https://a/self>; rel=self", '<https://a/n?b=1,2>; rel="next"'], "https://a/n?b=1,2"),
        (['<https://a/s>; rel="self", <https://a/n>; REL=next'], "https://a/n"),
        (['<https://a/n>; title="x; rel=prev, <https://evil>"; rel="prefetch next"'], "https://a/n"),
        (['<https://a/n>; rel="self"; rel="next"'], None),
        (['<https://a/n>; title="; rel=next"'], None),
        (["<https://a/n>; rel=nextish"], None),
        (["nonsense; rel=next", "<unclosed; rel=next"], None),
    ],
)
def test_the_next_link_is_found_as_rfc_8288_says(headers, expected):
    assert find_link(headers, "next") == expected


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/api/v1/logs?after=1",
        "http://acme.okta.com/api/v1/logs?after=1",
        "https://acme.okta.com:8443/api/v1/logs?after=1",
        "https://acme.okta.com@evil.example/api/v1/logs",
        "https://user@acme.okta.com/api/v1/logs",
        "https://@acme.okta.com/api/v1/logs",
        "https://acme.okta.com.evil.example/api/v1/logs",
        "https://acme.okta.com./api/v1/logs",
        "https://evil.example\\@acme.okta.com/api/v1/logs",
        "https://evil.example#@acme.okta.com/api/v1/logs",
        "https://acme.okta.com/api/v1/logs\r\nX-Evil: 1",
        "https://acme.okta.com/api/v1/logs?a=b c",
        "https://acme.okta.com/api/v1/logs/../users",
        "https://acme.okta.com/api/v1/users",
        "https://acme.okta.com/api/v1/%6cogs",
        "https://acmе.okta.com/api/v1/logs",
        "//acme.okta.com/api/v1/logs",
        "/api/v1/logs?after=1",
        "https://acme.okta.com:port/api/v1/logs",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_link_to_anywhere_but_the_log_of_this_origin_is_unsafe(link):
    with pytest.raises(UnsafeLink):
        check_link(link, "https://acme.okta.com")


@pytest.mark.parametrize("link", ["https://ACME.okta.com/api/v1/logs?after=1", "https://acme.okta.com:443/api/v1/logs"])
def test_one_origin_may_be_written_in_several_ways(link):
    assert check_link(link, "https://acme.okta.com").raw_path_qs == link.partition("com")[2].removeprefix(":443")


def test_nothing_is_sent_to_a_next_link_that_leaves_the_org(okta):
    with SimulatedOkta() as evil:
        foreign = (("Link", f'<{evil.url}/api/v1/logs?after=1>; rel="next"'),)
        okta.answer_next(lambda request: replace(okta.answer(request), headers=foreign))
        log = system_log(okta)
        pages = log.pages(log.polling_link(SINCE))
        page = next(pages)
        assert (len(page.records), page.next_link, page.is_last) == (3, None, False)
        with pytest.raises(UnsafeLink, match="nothing was sent"):
            next(pages)
        assert evil.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(okta, status):
    with SimulatedOkta() as evil:
        okta.answer_next(Answer(status, (("Location", f"{evil.url}/api/v1/logs?secret=1"),)))
        with pytest.raises(OktaError, match=r"redirects to 127\.0\.0\.1 ") as raised:
            uids(system_log(okta))
        assert "secret" not in str(raised.value)
        assert evil.requests == []


def circle(okta: SimulatedOkta, length: int, size: int = 1000) -> Callable[[Request], Answer]:
    """An Okta whose links to the next page lead around, over so many full pages."""

    def answer(request: Request) -> Answer:
        number = int(request.query.get("after", 0))
        following = f"{okta.url}/api/v1/logs?after={(number + 1) % length}"
        records = [event(number * size + n) for n in range(size)]
        return Answer(200, (("Link", f'<{following}>; rel="next"'),), json.dumps(records).encode())

    return answer


@pytest.mark.parametrize("bounded", [False, True], ids=["polling", "bounded"])
@pytest.mark.parametrize("size", [1, 1000], ids=["short", "full"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_links_is_asked_once_more_and_then_said_behind_its_last_page(okta, length, size, bounded):
    okta.intercept = circle(okta, length, size)
    pages, error = broken_run(okta, f"{okta.url}/api/v1/logs?after=0", bounded)
    assert "leads in a circle" in str(error)
    assert len(okta.requests) == length + 1
    assert [len(page.records) for page in pages] == [size] * length
    assert [page.next_link is None for page in pages] == [False] * (length - 1) + [True]
    assert not any(page.is_last for page in pages)


def broken_run(okta: SimulatedOkta, link: str, bounded: bool = False) -> tuple[list[Page], LostCursor]:
    """The pages of a run, and what it ends in."""
    pages = []
    try:
        for page in system_log(okta, backoff=0.01).pages(link, bounded=bounded):
            pages.append(page)
    except LostCursor as error:
        return pages, error
    raise AssertionError("the run did not break")


def test_a_link_that_leads_back_once_costs_one_more_request(okta):
    okta.append([event(number) for number in range(3, 2500)])
    okta.answer_next(lambda request: replace(okta.answer(request), headers=(("Link", f'<{request.url}>; rel="next"'),)))
    assert len(uids(system_log(okta, backoff=0.01))) == 2500
    assert len(okta.requests) == 5
    assert okta.requests[1].target == okta.requests[0].target


def test_empty_pages_that_lead_back_to_events_are_a_circle(okta):
    full, empty = (f"{okta.url}/api/v1/logs?after={name}" for name in ("full", "empty"))

    def answer(request: Request) -> Answer:
        is_full = "full" in request.target
        body = json.dumps([event(0)]).encode() if is_full else b"[]"
        return Answer(200, (("Link", f'<{empty if is_full else full}>; rel="next"'),), body)

    okta.intercept = answer
    pages, error = broken_run(okta, full)
    assert [len(page.records) for page in pages] == [1, 0]
    assert "leads in a circle" in str(error)


def test_empty_pages_that_lead_around_are_the_end(okta):
    okta.intercept = circle(okta, 3, size=0)
    log = system_log(okta)
    assert [page.is_last for page in log.pages(f"{okta.url}/api/v1/logs?after=0")] == [False, False, True]


def test_empty_pages_are_followed_until_next_is_the_page_itself(okta):
    def empty(request: Request) -> Answer:
        number = int(request.query.get("after", 0))
        this, following = (f"{okta.url}/api/v1/logs?after={n}" for n in (number, min(number + 1, 5)))
        return Answer(200, (("Link", f'<{this}>; rel="self"'), ("Link", f'<{following}>; rel="next"')), b"[]")

    okta.intercept = empty
    log = system_log(okta)
    pages = list(log.pages(log.polling_link(SINCE)))
    assert [page.is_last for page in pages] == [False] * 5 + [True]


def test_empty_pages_without_end_are_not_followed_for_ever(okta):
    link = (f'<{okta.url}/api/v1/logs?after={number}>; rel="next"' for number in count())
    okta.intercept = lambda _: Answer(200, (("Link", next(link)),), b"[]")
    log = system_log(okta)
    pages = list(log.pages(log.polling_link(SINCE)))
    assert [page.is_last for page in pages] == [False] * EMPTY_PAGES + [True]


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_a_page_says_when_it_was_given_by_oktas_clock(okta, skew):
    okta.clock = lambda: time.time() + skew
    log = system_log(okta)
    before = time.time()
    page = next(log.pages(log.polling_link(SINCE)))
    assert int(before * 1000) <= page.time - skew * 1000 <= time.time() * 1000 + 1000


def without_next(request: Request, okta: SimulatedOkta) -> Answer:
    regular = okta.answer(request)
    return replace(regular, headers=regular.without("Link", "next"))


def test_a_next_link_that_is_missing_once_costs_one_more_request(okta):
    okta.answer_next(lambda request: without_next(request, okta))
    assert uids(system_log(okta, backoff=0.01)) == EVENTS
    assert len(okta.requests) == 3


def test_a_short_page_that_never_has_a_next_link_ends_the_run(okta):
    okta.intercept = lambda request: without_next(request, okta)
    log = system_log(okta, backoff=0.01)
    pages = list(log.pages(log.polling_link(SINCE)))
    assert [(len(page.records), page.next_link, page.is_last) for page in pages] == [(3, None, True)]


def test_a_full_page_that_never_has_a_next_link_is_where_a_polling_run_breaks(okta):
    okta.append([event(number) for number in range(3, 1000)])
    okta.intercept = lambda request: without_next(request, okta)
    log = system_log(okta, backoff=0.01)
    (page,), error = broken_run(okta, log.polling_link(SINCE))
    assert (len(page.records), page.next_link, page.is_last) == (1000, None, False)
    assert "without a link" in str(error)
    bounded = list(log.pages(log.bounded_link(SINCE, NOW), bounded=True))
    assert [(len(page.records), page.next_link, page.is_last) for page in bounded] == [(1000, None, True)]


def test_an_empty_page_that_calls_a_foreign_address_its_own_is_no_end(okta):
    foreign = tuple(("Link", f'<https://evil.example/api/v1/logs?after=1>; rel="{name}"') for name in ("self", "next"))
    okta.intercept = lambda _: Answer(200, foreign, b"[]")
    with pytest.raises(UnsafeLink):
        uids(system_log(okta))


def test_a_compressed_body_is_read(okta):
    def compressed(request: Request) -> Answer:
        regular = okta.answer(request)
        return replace(
            regular, body=gzip.compress(regular.body), headers=(*regular.headers, ("Content-Encoding", "gzip"))
        )

    okta.answer_next(compressed)
    assert uids(system_log(okta)) == EVENTS
    assert okta.requests[0].headers["accept-encoding"] == "gzip"


# ---- authentication ----


def test_an_ssws_token_has_its_space_on_the_wire(okta):
    uids(system_log(okta))
    assert {request.headers["authorization"] for request in okta.requests} == {f"SSWS {okta.token}"}


def test_nothing_around_overrides_what_the_settings_say(okta, tmp_path, monkeypatch):
    (tmp_path / ".okta").mkdir()
    for path in (tmp_path / "okta.yaml", tmp_path / ".okta" / "okta.yaml"):
        path.write_text("okta: {client: {orgUrl: 'https://evil.example', token: wrong, authorizationMode: Bearer}}")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password wrong\n")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / "netrc"),
        "OKTA_CLIENT_TOKEN": "wrong",
        "OKTA_CLIENT_ORGURL": "https://evil.example",
        "OKTA_CLIENT_AUTHORIZATIONMODE": "Bearer",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert uids(system_log(okta)) == EVENTS


def test_a_rotated_token_file_is_taken_up_at_the_next_poll(okta, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(okta.token + "\n")
    log = SystemLog(OrgSettings(name="acme", org_url=okta.url, api_token_file=path), 0.5, threading.Event())
    assert uids(log) == EVENTS
    okta.token = "a-new-one"
    path.write_text("a-new-one")
    assert uids(log) == EVENTS


def test_a_token_that_cannot_be_one_is_a_settings_error(okta):
    with pytest.raises(SettingsError) as raised:
        uids(system_log(okta, token="00abc\nX-Evil: 1"))
    assert "00abc" not in str(raised.value)


def test_a_wrong_token_is_refused_in_one_line_that_says_what_to_do(okta):
    with pytest.raises(OktaRefused) as raised:
        uids(system_log(okta, token="00wrong"))
    message = str(raised.value)
    assert raised.value.status == 401
    assert message == (
        f"Okta refused the API token for {okta.url} (401 E0000011: Invalid token provided). "
        "Set POLLER_OKTA_API_TOKEN to one from an admin who can read the System Log."
    )
    assert len(okta.requests) == 1


def test_a_token_without_permission_is_told_apart(okta):
    with pytest.raises(OktaRefused, match=r"403 E0000006.*POLLER_OKTA_API_TOKEN") as raised:
        uids(system_log(okta, token=okta.token_without_permission))
    assert raised.value.status == 403


def test_what_okta_says_cannot_act_on_a_terminal(okta):
    okta.answer_next(okta_error(400, "E1\x1b[31m", "line\nbreak\u202e" + "x" * 5000))
    with pytest.raises(OktaRefused) as raised:
        uids(system_log(okta))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


KEYS = key_pair()


def oauth_log(okta: SimulatedOkta, private_key: str = KEYS[0], key_id: str | None = None) -> SystemLog:
    org = OrgSettings(name="acme", org_url=okta.url, client_id="0oa1", private_key=private_key, key_id=key_id)
    return SystemLog(org, 0.5, threading.Event())


@pytest.fixture(params=["bearer", "dpop", "dpop with nonces on the api"])
def app(request) -> OAuthApp:
    dpop = request.param != "bearer"
    return OAuthApp("0oa1", KEYS[1], require_dpop=dpop, nonce_on_api="nonces" in request.param)


def test_oauth_works_with_and_without_dpop_and_nobody_has_to_say_which(app):
    with SimulatedOkta([event(number) for number in range(3)], oauth=app) as okta:
        log = oauth_log(okta)
        assert uids(log) == EVENTS
        token_requests = [request for request in okta.requests if request.method == "POST"]
        assert uids(log) == EVENTS  # the access token serves again
        assert [request for request in okta.requests if request.method == "POST"] == token_requests
        scheme = "DPoP" if app.require_dpop else "Bearer"
        assert okta.requests[-1].headers["authorization"].startswith(f"{scheme} ")
        assert ("(DPoP)" in log.check().credentials) == app.require_dpop


def test_a_revoked_access_token_and_an_old_nonce_are_renewed(app):
    with SimulatedOkta([event(number) for number in range(3)], oauth=app) as okta:
        log = oauth_log(okta)
        assert uids(log) == EVENTS
        app.revoke()
        assert uids(log) == EVENTS
        app.renew_nonce()
        assert uids(log) == EVENTS


def test_access_tokens_that_expire_at_once_do_not_stop_it():
    app = OAuthApp("0oa1", KEYS[1], lifetime=1)
    with SimulatedOkta([event(number) for number in range(3)], oauth=app) as okta:
        assert uids(oauth_log(okta)) == EVENTS


def test_a_token_endpoint_in_trouble_is_asked_again():
    troubles = [Answer(503), too_many_requests(0)]
    with SimulatedOkta([event(0)], oauth=OAuthApp("0oa1", KEYS[1])) as okta:
        okta.intercept = lambda request: troubles.pop() if request.method == "POST" and troubles else None
        assert uids(oauth_log(okta)) == ["event-0"]
        assert [request.method for request in okta.requests] == ["POST", "POST", "POST", "GET", "GET"]


def test_a_token_endpoint_need_not_call_its_answers_json():
    def renamed(request: Request) -> Answer | None:
        if request.method != "POST":
            return None
        answer = okta.answer(request)
        return replace(answer, headers=answer.without("Content-Type"))

    with SimulatedOkta([event(0)], oauth=OAuthApp("0oa1", KEYS[1], require_dpop=True)) as okta:
        okta.intercept = renamed
        assert uids(oauth_log(okta)) == ["event-0"]


def test_the_private_key_may_be_a_jwk_that_names_its_id():
    from jwcrypto.jwk import JWK

    jwk = json.loads(JWK.from_pem(KEYS[0].encode()).export_private())
    jwk |= {"kid": "key-1", "key_ops": ["sign"], "ext": True}
    with SimulatedOkta([event(0)], oauth=OAuthApp("0oa1", KEYS[1], key_id="key-1")) as okta:
        assert uids(oauth_log(okta, json.dumps(jwk, indent=2))) == ["event-0"]
        assert uids(oauth_log(okta, KEYS[0].replace("\n", "\\n"), key_id="key-1")) == ["event-0"]


@pytest.mark.parametrize("key", ["nonsense", "{}", '{"kty": "RSA"}', KEYS[1], KEYS[0][:200], '["a"]'])
def test_a_private_key_that_is_none_is_a_settings_error_that_does_not_show_it(key):
    with SimulatedOkta(oauth=OAuthApp("0oa1", KEYS[1])) as okta:
        for _ in range(2):
            with pytest.raises(SettingsError, match="POLLER_OKTA_PRIVATE_KEY_FILE") as raised:
                uids(oauth_log(okta, key))
            assert key not in str(raised.value)
        assert okta.requests == []


def test_a_client_that_okta_refuses_is_told_what_to_check():
    stranger, poor = OAuthApp("0oa1", key_pair()[1]), OAuthApp("0oa1", KEYS[1], scopes=frozenset())
    refused = pytest.raises(OktaRefused, match=r"401 invalid_client.*POLLER_OKTA_CLIENT_ID")
    with SimulatedOkta(oauth=stranger) as okta, refused:
        uids(oauth_log(okta))
    refused = pytest.raises(OktaRefused, match=r"invalid_scope.*okta\.logs\.read")
    with SimulatedOkta(oauth=poor) as okta, refused:
        uids(oauth_log(okta))


# ---- limits, failures, and being stopped ----


def test_a_rate_limit_is_waited_for_by_oktas_clock_not_this_machines(okta):
    okta.clock = lambda: time.time() - 3600
    reset = int(okta.clock()) + 2
    okta.answer_next(too_many_requests(reset))
    assert uids(system_log(okta)) == EVENTS
    assert okta.requests[1].time - 3600 >= reset


def test_it_keeps_to_its_share_of_the_limit():
    with SimulatedOkta([event(number) for number in range(1500)], rate_limit=4, rate_window=2) as okta:
        assert len(uids(system_log(okta))) == 1500
        assert okta.requests[2].time - okta.requests[0].time >= 2  # two of four in a window


def test_a_limit_of_one_request_still_makes_progress():
    with SimulatedOkta([event(0)], rate_limit=1, rate_window=1) as okta:
        assert uids(system_log(okta)) == ["event-0"]


@pytest.mark.parametrize(
    "answer",
    [
        too_many_requests(0),
        too_many_requests(2**40),
        too_many_requests(time.time(), limit=0),
        replace(too_many_requests(0), headers=(("X-Rate-Limit-Reset", "soon"), ("X-Rate-Limit-Limit", "-1"))),
        Answer(429),
        Answer(500, body=b'{"errorCode": "E0000009"}'),
        Answer(503, body=b"<html>"),
        Answer(200, body=b"<html>captive portal</html>"),
        Answer(200, body=b'[{"uuid": "a"}, {"uu'),
        Answer(200, body=b'[{"uuid": "a"}]', cut=5),
        Answer(200, body=b'[{"uuid": "a"}]', cut=5, reset=True),
        Answer(200, (("Content-Encoding", "gzip"),), body=b"not gzip"),
        Answer(200, (("Content-Length", "nonsense"),), body=b"[]"),
    ],
    ids=[
        "429 past",
        "429 absurd",
        "429 concurrency",
        "429 unreadable",
        "429 bare",
        "500",
        "503",
        "html",
        "cut json",
        "cut",
        "reset",
        "not gzip",
        "bad length",
    ],
)
def test_a_passing_failure_costs_nothing_but_a_second_request(okta, answer):
    okta.answer_next(answer)
    assert uids(system_log(okta, backoff=0.01)) == EVENTS
    assert len(okta.requests) == 3


def test_a_lasting_failure_ends_in_one_line(okta):
    okta.intercept = lambda _: Answer(200, body=b"<html>captive portal</html>")
    with pytest.raises(MalformedPage) as raised:
        uids(system_log(okta, backoff=0.01))
    assert str(raised.value).isprintable()
    assert okta.url in str(raised.value)
    assert len(okta.requests) == ATTEMPTS


def test_the_wait_before_a_further_request_grows_from_half_a_second_to_sixteen_times_as_much(okta):
    okta.intercept = lambda _: Answer(503)
    with pytest.raises(OktaError, match="503"):
        uids(system_log(okta, backoff=0.02))
    times = [request.time for request in okta.requests]
    waits = [after - before for before, after in pairwise(times)]
    assert all(wait >= 0.02 * 2**number for number, wait in enumerate(waits))
    assert (BACKOFF, LONGEST_BACKOFF) == (0.5, 16)


def test_no_request_takes_five_minutes_of_its_own():
    longest_wait = (LONGEST_BACKOFF + JITTER) * BACKOFF
    assert PATIENCE + longest_wait + max(ANSWER_SECONDS, SIGNED_SECONDS) < 300
    assert MAX_WAIT <= 300


def test_a_request_that_is_limited_without_end_is_given_up(okta):
    okta.intercept = lambda _: too_many_requests(0)
    with pytest.raises(OktaError, match="still limits requests") as raised:
        uids(system_log(okta, backoff=0.001))
    assert raised.value.kind == "rate_limit"
    assert len(okta.requests) == LIMITED_ATTEMPTS


def test_a_body_that_drips_for_ever_is_given_up_each_time_it_is_asked_for(okta):
    okta.intercept = lambda _: Answer(body=b"[" + b" " * 3000, pieces=3000, pause=0.05)
    with pytest.raises(OktaError, match="took too long") as raised:
        uids(system_log(okta, backoff=0.01, answer_seconds=0.3))
    assert raised.value.kind == "timeout"
    assert len(okta.requests) == ATTEMPTS


def test_a_small_body_that_unpacks_to_a_huge_one_is_given_up(okta):
    bomb = gzip.compress(b"[" + b" " * MAX_BODY, compresslevel=1)
    okta.answer_next(Answer(200, (("Content-Encoding", "gzip"),), bomb))
    with pytest.raises(OktaError, match="larger than any page") as raised:
        uids(system_log(okta))
    assert raised.value.kind == "too_large"
    assert len(okta.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (too_many_requests(0), "rate_limit"),
        (too_many_requests(0, limit=0), "concurrency_limit"),
        (Answer(500), "server_error"),
        (Answer(408), "timeout"),
        (Answer(delay=5), "timeout"),
        (Answer(200, body=b"[]", cut=1), "connection"),
        (Answer(200, body=b"{}"), "malformed_page"),
        (Answer(204), "malformed_page"),
        (Answer(302, (("Location", "https://elsewhere.example"),)), "redirect"),
        (Answer(200, (("Link", '<http://x.example>; rel="next"'),), b"[]"), "unsafe_link"),
        (Answer(200, body=json.dumps([event(0)] * 1000).encode()), "lost_cursor"),
        (okta_error(400, "E0000001", "no"), "refused"),
        (okta_error(401, "E0000011", "no"), "credentials"),
        (okta_error(403, "E0000006", "no"), "credentials"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.status),
)
def test_each_failure_is_one_count_of_its_kind_and_one_line_or_the_error_that_is_raised(okta, answer, kind):
    def failures() -> float:
        return metrics.REGISTRY.get_sample_value("poller_request_failures_total", {"org": "acme", "kind": kind}) or 0

    before = failures()
    okta.answer_next(answer)
    raised: list[OktaError] = []
    with capture_logs() as lines:
        try:
            uids(system_log(okta, backoff=0.01, answer_seconds=1))
        except OktaError as error:
            raised.append(error)
    failed = [line for line in lines if line["event"] == "request.failed"]
    assert failures() == before + 1
    assert len(failed) + len(raised) == 1
    for line in failed:
        assert (line["org"], line["kind"], line["log_level"]) == ("acme", kind, "warning")
        assert okta.url in line["reason"]
        assert line["wait_seconds"] >= 0
    for error in raised:
        assert error.kind == kind
        assert okta.url in str(error)


def test_the_limit_that_okta_advertises_is_measured(okta):
    uids(system_log(okta))
    limit, remaining = (
        metrics.REGISTRY.get_sample_value(f"poller_rate_limit{name}", {"org": "acme"}) for name in ("", "_remaining")
    )
    assert (limit, remaining) == (120, 118)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "\x1b[31m"])
def test_a_body_packed_as_nobody_asked_for_is_no_page(okta, encoding):
    okta.intercept = lambda _: Answer(200, (("Content-Encoding", encoding),), gzip.compress(b"[]"))
    with pytest.raises(MalformedPage, match="only gzip was asked for") as raised:
        uids(system_log(okta, backoff=0.001))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        too_many_requests(time.time() + 250),
        Answer(delay=300),
        Answer(body=b"[" + b" " * 300, pieces=300, pause=1),
    ],
    ids=["in a wait", "before an answer", "in a dripping body"],
)
def test_stopping_ends_whatever_it_waits_for(okta, answer):
    okta.answer_next(answer)
    stop = threading.Event()
    raised: list[BaseException] = []

    def fetch() -> None:
        try:
            uids(system_log(okta, stop=stop))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    until(lambda: okta.requests)
    time.sleep(0.2)  # let it begin to wait; stopped earlier, it would raise the same
    stop.set()
    thread.join(timeout=30)
    assert [type(error) for error in raised] == [Stopped]
    assert len(okta.requests) == 1


@pytest.mark.parametrize("also", [(), ("users",), ("users", "apps", "admin roles")])
def test_check_tells_what_an_api_token_can_read_besides(also):
    with SimulatedOkta(admin_may_read=frozenset(also)) as okta:
        assert system_log(okta).check().can_also == also
        assert {request.method for request in okta.requests} == {"GET"}


@pytest.mark.parametrize(("status", "can_also"), [(401, ()), (403, ()), (404, ()), (405, ()), (429, None), (500, None)])
def test_an_okta_that_tells_nothing_about_a_token_is_no_fault(okta, status, can_also):
    okta.intercept = lambda request: None if request.path == "/api/v1/logs" else Answer(status)
    assert system_log(okta).check().can_also == can_also


def test_what_a_token_can_read_besides_is_not_known_where_okta_leads_elsewhere(okta):
    with SimulatedOkta() as evil:
        elsewhere = Answer(302, (("Location", f"{evil.url}/api/v1/users"),))
        okta.intercept = lambda request: None if request.path == "/api/v1/logs" else elsewhere
        assert system_log(okta).check().can_also is None
        assert evil.requests == []


def test_check_tells_which_scopes_an_access_token_was_given_beyond_what_was_asked_for(app):
    with SimulatedOkta(oauth=app) as okta:
        log = oauth_log(okta)
        assert (log.check().can_also, log.check().can_also) == ((), ())
        app.scopes, app.grants_all = frozenset({"okta.logs.read", "okta.users.manage", "okta.apps.read"}), True
        assert log.check().can_also == ()  # this one's token is the former
        assert oauth_log(okta).check().can_also == ("okta.apps.read", "okta.users.manage")
        assert all(request.path in ("/api/v1/logs", "/oauth2/v1/token") for request in okta.requests)


def test_check_asks_for_the_log_once_and_tells_what_doctor_wants_to_know(okta):
    okta.clock = lambda: time.time() - 600
    check = system_log(okta).check()
    assert check.credentials == "API token"
    assert check.clock_skew is not None
    assert 598 <= check.clock_skew.total_seconds() <= 602
    assert (check.rate_limit, check.rate_remaining) == (120, 119)
    okta.answer_next(Answer(503))
    with pytest.raises(OktaError, match="503"):
        system_log(okta).check()
    assert [request.path for request in okta.requests].count("/api/v1/logs") == 2
