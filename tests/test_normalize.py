"""Raw records to events: every column of the contract from each shape that Okta sends, and whatever else may come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.errors import MalformedEvent, MalformedPage
from poller.normalize import CUT_MARK, MAX_DEPTH, MAX_ID, MAX_TEXT, Event, epoch_ms, normalize, split_page
from poller.store import read_records

FOLDER = Path(__file__).with_name("okta_events")
RECORDS = {path.stem: split_page(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}
EVERY_RECORD = [record for records in RECORDS.values() for record in records]


def record(**fields: Any) -> bytes:
    """The least that is an event, and these fields."""
    return json.dumps({"uuid": "event-1", "published": "2026-03-10T09:00:00.000Z", **fields}).encode()


def debug_data(**values: Any) -> dict[str, Any]:
    return {"debugData": values}


# ---- what Okta sends ----


def test_an_identity_engine_event_fills_the_columns():
    assert normalize(RECORDS["push_denied"][0])._asdict() | {"uid": None} == {
        "uid": None,
        "time": epoch_ms("2026-03-10T09:00:15.402Z"),
        "event_type": "user.authentication.auth_via_mfa",
        "outcome": "FAILURE",
        "outcome_reason": "INVALID_CREDENTIALS",
        "user_uid": "00u4k2alice7ExAmP5d7",
        "user_name": "alice.adams@example.com",
        "actor_uid": "00u4k2alice7ExAmP5d7",
        "actor_name": "alice.adams@example.com",
        "actor_type": "User",
        "src_ip": "203.0.113.7",
        "src_country": "United Kingdom",
        "src_city": "Leeds",
        "src_asn": 64510,
        "src_as_org": "example mobile plc",
        "is_proxy": False,
        "user_agent": "D2DFBC36-example/9.2.1 OktaVerify iOS/17.5.1 Apple/iPhone15,2",
        "device": "Mobile",
        "factor": "OKTA_VERIFY_PUSH",
        "push_response": "OV_RESPONSE_DENY",
        "number_challenge_response": None,
        "challenge_time": None,
        "factor_intent": "AUTHENTICATION",
        "session_uid": "idxExAmPleSignIn0001",
        "root_session_uid": "idxExAmPleSignIn0001",
        "transaction_uid": "6d34064b807a850a13edbc7fde699b42",
        "authn_request_uid": "a4RZ3pExAmPleSignIn0001",
        "behaviors": "{New Geo-Location=NEGATIVE, New Device=NEGATIVE, New IP=NEGATIVE, New State=NEGATIVE, "
        "New Country=NEGATIVE, Velocity=NEGATIVE, New City=NEGATIVE}",
        "threat_suspected": False,
        "severity": "WARN",
        "message": "Authentication of user via MFA",
        "device_token": "fec52565aa0cf18f57d7cf5b3ac728503b8992d2d6f7d46da1d1201090902b02",
        "src_lat": 53.7965,
        "src_lon": -1.5478,
        "app_uid": None,
        "app_name": None,
        "target_uid": "pfd8xq0kz1ExAmPle5d7",
        "target_type": "AuthenticatorEnrollment",
        "target_name": "Okta Verify",
        "target_user_uid": "00u4k2alice7ExAmP5d7",
        "target_user_name": "alice.adams@example.com",
        "privilege": None,
        "request_uri": "/idp/idx/authenticators/poll",
        "risk_level": "LOW",
        "threat_detections": None,
    }


def test_a_classic_event_fills_what_it_says_and_leaves_the_rest_null():
    event = normalize(RECORDS["push_denied_classic"][0])
    filled = {name for name, value in event._asdict().items() if value is not None}
    assert filled == set(Event._fields) - {
        "outcome_reason",
        "factor",
        "push_response",
        "number_challenge_response",
        "challenge_time",
        "factor_intent",
        "session_uid",
        "root_session_uid",
        "authn_request_uid",
        "behaviors",
        "app_uid",
        "app_name",
        "target_uid",
        "target_type",
        "target_name",
        "target_user_uid",
        "target_user_name",
        "privilege",
        "risk_level",
        "threat_detections",
    }
    assert (event.event_type, event.outcome, event.user_uid, event.src_ip) == (
        "user.mfa.okta_verify.deny_push",
        "FAILURE",
        "00u4k2alice7ExAmP5d7",
        "203.0.113.7",
    )


@pytest.mark.parametrize("name", RECORDS)
def test_every_shape_of_an_activity_tells_the_same_victim_and_kind(name):
    events = [normalize(record) for record in RECORDS[name]]
    assert len({event.event_type for event in events}) == 1
    assert {event.user_uid for event in events} == {"00u4k2alice7ExAmP5d7"}
    assert {event.user_name for event in events} == {"alice.adams@example.com"}
    assert len({event.uid for event in events}) == len(events)


@pytest.mark.parametrize(
    ("name", "column", "values"),
    [
        ("push_denied", "factor", {"OKTA_VERIFY_PUSH"}),
        ("push_approved", "factor", {"OKTA_VERIFY_PUSH"}),
        ("push_wrong_number", "factor", {"OKTA_VERIFY_PUSH"}),
        ("push_abandoned", "outcome", {"ABANDONED"}),
        ("push_unanswered", "outcome", {"UNANSWERED"}),
        ("push_wrong_number", "number_challenge_response", {"OV_WITH_CHALLENGE_RESPONSE_INVALID"}),
        ("push_for_enrolment", "factor_intent", {"CREDENTIAL_ENROLLMENT"}),
        ("push_for_recovery", "factor_intent", {"CREDENTIAL_RECOVERY"}),
        ("password_verified", "factor", {"PASSWORD_AS_FACTOR"}),
        ("security_question_answered", "factor", {"SECURITY_QUESTION"}),
        ("fastpass_used", "factor", {"SIGNED_NONCE"}),
        ("fastpass_refused", "factor", {"SIGNED_NONCE"}),
        ("webauthn_verified", "factor", {"FIDO_WEBAUTHN"}),
    ],
)
def test_what_an_activity_rests_on_is_read_from_every_one_of_its_shapes(name, column, values):
    assert {getattr(normalize(record), column) for record in RECORDS[name]} == values


def test_an_actor_that_is_no_user_acts_on_the_user_among_the_targets():
    system = {"id": "00u0", "type": "SystemPrincipal", "alternateId": "system@okta.com"}
    app = {"id": "0oa1", "type": "AppInstance", "alternateId": "app"}
    alice = {"id": "00u1", "type": "User", "alternateId": None, "displayName": "Alice"}
    event = normalize(record(actor=system, target=[app, alice]))
    assert (event.user_uid, event.user_name) == ("00u1", "Alice")
    assert (event.actor_uid, event.actor_name, event.actor_type) == ("00u0", "system@okta.com", "SystemPrincipal")
    for targets in ([app], [], None, alice["id"]):
        assert normalize(record(actor=system, target=targets)).user_uid is None
    assert normalize(record(actor=alice, target=[{"id": "00u2", "type": "User"}])).user_uid == "00u1"


def test_an_actor_that_okta_does_not_know_is_the_user_among_the_targets():
    stranger = {"id": "unknown", "type": "User", "alternateId": "alice@example.com"}
    alice = {"id": "00u1", "type": "User", "alternateId": "alice@example.com"}
    event = normalize(record(actor=stranger, target=[alice]))
    assert (event.user_uid, event.actor_uid) == ("00u1", "unknown")
    assert normalize(record(actor=stranger)).user_uid == "unknown"


def test_an_app_that_acts_goes_by_the_name_that_people_gave_it():
    app = {"id": "0oa1", "type": "PublicClientAppEntity", "alternateId": "unknown", "displayName": "Deploy bot"}
    assert normalize(record(actor=app)).actor_name == "Deploy bot"
    assert normalize(record(actor={**app, "displayName": None})).actor_name == "unknown"


APP = {"id": "0oa1", "type": "AppInstance", "displayName": "Example CRM"}
ACCOUNT = {"id": "0ua1", "type": "AppUser", "alternateId": "bob"}
BOB = {"id": "00u2", "type": "User", "alternateId": "bob@example.com"}
ZONE = {"id": "nzo1", "type": "NetworkZone", "displayName": "Office"}
ROLE = {"id": "cr01", "type": "ROLE", "displayName": "Help Desk Administrator"}
SET = {"id": "iam1", "type": "RESOURCE_SET", "displayName": "All users"}
GROUP = {"id": "00g1", "type": "UserGroup", "displayName": "Everyone"}
POLICY = {"id": "00p1", "type": "PolicyEntity", "displayName": "Default Policy"}
POLICY_RULE = {"id": "0pr1", "type": "PolicyRule", "displayName": "Catch-all"}


@pytest.mark.parametrize(
    ("targets", "columns"),
    [
        ([], {}),
        (None, {}),
        ([None, 7, "x", {}, []], {}),
        ([APP], {"app_uid": "0oa1", "app_name": "Example CRM", "target_uid": "0oa1", "target_type": "AppInstance"}),
        ([ACCOUNT, APP, BOB], {"app_uid": "0oa1", "target_uid": "0oa1", "target_user_uid": "00u2"}),
        ([BOB, ZONE, APP], {"target_uid": "nzo1", "target_type": "NetworkZone", "target_name": "Office"}),
        ([BOB, ROLE], {"privilege": "Help Desk Administrator", "target_uid": "cr01"}),
        ([ROLE, ZONE], {"privilege": "Help Desk Administrator", "target_uid": "nzo1"}),
        ([ROLE, SET, GROUP], {"privilege": "Help Desk Administrator", "target_uid": "00g1"}),
        ([SET, APP, ROLE], {"privilege": "Help Desk Administrator", "target_uid": "0oa1", "app_uid": "0oa1"}),
        ([ROLE, SET], {"privilege": "Help Desk Administrator", "target_uid": "iam1"}),
        ([POLICY, POLICY_RULE], {"target_uid": "0pr1", "target_name": "Catch-all"}),
        ([POLICY], {"target_uid": "00p1"}),
        ([BOB, {**BOB, "id": "00u3"}], {"target_user_uid": "00u2", "target_user_name": "bob@example.com"}),
        (BOB, {"target_user_uid": "00u2"}),
    ],
)
def test_targets_are_told_apart(targets, columns):
    event = normalize(record(target=targets))
    assert {name: getattr(event, name) for name in columns} == columns
    if not columns:
        names = [name for name in Event._fields if name.startswith(("target_", "app_"))]
        assert all(getattr(event, name) is None for name in names)


@pytest.mark.parametrize(
    ("security", "debug", "is_proxy"),
    [
        ({"isProxy": True}, {}, True),
        ({"isProxy": False}, {}, False),
        ({}, {}, None),
        ({"isProxy": False, "ipDetails": {"ipServiceCategories": [{"type": "Tor", "isAnonymous": True}]}}, {}, True),
        ({"isProxy": False, "ipDetails": {"ipServiceCategories": [{"type": "VPN", "isAnonymous": False}]}}, {}, False),
        ({"ipDetails": {"ipServiceCategories": [None, 7, {}]}}, {}, None),
        ({}, {"tunnels": '[{"type": "VPN"}, {"anonymous": true, "operator": "X", "type": "VPN"}]'}, True),
        ({}, {"tunnels": [{"anonymous": "true"}]}, True),
        ({}, {"tunnels": '[{"anonymous": false, "type": "VPN"}]'}, None),
        ({}, {"tunnels": "[[[["}, None),
        ({}, {"tunnels": '{"anonymous": true}'}, None),
    ],
)
def test_an_address_hides_who_comes_from_it_as_either_form_says(security, debug, is_proxy):
    assert normalize(record(securityContext=security, debugContext=debug_data(**debug))).is_proxy is is_proxy


def test_a_network_and_a_place_are_read_from_where_they_stand():
    details = {"asNumber": 7922, "asOrg": "Comcast"}
    place = {"country": "France", "city": "Lyon"}
    event = normalize(record(securityContext={"ipDetails": details}))
    assert (event.src_asn, event.src_as_org) == (7922, "Comcast")
    event = normalize(record(securityContext={"asNumber": 1, "asOrg": "A", "ipDetails": details}))
    assert (event.src_asn, event.src_as_org) == (1, "A")
    chain = {"ipChain": [{"ip": "203.0.113.7", "geographicalContext": place, "ipDetails": details}]}
    event = normalize(record(request=chain, client={}, securityContext=None))
    assert (event.src_ip, event.src_country, event.src_city, event.src_asn) == ("203.0.113.7", "France", "Lyon", 7922)
    event = normalize(record(request=chain, client={"ipAddress": "198.51.100.1"}, securityContext={}))
    assert (event.src_ip, event.src_country, event.src_asn) == ("198.51.100.1", None, None)


@pytest.mark.parametrize("nothing", ["-", "null", "unknown", "", None])
def test_a_device_token_that_is_none_is_no_device(nothing):
    assert normalize(record(debugContext=debug_data(dtHash=nothing))).device_token is None
    assert normalize(record(debugContext=debug_data(dtHash=nothing, deviceFingerprint="ab"))).device_token == "ab"


@pytest.mark.parametrize(
    ("debug", "column", "value"),
    [
        ({"dtHash": "ab12"}, "device_token", "ab12"),
        ({"dtHash": None, "deviceFingerprint": "cd34"}, "device_token", "cd34"),
        ({"risk": "{reasons=Anomalous Location, level=HIGH}"}, "risk_level", "HIGH"),
        ({"risk": {"level": "MEDIUM"}}, "risk_level", "MEDIUM"),
        ({"logOnlySecurityData": '{"risk": {"level": "LOW"}, "behaviors": {}}'}, "risk_level", "LOW"),
        ({"risk": "nobody knows"}, "risk_level", None),
        ({"privilegeGranted": "Super administrator"}, "privilege", "Super administrator"),
        ({"privilegeRevoked": "Super administrator"}, "privilege", "Super administrator"),
        ({"threatDetections": '{"Password Spray": "HIGH"}'}, "threat_detections", '{"Password Spray": "HIGH"}'),
        ({"requestUri": "/api/v1/logs"}, "request_uri", "/api/v1/logs"),
    ],
)
def test_debug_data_fills_the_columns(debug, column, value):
    assert getattr(normalize(record(debugContext=debug_data(**debug))), column) == value


@pytest.mark.parametrize(
    ("latitude", "longitude", "told"),
    [
        (53.5, -1.5, (53.5, -1.5)),
        ("53.5", " -1.5 ", (53.5, -1.5)),
        (-90, 180, (-90.0, 180.0)),
        (91, -181, (None, None)),
        (None, True, (None, None)),
        ("nan", "inf", (None, None)),
        ([], {}, (None, None)),
        ("9" * 400, "1e999", (None, None)),
    ],
)
def test_a_place_is_on_earth_or_nowhere(latitude, longitude, told):
    place = {"geolocation": {"lat": latitude, "lon": longitude}}
    event = normalize(record(client={"geographicalContext": place}))
    assert (event.src_lat, event.src_lon) == told


@pytest.mark.parametrize(
    ("targets", "factor"),
    [
        ([{"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "push"}}], "OKTA_VERIFY_PUSH"),
        (
            [{"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "Get a push notification"}}],
            "OKTA_VERIFY_PUSH",
        ),
        (
            [
                {"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "Password"}},
                {"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "push"}},
            ],
            "OKTA_VERIFY_PUSH",
        ),
        ([{"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "a new one"}}], "a new one"),
        ([{"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "sms"}}], "SMS_FACTOR"),
        ([{"type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": "Email"}}], "EMAIL_FACTOR"),
        ([{"type": "User", "detailEntry": {"methodTypeUsed": "push"}}], None),
        ([None, 1, {"type": "AuthenticatorEnrollment", "detailEntry": None}], None),
    ],
)
def test_the_factor_is_read_from_the_authenticator_where_debug_data_lacks_it(targets, factor):
    assert normalize(record(target=targets)).factor == factor
    assert normalize(record(target=targets, debugContext=debug_data(factor="SMS_FACTOR"))).factor == "SMS_FACTOR"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-10T09:00:00Z", 1773133200000),
        ("2026-03-10T09:00:00.5Z", 1773133200500),
        ("2026-03-10T09:00:00.12Z", 1773133200120),
        ("2026-03-10T09:00:00.123Z", 1773133200123),
        ("2026-03-10T09:00:00.123999Z", 1773133200123),
        ("2026-03-10T09:00:00.123456789Z", 1773133200123),
        ("2026-03-10T14:30:00.000+05:30", 1773133200000),
        ("2026-03-10T01:00:00-0800", 1773133200000),
        ("2026-03-10T10:00:00+01", 1773133200000),
        ("2026-03-10t09:00:00z", 1773133200000),
        ("2026-03-10 09:00:00", 1773133200000),
        ("2016-12-31T23:59:60Z", 1483228799000),
        ("9999-12-31T23:59:59.999Z", 253402300799999),
    ],
)
def test_an_instant_is_epoch_milliseconds_in_any_of_its_forms(text, expected):
    assert epoch_ms(text) == expected
    assert normalize(record(published=text)).time == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "null",
        "yesterday",
        "2026-03-10",
        "2026-13-10T09:00:00Z",
        "2026-02-30T09:00:00Z",
        "0001-01-01T00:00:00Z",
        "2026-03-10T09:00:00Zulu",
        "٢٠٢٦-٠٣-١٠T09:00:00Z",
        "1" * 100_000,
        1773133200000,
        True,
        [],
        {},
    ],
)
def test_a_published_time_that_is_none_makes_no_event(value):
    assert epoch_ms(value) is None
    with pytest.raises(MalformedEvent, match="published"):
        normalize(record(published=value))


def test_the_challenge_time_is_kept_where_okta_says_it():
    said = normalize(record(debugContext=debug_data(authenticatorMethodChallengeTime="2026-03-10T10:00:02.118+01:00")))
    assert said.challenge_time == epoch_ms("2026-03-10T09:00:02.118Z")
    assert normalize(record(debugContext=debug_data(authenticatorMethodChallengeTime="null"))).challenge_time is None


@pytest.mark.parametrize(
    ("fields", "behaviors"),
    [
        ({"debugContext": debug_data(behaviors="{New IP=POSITIVE}")}, "{New IP=POSITIVE}"),
        ({"debugContext": debug_data(behaviors={"New IP": "POSITIVE", "A": None})}, "{New IP=POSITIVE, A=None}"),
        ({"securityContext": {"userBehaviors": [{"name": "New IP", "result": "POSITIVE"}]}}, "{New IP=POSITIVE}"),
        (
            {"debugContext": debug_data(logOnlySecurityData='{"behaviors": {"New IP": "POSITIVE"}}')},
            "{New IP=POSITIVE}",
        ),
        ({"debugContext": debug_data(logOnlySecurityData="{behaviors={New IP=POSITIVE}}")}, None),
        ({"debugContext": '{"debugData": 1}'}, None),
        ({}, None),
    ],
)
def test_behaviors_have_one_form(fields, behaviors):
    assert normalize(record(**fields)).behaviors == behaviors


# ---- shapes that break parsers ----


@pytest.mark.parametrize("nothing", [None, {}, [], "", "null", 0, False])
def test_any_object_may_be_missing_or_something_else(nothing):
    names = ("actor", "client", "outcome", "securityContext", "authenticationContext", "debugContext", "target")
    fields = dict.fromkeys((*names, "device", "transaction", "request"), nothing)
    event = normalize(record(**fields))
    assert [value for value in event if value is not None] == ["event-1", 1773133200000]
    inside = {"client": {"geographicalContext": nothing, "userAgent": {}}, "debugContext": {"debugData": nothing}}
    assert normalize(record(**inside)) == event


def test_what_is_not_there_is_null_and_never_empty():
    event = normalize(record(displayMessage="", outcome={"result": "", "reason": ""}, client={"ipAddress": ""}))
    assert "" not in event


def test_the_first_address_of_the_chain_stands_in_for_that_of_the_client():
    assert normalize(record(request={"ipChain": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]})).src_ip == "192.0.2.1"
    chain = {"ipChain": [None]}
    assert normalize(record(client={"ipAddress": "192.0.2.3"}, request=chain)).src_ip == "192.0.2.3"
    assert normalize(record(request=chain)).src_ip is None


def test_numbers_and_flags_may_come_as_text_and_text_as_numbers():
    event = normalize(
        record(
            securityContext={"asNumber": "64500", "isProxy": "True"},
            debugContext=debug_data(threatSuspected="true", factor=7),
            transaction={"id": 12345},
        )
    )
    assert (event.src_asn, event.is_proxy, event.threat_suspected) == (64500, True, True)
    assert (event.factor, event.transaction_uid) == ("7", "12345")


@pytest.mark.parametrize("number", ["9" * 30, "9" * 100_000, "1e999", "-1e999", "NaN", "1.5", '"many"', '"²"', "[1]"])
def test_a_number_that_fits_no_column_is_null(number):
    raw = record(securityContext={"asNumber": 1}).replace(b'"asNumber": 1', f'"asNumber": {number}'.encode())
    assert normalize(raw).src_asn is None


@pytest.mark.parametrize("number", ["1e999", "-1e400", "NaN", "-Infinity", "7" * 150, "-" + "7" * 700])
def test_where_a_text_should_be_a_number_stays_as_it_is_written(number):
    event = normalize(record(uuid=0, displayMessage=0).replace(b": 0", f": {number}".encode()))
    assert event.message == number
    assert event.uid == number or len(number) > MAX_ID


def test_two_ids_that_are_numbers_stay_apart_however_large():
    uids = [
        normalize(record(uuid=0).replace(b": 0", f": {number}".encode())).uid for number in ("7" * 5000, "7" * 5001)
    ]
    assert uids[0] != uids[1]


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (rb"a\ud800b", "a\ufffdb"),
        (rb"a\udc00\ud800b", "a\ufffd\ufffdb"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (b"a\xff\xfeb", "a\ufffd\ufffdb"),
        (b"a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"),
        (b"a\x00b", "a\ufffdb"),
        (b"a\nb\x1b[31m", "a\nb\x1b[31m"),
        ("\u202e\u00fc\U0001f600".encode(), "\u202e\u00fc\U0001f600"),
        (rb"\ufeff", "\ufeff"),
    ],
)
def test_text_is_verbatim_but_for_what_no_database_keeps(wire, shown):
    raw = record(client={"userAgent": {"rawUserAgent": "X"}}).replace(b'"X"', b'"' + wire + b'"')
    (split,) = split_page(b"[" + raw + b"]")
    assert split == raw
    assert normalize(split).user_agent == shown


def test_oversized_text_is_cut_with_a_mark_and_ids_stay_apart():
    event = normalize(record(client={"userAgent": {"rawUserAgent": "x" * 5_000_000}, "ipAddress": "y" * 5000}))
    assert event.user_agent == "x" * (MAX_TEXT - len(CUT_MARK)) + CUT_MARK
    assert event.src_ip is not None
    assert len(event.src_ip) == MAX_ID
    one, other = (normalize(record(actor={"id": "z" * 5000 + end, "type": "User"})).user_uid for end in "12")
    assert one != other
    assert one is not None
    assert len(one) <= MAX_ID


@pytest.mark.parametrize("depth", [MAX_DEPTH, 990, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_nesting_without_end_hides_nothing(depth, opening, closing):
    deep = opening * depth + b"1" + closing * depth
    for place in (b'"x"', b'"debugContext": {"debugData": {"behaviors"', b'"target": [{"type"'):
        ends = {b"[": b"]", b"{": b"}"}
        end = b"".join(ends[place[i : i + 1]] for i in reversed(range(len(place))) if place[i : i + 1] in ends)
        raw = record(severity="WARN")[:-1] + b", " + place + b": " + deep + end + b', "displayMessage": "here"}'
        assert split_page(b"[" + raw + b"]") == [raw]
        event = normalize(raw)
        assert (event.severity, event.message) == ("WARN", "here")


def test_of_a_key_that_comes_twice_the_last_counts():
    assert normalize(record(severity="INFO")[:-1] + b', "severity": "WARN"}').severity == "WARN"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"1", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[{}]", "not a JSON object"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"uuid": }', "not JSON"),
        (b"\xff", "not JSON"),
        (b"{}", "no uuid"),
        (b'{"uuid": null}', "no uuid"),
        (b'{"uuid": ""}', "no uuid"),
        (b'{"uuid": " "}', "no uuid"),
        (b'{"uuid": ["a"]}', "no uuid"),
        (b'{"uuid": "a"}', "no usable published time"),
    ],
)
def test_what_cannot_be_an_event_says_why_and_the_page_goes_on(raw, reason):
    with pytest.raises(MalformedEvent, match=reason):
        normalize(raw)
    batch = read_records([record(), raw, record()])
    assert len(batch.events) == 2
    assert [(reason in said, kept) for said, kept in batch.rejects] == [(True, raw)]


# ---- pages ----


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (b"[]", []),
        (b" [ ] \n", []),
        (b"[1, 2 ,\t3]", [b"1", b"2", b"3"]),
        (b"\xef\xbb\xbf[1,2]", [b"1", b"2"]),
        (b'["a,]\\"[", {"b": [1, {}]}]', [b'"a,]\\"["', b'{"b": [1, {}]}']),
        (b'[{"a": bad, "b": [1,]}, {"c": 1}]', [b'{"a": bad, "b": [1,]}', b'{"c": 1}']),
        (b"[1,,2]", [b"1", b"", b"2"]),
        (b'["\xff", 2]', [b'"\xff"', b"2"]),
    ],
)
def test_a_page_is_split_into_the_bytes_of_its_records(body, records):
    assert split_page(body) == records


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"errorCode": "E0000009"}', b"<html>", b"null", b"[1", b'[{"a": "b', b"[1]]", b"[1] [2]", b"1]"],
)
def test_a_body_that_is_not_one_whole_array_is_no_page(body):
    with pytest.raises(MalformedPage):
        split_page(body)


def test_a_page_cut_off_in_a_long_run_of_escapes_is_refused_at_once():
    """A matcher that steps back would take hours over these."""
    with pytest.raises(MalformedPage):
        split_page(b'[{"a": "' + b'\\"' * 1_000_000)
    with pytest.raises(MalformedEvent):
        normalize(b'{"a": ' + b"[" * 2000 + b'"' + b'\\"' * 1_000_000)


# ---- laws ----

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None, categories=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def check(raw: bytes) -> None:
    """An event fit for any database, or MalformedEvent; never anything else."""
    try:
        event = normalize(raw)
    except MalformedEvent:
        return
    assert event.uid
    for name, value in event._asdict().items():
        if name in ("time", "challenge_time", "src_asn"):
            assert type(value) is int or (value is None and name != "time")
            assert value is None or abs(value) < 2**63
        elif name in ("is_proxy", "threat_suspected"):
            assert value in (True, False, None)
        elif name in ("src_lat", "src_lon"):
            assert value is None or (type(value) is float and abs(value) <= 180)
        elif value is not None:
            assert type(value) is str
            assert 0 < len(value) <= MAX_TEXT
            value.encode()  # raises on a lone surrogate
            assert "\x00" not in value


@given(st.binary())
def test_any_bytes_are_an_event_or_malformed(raw):
    check(raw)


@given(json_values)
def test_any_json_value_is_an_event_or_malformed(value):
    check(json.dumps(value).encode())


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, item in inside for way in [(*here, key), *paths(item, (*here, key))]]


@st.composite
def bent_records(draw: st.DrawFn) -> tuple[bytes, list[tuple[Any, ...]]]:
    """A record of Okta's in which some values became any others; and which."""
    event = json.loads(draw(st.sampled_from(EVERY_RECORD)))
    bent = []
    for _ in range(draw(st.integers(1, 4))):
        way = draw(st.sampled_from(paths(event)))
        place = event
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = draw(json_values)
        bent.append(way)
    return json.dumps(event).encode(), bent


@given(bent_records())
def test_a_record_with_anything_in_any_place_is_an_event_unless_its_uuid_or_time_is_gone(bent):
    raw, ways = bent
    check(raw)
    if not {("uuid",), ("published",)} & set(ways):
        assert normalize(raw).uid == json.loads(raw)["uuid"]


@given(st.sampled_from(EVERY_RECORD), st.data())
def test_a_record_with_any_byte_changed_is_an_event_or_malformed(raw, data):
    position = data.draw(st.integers(0, len(raw) - 1))
    check(raw[:position] + data.draw(st.binary(max_size=3)) + raw[position + 1 :])


@given(st.lists(st.sampled_from(EVERY_RECORD) | json_values.map(lambda value: json.dumps(value).encode()), max_size=8))
def test_records_joined_to_a_page_split_into_the_same_bytes(records):
    assert split_page(b"[" + b",".join(records) + b"]") == records
    assert split_page(b"\xef\xbb\xbf [\n" + b" ,\n".join(records) + b"\n]\n") == records


@given(st.binary())
def test_any_body_is_a_page_or_malformed(body):
    for text in (body, b"[" + body + b"]"):
        try:
            records = split_page(text)
        except MalformedPage:
            continue
        for raw in records:
            assert raw in text
            check(raw)
