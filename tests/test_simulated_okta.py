"""The simulated Okta as a client meets it, over real HTTP: what OKTA.md says of the System Log API."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from dataclasses import replace
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from urllib.parse import quote, urlencode, urlsplit

import jwt
import pytest

from poller.demo.okta import Answer, SimulatedOkta, okta_error, too_many_requests
from poller.demo.okta_log import DAY, iso, milliseconds
from poller.demo.okta_oauth import ASSERTION_TYPE, LOGS_SCOPE, OAuthApp, key_pair

NOW = milliseconds("2026-11-24T12:00:00Z")
MINUTE = 60_000


def log_event(number, published):
    return {"uuid": f"event-{number}", "published": iso(published), "eventType": "user.session.start"}


def events(count, start=NOW - 60 * MINUTE):
    return [log_event(n, start + n * 1000) for n in range(count)]


class Clock:
    """An org's clock that a test moves."""

    def __init__(self):
        self.now = NOW / 1000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def okta(clock):
    with SimulatedOkta(clock=clock, rate_limit=1000) as org:
        yield org


def ask(okta, target, *, token=None, method="GET", body=None, timeout=10, **headers):
    """One request. Link headers are read as `links`, a JSON body as `json`."""
    if "://" in target:
        target = target.removeprefix(okta.url)
    elif not target.startswith("/"):
        target = f"/api/v1/logs?{target}"
    authorization = f"SSWS {token or okta.token}"
    sent = {"Authorization": authorization} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(okta.url).port, timeout=timeout)
    try:
        connection.request(method, target, body, {name: value for name, value in sent.items() if value is not None})
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    links = dict(
        re.fullmatch(r'<(.*)>; rel="(\w+)"', link).groups()[::-1] for link in response.headers.get_all("Link", [])
    )
    return SimpleNamespace(
        status=response.status,
        headers=response.headers,
        links=links,
        body=raw,
        json=json.loads(raw) if raw.startswith((b"[", b"{")) else None,
    )


def uids(answer):
    return [int(event["uuid"].removeprefix("event-")) for event in answer.json]


def since(moment):
    return f"since={iso(moment)}"


def refused(answer):
    return answer.status, answer.json["errorCode"]


# Polling requests: no `until`, ascending.


def test_polling_pages_in_the_order_of_persistence_until_an_empty_page_whose_next_link_is_its_own(okta):
    okta.append(events(25))
    pages = [ask(okta, f"{since(NOW - DAY)}&limit=10&sortOrder=ASCENDING")]
    while pages[-1].json:
        pages.append(ask(okta, pages[-1].links["next"]))
    assert [len(page.json) for page in pages] == [10, 10, 5, 0]
    assert [n for page in pages for n in uids(page)] == list(range(25))
    assert pages[-1].links["next"] == pages[-1].links["self"]
    assert all(page.links["next"] != page.links["self"] for page in pages[:-1])


def test_links_are_two_headers_with_absolute_addresses_and_a_cursor_beside_since(okta):
    okta.append(events(3))
    answer = ask(okta, f"{since(NOW - DAY)}&limit=2")
    assert len(answer.headers.get_all("Link")) == 2
    assert answer.links["self"] == f"{okta.url}/api/v1/logs?{since(NOW - DAY)}&limit=2"
    assert re.search(r"[?&]after=\d+_\d+(&|$)", answer.links["next"])
    assert "since=" in answer.links["next"]
    assert answer.links["next"].startswith(f"{okta.url}/api/v1/logs?")


def test_a_caught_up_cursor_delivers_what_comes_later_and_each_event_once(okta):
    okta.append(events(2))
    caught_up = ask(okta, ask(okta, since(NOW - DAY)).links["next"])
    assert caught_up.json == []
    okta.append([log_event(2, NOW)])
    assert uids(ask(okta, caught_up.links["next"])) == [2]


def test_a_late_event_comes_when_it_is_persisted_however_old_it_is(okta):
    okta.append(events(2))
    caught_up = ask(okta, since(NOW - DAY))
    okta.append([log_event(99, NOW - 5 * DAY), log_event(2, NOW)])
    assert uids(ask(okta, caught_up.links["next"])) == [99, 2]


def test_since_of_a_polling_request_is_a_time_of_persistence(okta):
    okta.append([log_event(1, NOW - 3 * DAY), log_event(2, NOW - 10 * MINUTE), log_event(3, NOW - 2 * DAY)])
    assert uids(ask(okta, since(NOW - DAY))) == [2, 3]


def test_a_cursor_may_be_asked_for_with_its_characters_escaped_in_another_way(okta):
    okta.append(events(2))
    following = ask(okta, f"since={quote(iso(NOW - DAY))}&limit=1").links["next"]
    assert uids(ask(okta, following.replace("%3A", ":"))) == [1]


def test_a_cursor_is_good_for_ever(okta, clock):
    okta.append(events(1))
    following = ask(okta, since(NOW - 170 * DAY)).links["next"]
    clock.now += 200 * 86400
    okta.append([log_event(1, NOW + 199 * DAY)])
    assert uids(ask(okta, following)) == [1]


# Bounded requests: `since` and `until`.


def test_a_bounded_request_is_ordered_and_filtered_by_published_and_its_last_page_has_no_next(okta):
    okta.append([*events(4), log_event(50, NOW - 60 * MINUTE - 1), log_event(60, NOW - 60 * MINUTE + 1)])
    first = ask(okta, f"{since(NOW - 60 * MINUTE)}&until={iso(NOW)}&limit=3&sortOrder=ASCENDING")
    second = ask(okta, first.links["next"])
    assert uids(first) + uids(second) == [0, 60, 1, 2, 3]
    assert "next" not in second.links
    assert second.links["self"] == first.links["next"]


def test_the_end_of_a_bounded_request_lies_outside_and_its_beginning_inside(okta):
    okta.append(events(5, NOW - 5000))
    assert uids(ask(okta, f"{since(NOW - 4000)}&until={iso(NOW - 2000)}")) == [1, 2]


def test_a_bounded_request_may_be_descending(okta):
    okta.append(events(5))
    first = ask(okta, f"{since(NOW - DAY)}&until={iso(NOW)}&limit=2&sortOrder=DESCENDING")
    second = ask(okta, first.links["next"])
    third = ask(okta, second.links["next"])
    assert [uids(page) for page in (first, second, third)] == [[4, 3], [2, 1], [0]]
    assert "next" not in third.links


def test_an_event_that_comes_late_between_two_pages_repeats_and_skips_no_other(okta):
    okta.append(events(4))
    first = ask(okta, f"{since(NOW - DAY)}&until={iso(NOW)}&limit=2")
    okta.append([log_event(9, NOW - 2 * 60 * MINUTE)])
    assert uids(ask(okta, first.links["next"])) == [2, 3]


def test_an_empty_range_has_no_next(okta):
    answer = ask(okta, f"{since(NOW - DAY)}&until={iso(NOW)}")
    assert (answer.json, list(answer.links)) == ([], ["self"])


# Limits of what may be asked.


def test_a_page_holds_a_hundred_events_unless_asked_and_a_thousand_at_most(okta):
    okta.append(events(1200))
    assert len(ask(okta, since(NOW - DAY)).json) == 100
    assert len(ask(okta, f"{since(NOW - DAY)}&limit=1000").json) == 1000
    assert ask(okta, f"{since(NOW - DAY)}&limit=0").json == []


def test_a_page_can_be_held_smaller_than_it_is_asked_for(clock):
    with SimulatedOkta(events(5), clock=clock, page_limit=2) as okta:
        pages = [ask(okta, f"{since(NOW - DAY)}&limit=1000")]
        while pages[-1].json:
            pages.append(ask(okta, pages[-1].links["next"]))
        assert [uids(page) for page in pages] == [[0, 1], [2, 3], [4], []]


@pytest.mark.parametrize(
    "query",
    [
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        f"limit={'9' * 5000}",
        "since=yesterday",
        "until=soon",
        "sortOrder=UPWARDS",
        "after=somewhere",
        "q=push",
        f"since={iso(NOW)}&until={iso(NOW - MINUTE)}",
        f"since={iso(NOW - DAY)}&after=1795521600000_1",
    ],
)
def test_a_request_that_makes_no_sense_is_refused(okta, query):
    assert refused(ask(okta, query)) == (400, "E0000001")


def test_since_more_than_180_days_back_is_refused_and_events_of_more_than_90_are_not_returned(okta):
    okta.append([log_event(1, NOW - 91 * DAY), log_event(2, NOW - 89 * DAY)])
    assert refused(ask(okta, since(NOW - 181 * DAY))) == (400, "E0000053")
    assert uids(ask(okta, since(NOW - 179 * DAY))) == [2]
    assert uids(ask(okta, f"{since(NOW - 179 * DAY)}&until={iso(NOW)}")) == [2]


def test_other_paths_and_methods_are_refused(okta):
    assert refused(ask(okta, "/api/v1/groups")) == (404, "E0000007")
    assert refused(ask(okta, "limit=1", method="POST", body="")) == (405, "E0000022")


# Tokens.


def test_only_the_exact_token_after_ssws_and_a_space_is_let_in(okta):
    for authorization in (f"SSWS{okta.token}", f"SSWS {okta.token}x", f"SSWS  {okta.token}", f"Bearer {okta.token}"):
        assert refused(ask(okta, "limit=1", Authorization=authorization)) == (401, "E0000011")
    assert refused(ask(okta, "limit=1", Authorization=None))[0] == 401
    assert ask(okta, "limit=1").status == 200


def test_a_token_of_an_admin_who_may_not_read_the_log_is_forbidden(okta):
    assert refused(ask(okta, "limit=1", token=okta.token_without_permission)) == (403, "E0000006")


def test_what_else_a_token_opens_depends_on_the_admin_behind_it(clock):
    with SimulatedOkta(clock=clock, admin_may_read=frozenset({"users"})) as okta:
        assert ask(okta, "/api/v1/users?limit=1").json == []
        assert refused(ask(okta, "/api/v1/apps?limit=1")) == (403, "E0000006")
        assert refused(ask(okta, "/api/v1/iam/assignees/users?limit=1")) == (403, "E0000006")
        assert refused(ask(okta, "/api/v1/users?limit=1", token="none")) == (401, "E0000011")


def test_an_error_has_oktas_form(okta):
    assert set(ask(okta, "limit=x").json) == {"errorCode", "errorSummary", "errorLink", "errorId", "errorCauses"}


# Rate limits.


def test_every_answer_says_how_much_of_the_limit_remains_and_when_it_is_renewed(clock):
    with SimulatedOkta(clock=clock, rate_limit=3) as okta:
        answers = [ask(okta, "limit=1"), ask(okta, "limit=x"), ask(okta, "limit=1", token="none")]
        assert [answer.headers["X-Rate-Limit-Remaining"] for answer in answers] == ["2", "1", "0"]
        assert {answer.headers["X-Rate-Limit-Limit"] for answer in answers} == {"3"}
        assert {int(answer.headers["X-Rate-Limit-Reset"]) for answer in answers} == {NOW // 1000 + 60}
        used_up = ask(okta, "limit=1")
        assert refused(used_up) == (429, "E0000047")
        assert (used_up.headers["X-Rate-Limit-Limit"], used_up.headers["X-Rate-Limit-Remaining"]) == ("3", "0")
        clock.now += 60
        assert ask(okta, "limit=1").headers["X-Rate-Limit-Remaining"] == "2"


def test_date_and_reset_are_those_of_the_orgs_own_clock(okta, clock):
    clock.now = NOW / 1000 - 900
    answer = ask(okta, "limit=1")
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == clock.now
    assert int(answer.headers["X-Rate-Limit-Reset"]) == clock.now + 60


def test_too_many_requests_at_once_are_refused_with_a_limit_of_zero(clock):
    with SimulatedOkta(clock=clock, concurrency=1) as okta:
        entered, go_on = threading.Event(), threading.Event()

        def hold(_request):
            entered.set()
            go_on.wait(10)

        okta.answer_next(hold)
        first = threading.Thread(target=ask, args=(okta, "limit=1"))
        first.start()
        assert entered.wait(10)
        second = ask(okta, "limit=1")
        go_on.set()
        first.join()
        assert refused(second) == (429, "E0000047")
        assert (second.headers["X-Rate-Limit-Limit"], second.headers["X-Rate-Limit-Remaining"]) == ("0", "0")
        assert okta.max_in_flight == 2


# Misbehaviour on demand.


def test_scripted_answers_come_in_turn_and_then_the_regular_ones(okta, clock):
    okta.append(events(1))
    okta.answer_next(too_many_requests(clock() + 5), okta_error(500, "E0000009", "Internal Server Error"), Answer(503))
    answers = [ask(okta, "limit=1") for _ in range(4)]
    assert [answer.status for answer in answers] == [429, 500, 503, 200]
    assert int(answers[0].headers["X-Rate-Limit-Reset"]) == NOW // 1000 + 5
    assert "X-Rate-Limit-Reset" not in answers[2].headers


def test_an_answer_can_be_the_regular_one_with_something_wrong(okta):
    okta.append(events(2))
    okta.answer_next(
        lambda request: replace(okta.answer(request), headers=okta.answer(request).without("Link", "next")),
        lambda request: replace(okta.answer(request), body=okta.answer(request).body[:-1]),
        Answer(302, (("Location", "http://elsewhere.example/api/v1/logs"),)),
    )
    assert list(ask(okta, since(NOW - DAY)).links) == ["self"]
    with pytest.raises(json.JSONDecodeError):
        ask(okta, since(NOW - DAY))
    assert ask(okta, since(NOW - DAY)).headers["Location"].startswith("http://elsewhere.example")


def test_a_body_can_be_cut_off_or_the_connection_reset_within_it(okta):
    okta.append(events(500))
    okta.answer_next(
        lambda request: replace(okta.answer(request), cut=100),
        lambda request: replace(okta.answer(request), cut=100, reset=True),
    )
    with pytest.raises(http.client.IncompleteRead):
        ask(okta, since(NOW - DAY))
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(okta, since(NOW - DAY))
    assert ask(okta, since(NOW - DAY)).status == 200


def test_a_length_can_be_a_lie(okta):
    okta.answer_next(Answer(200, (("Content-Length", "50"),), b"[]"))
    with pytest.raises(http.client.IncompleteRead):
        ask(okta, "limit=1")


@pytest.mark.parametrize("slow", [{"delay": 60}, {"pieces": 4, "pause": 60}], ids=["late", "in pieces"])
def test_an_answer_can_be_slower_than_its_reader_is_patient(okta, slow):
    okta.append(events(3))
    okta.answer_next(lambda request: replace(okta.answer(request), **slow))
    with pytest.raises(TimeoutError):
        ask(okta, since(NOW - DAY), timeout=0.2)
    assert uids(ask(okta, since(NOW - DAY))) == [0, 1, 2]


def test_a_body_in_pieces_is_whole_in_the_end(okta):
    okta.append(events(3))
    okta.answer_next(lambda request: replace(okta.answer(request), pieces=7))
    assert uids(ask(okta, since(NOW - DAY))) == [0, 1, 2]


def test_interception_sees_every_request_and_comes_before_the_script(okta):
    okta.intercept = lambda request: Answer(418) if "after" in request.query else None
    okta.answer_next(Answer(503))
    assert ask(okta, "after=1_1").status == 418
    okta.append(events(1))
    assert ask(okta, "limit=1").status == 200


def test_requests_are_on_record(okta):
    ask(okta, f"{since(NOW - DAY)}&limit=7", X_Trace="one")
    (request,) = okta.requests
    assert (request.method, request.path) == ("GET", "/api/v1/logs")
    assert request.query == {"since": iso(NOW - DAY), "limit": "7"}
    assert (request.headers["x-trace"], request.in_flight) == ("one", 1)
    assert request.headers["authorization"] == f"SSWS {okta.token}"


def test_one_connection_serves_many_requests(okta):
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(okta.url).port, timeout=10)
    ports = set()
    for _ in range(3):
        connection.request("GET", "/api/v1/logs?limit=1", headers={"Authorization": f"SSWS {okta.token}"})
        connection.getresponse().read()
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


def test_it_can_go_away_and_come_back_at_the_same_address_with_the_same_log(okta):
    okta.append(events(1))
    address = okta.url
    okta.stop()
    with pytest.raises(ConnectionError):
        ask(okta, since(NOW - DAY))
    okta.start()
    assert okta.url == address
    assert uids(ask(okta, since(NOW - DAY))) == [0]


def test_bytes_are_served_as_they_are_even_if_they_are_no_event(okta):
    broken = [b'{"uuid":"a\\ud800","published":"2026-11-24T11:00:00Z"}', b'"text"', b'{"published": 7}']
    okta.append(broken)
    assert ask(okta, since(NOW - DAY)).body == b"[" + b",".join(broken) + b"]"


# OAuth: client credentials with a private-key JWT.

KEYS = key_pair()
OTHER_KEYS = key_pair()


def app_of(**settings):
    return OAuthApp("0oaService", KEYS[1], **settings)


@pytest.fixture
def service(clock):
    with SimulatedOkta(clock=clock, oauth=app_of()) as org:
        yield org


def assertion(okta, key=KEYS[0], **changed):
    claims = {
        "iss": "0oaService",
        "sub": "0oaService",
        "aud": f"{okta.url}/oauth2/v1/token",
        "exp": int(okta.clock()) + 300,
        "jti": str(uuid.uuid4()),
    } | changed
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, "RS256")


def get_token(okta, proof=None, token_assertion=None, **changed):
    form = {
        "grant_type": "client_credentials",
        "scope": LOGS_SCOPE,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": token_assertion or assertion(okta),
    } | changed
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Authorization": None, "DPoP": proof}
    return ask(okta, "/oauth2/v1/token", method="POST", body=urlencode(form), **headers)


def test_a_signed_assertion_gets_a_bearer_token_that_opens_the_log(service):
    answer = get_token(service)
    assert (answer.status, answer.json["token_type"], answer.json["scope"]) == (200, "Bearer", LOGS_SCOPE)
    assert ask(service, "limit=1", Authorization=f"Bearer {answer.json['access_token']}").status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": OTHER_KEYS[0]},
        {"iss": "0oaOther"},
        {"sub": "0oaOther"},
        {"aud": "https://elsewhere.example/oauth2/v1/token"},
        {"exp": NOW // 1000},
        {"exp": NOW // 1000 + 7200},
        {"exp": None},
        {"jti": None},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_an_assertion_with_anything_wrong_is_refused(service, wrong):
    answer = get_token(service, token_assertion=assertion(service, **wrong))
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")


def test_an_assertion_is_good_once_even_when_the_request_was_refused_for_its_scope(service):
    once = assertion(service)
    assert get_token(service, token_assertion=once, scope="okta.users.manage").json["error"] == "invalid_scope"
    assert get_token(service, token_assertion=once).json["error"] == "invalid_client"


def test_a_key_given_as_a_jwk_and_its_id_are_checked(clock):
    public = jwt.algorithms.RSAAlgorithm.to_jwk(jwt.PyJWK.from_dict(_jwk(KEYS[1])).key)
    with SimulatedOkta(clock=clock, oauth=OAuthApp("0oaService", public, key_id="k1")) as okta:
        assert get_token(okta).json["error"] == "invalid_client"
        named = jwt.encode(
            jwt.decode(assertion(okta), options={"verify_signature": False}), KEYS[0], "RS256", headers={"kid": "k1"}
        )
        assert get_token(okta, token_assertion=named).status == 200


def test_access_tokens_run_out_and_can_be_revoked(service, clock):
    first, second = (f"Bearer {get_token(service).json['access_token']}" for _ in range(2))
    clock.now += 3599
    assert ask(service, "limit=1", Authorization=first).status == 200
    clock.now += 1
    assert refused(ask(service, "limit=1", Authorization=second)) == (401, "E0000011")
    third = f"Bearer {get_token(service).json['access_token']}"
    service.oauth.revoke()
    assert refused(ask(service, "limit=1", Authorization=third)) == (401, "E0000011")


def test_an_app_may_be_given_all_its_scopes_whatever_it_asked_for(clock):
    scopes = frozenset({LOGS_SCOPE, "okta.users.manage"})
    with SimulatedOkta(clock=clock, oauth=app_of(scopes=scopes)) as okta:
        assert get_token(okta).json["scope"] == LOGS_SCOPE
    with SimulatedOkta(clock=clock, oauth=app_of(scopes=scopes, grants_all=True)) as okta:
        assert get_token(okta).json["scope"] == f"{LOGS_SCOPE} okta.users.manage"


def test_a_token_without_the_scope_for_logs_is_forbidden(clock):
    with SimulatedOkta(clock=clock, oauth=app_of(scopes=frozenset({"okta.users.read"}))) as okta:
        token = get_token(okta, scope="okta.users.read").json["access_token"]
        assert refused(ask(okta, "limit=1", Authorization=f"Bearer {token}")) == (403, "E0000006")


# DPoP: the token is bound to a key of the client.


def _jwk(public_pem):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return jwt.algorithms.RSAAlgorithm.to_jwk(load_pem_public_key(public_pem.encode()), as_dict=True)


def proof(okta, method="POST", path="/oauth2/v1/token", keys=OTHER_KEYS, token=None, **changed):
    claims = {"htm": method, "htu": okta.url + path, "iat": int(okta.clock()), "jti": str(uuid.uuid4())}
    if token is not None:
        claims["ath"] = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    public = {name: value for name, value in _jwk(keys[1]).items() if name in ("kty", "n", "e")}
    return jwt.encode(claims | changed, keys[0], "RS256", headers={"typ": "dpop+jwt", "jwk": public})


def api_proof(okta, token, **changed):
    return proof(okta, "GET", "/api/v1/logs", token=token, **changed)


@pytest.fixture(params=[False, True], ids=["nonce for tokens", "nonce for the API too"])
def bound(request, clock):
    with SimulatedOkta(clock=clock, oauth=app_of(require_dpop=True, nonce_on_api=request.param)) as org:
        yield org


def bound_token(okta):
    nonce = get_token(okta, proof(okta)).headers["DPoP-Nonce"]
    return get_token(okta, proof(okta, nonce=nonce)).json["access_token"], nonce


def test_a_token_request_without_a_proof_is_refused_and_without_a_nonce_is_told_one(bound):
    assert get_token(bound).json["error"] == "invalid_dpop_proof"
    challenge = get_token(bound, proof(bound))
    assert (challenge.status, challenge.json["error"]) == (400, "use_dpop_nonce")
    answer = get_token(bound, proof(bound, nonce=challenge.headers["DPoP-Nonce"]))
    assert (answer.status, answer.json["token_type"]) == (200, "DPoP")


def test_a_bound_token_needs_a_fresh_proof_of_its_own_key_at_every_request(bound):
    token, nonce = bound_token(bound)
    good = api_proof(bound, token, nonce=nonce)

    def status(one_proof, scheme="DPoP"):
        return ask(bound, "limit=1", Authorization=f"{scheme} {token}", DPoP=one_proof).status

    assert status(good) == 200
    assert status(good) == 400
    assert status(None) == 400
    assert status(api_proof(bound, token, nonce=nonce), scheme="Bearer") == 401
    assert status(api_proof(bound, token, nonce=nonce, keys=KEYS)) == 400
    assert status(api_proof(bound, "another token", nonce=nonce)) == 400
    assert status(api_proof(bound, token, nonce=nonce, htm="POST")) == 400
    assert status(api_proof(bound, token, nonce=nonce, htu=f"{bound.url}/api/v1/users")) == 400
    assert status(api_proof(bound, token, nonce=nonce, iat=NOW // 1000 - 3600)) == 400
    assert status(api_proof(bound, token, nonce=nonce)) == 200


def test_the_api_may_ask_for_a_new_nonce(clock):
    with SimulatedOkta(clock=clock, oauth=app_of(require_dpop=True, nonce_on_api=True)) as okta:
        token, _ = bound_token(okta)
        okta.oauth.renew_nonce()
        challenge = ask(okta, "limit=1", Authorization=f"DPoP {token}", DPoP=api_proof(okta, token))
        assert (challenge.status, challenge.json["error"]) == (401, "use_dpop_nonce")
        assert 'error="use_dpop_nonce"' in challenge.headers["WWW-Authenticate"]
        again = api_proof(okta, token, nonce=challenge.headers["DPoP-Nonce"])
        assert ask(okta, "limit=1", Authorization=f"DPoP {token}", DPoP=again).status == 200


def test_oktas_own_sdk_signs_what_it_accepts(clock):
    from okta.dpop import DPoPProofGenerator
    from okta.jwt import JWT

    clock.now = time.time()
    with SimulatedOkta(clock=clock, oauth=app_of(require_dpop=True)) as okta:
        prover = DPoPProofGenerator({})
        url = f"{okta.url}/oauth2/v1/token"
        signed = [JWT.create_token(okta.url, "0oaService", KEYS[0]) for _ in range(2)]
        challenge = get_token(okta, prover.generate_proof_jwt("POST", url), signed[0])
        prover.set_nonce(challenge.headers["DPoP-Nonce"])
        token = get_token(okta, prover.generate_proof_jwt("POST", url), signed[1]).json["access_token"]
        one_proof = prover.generate_proof_jwt("GET", f"{okta.url}/api/v1/logs?limit=1", access_token=token)
        assert ask(okta, "limit=1", Authorization=f"DPoP {token}", DPoP=one_proof).status == 200
