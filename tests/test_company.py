"""The company behind the simulated Okta, and what happens to it."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import yaml

from poller import demo
from poller.demo.attacks import push_fatigue, push_fatigue_classic
from poller.demo.company import DAY, HOUR, MINUTE, Company, delayed, merged, timed
from poller.demo.okta_events import Ids, as_written
from poller.demo.okta_log import iso, milliseconds
from poller.demo.sign_ins import ClassicSignIn, IdentityEngineSignIn
from poller.normalize import normalize

MONDAY = milliseconds("2026-11-23T00:00:00Z")
OPENAPI = Path(__file__).parents[2] / "shared" / "okta-openapi" / "system-log.yaml"
DIALECTS = [IdentityEngineSignIn, ClassicSignIn]


def weekday(dialect=IdentityEngineSignIn, users=40, seed=1):
    return [event for _, event in Company(seed, users, dialect).events(MONDAY, MONDAY + DAY)]


def attack(name, seed=5):
    victim = Company(users=40).asleep(MONDAY).person
    return victim, [event for _, event in name(Ids(random.Random(seed)), victim, MONDAY)]


def told(events):
    return [(event["eventType"], event["outcome"]["result"]) for event in events]


@pytest.mark.skipif(not OPENAPI.exists(), reason="Okta's OpenAPI document is not beside the repository")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_event_is_one_by_oktas_openapi_document(dialect):
    from openapi_schema_validator import OAS30ReadValidator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    document = yaml.safe_load(OPENAPI.read_text("utf-8"))
    registry = Registry().with_resource("okta", Resource(contents=document, specification=DRAFT4))
    schema = {"$ref": "okta#/components/schemas/LogEvent"}
    validator = OAS30ReadValidator(schema, registry=registry, format_checker=OAS30ReadValidator.FORMAT_CHECKER)
    assert not validator.is_valid({"published": "yesterday"})
    assert not validator.is_valid({"outcome": {"result": "MAYBE"}})

    sample: Counter[tuple[str, str]] = Counter()
    story = push_fatigue if dialect is IdentityEngineSignIn else push_fatigue_classic
    for event in [*weekday(dialect), *attack(story)[1]]:
        kind = (event["eventType"], event["outcome"]["result"])
        sample[kind] += 1
        if sample[kind] <= 5:
            assert [error.message for error in validator.iter_errors(event)] == []
    assert len(sample) > 10


def test_the_same_seed_gives_the_same_days_and_another_seed_others():
    assert weekday() == weekday()
    assert not {event["uuid"] for event in weekday()} & {event["uuid"] for event in weekday(seed=2)}


def test_a_day_asked_for_in_parts_is_the_day_asked_for_at_once():
    company = Company(users=40)
    noon = MONDAY + 12 * HOUR
    parts = [*company.events(MONDAY, noon), *company.events(noon, MONDAY + DAY)]
    assert {event["uuid"] for _, event in parts} == {event["uuid"] for event in weekday()}


def test_events_come_in_the_order_in_which_they_are_persisted_and_some_are_late():
    timeline = list(Company(users=100).events(MONDAY, MONDAY + DAY))
    persisted = [time for time, _ in timeline]
    assert persisted == sorted(persisted)
    late = [time - milliseconds(event["published"]) for time, event in timeline]
    assert min(late) == 0
    assert 5 < sum(delay > 4000 for delay in late) < len(late) / 50


def test_no_event_is_lost_or_repeated_by_being_late():
    events = timed({"published": iso(MONDAY + n * MINUTE)} for n in range(500))
    published = [event["published"] for _, event in delayed(events, random.Random(1), share=0.2)]
    assert published != sorted(published)
    assert sorted(published) == [iso(MONDAY + n * MINUTE) for n in range(500)]


def test_every_event_has_ids_of_its_own_and_every_sign_in_a_session_and_a_request():
    events = weekday()
    assert len({event["uuid"] for event in events}) == len(events)
    starts = [event for event in events if event["eventType"] == "user.session.start"]
    assert len({event["authenticationContext"]["externalSessionId"] for event in starts}) > 30
    requests = Counter(normalize(_encode(event)).authn_request_uid for event in starts)
    assert max(requests.values()) < 5


@pytest.mark.parametrize("dialect", DIALECTS)
def test_everything_the_company_writes_is_normalized_whole(dialect):
    for event in islice(weekday(dialect), 2000):
        for form in (event, as_written(event)):
            row = normalize(_encode(form))
            assert row.uid == event["uuid"]
            assert row.time == milliseconds(event["published"])
            assert row.user_uid is not None
            if event["transaction"]["type"] == "WEB":
                assert None not in (row.src_ip, row.src_country, row.src_asn, row.user_agent, row.device)


def test_only_documentation_addresses_and_reserved_domains_appear():
    for event in weekday(users=300)[::50]:
        row = normalize(_encode(event))
        assert row.src_ip is None or row.src_ip.startswith(("192.0.2.", "203.0.113.", "2001:db8:"))
        assert row.user_name.endswith(".example")


def test_people_mistype_passwords_and_deny_or_miss_a_push_now_and_then_but_never_twice_at_a_time():
    failed: dict[str, list[int]] = {}
    kinds = Counter()
    company = Company(users=300)
    for _, event in company.events(MONDAY, MONDAY + 3 * DAY):
        if event["eventType"] != "user.authentication.auth_via_mfa" or event["outcome"]["result"] == "SUCCESS":
            continue
        row = normalize(_encode(event))
        kinds[row.factor, row.outcome] += 1
        if row.factor == "OKTA_VERIFY_PUSH":
            failed.setdefault(row.user_uid, []).append(row.time)
    assert set(kinds) == {
        ("PASSWORD_AS_FACTOR", "FAILURE"),
        ("OKTA_VERIFY_PUSH", "FAILURE"),
        ("OKTA_VERIFY_PUSH", "ABANDONED"),
    }
    for times in failed.values():
        assert all(
            later - earlier > 30 * MINUTE for earlier, later in zip(sorted(times), sorted(times)[1:], strict=False)
        )


def test_fewer_people_work_at_weekends_and_at_night():
    company = Company(users=60)
    saturday = MONDAY - 2 * DAY
    assert 0 < sum(1 for _ in company.events(saturday, saturday + DAY)) < len(weekday(users=60)) / 2
    night = company.asleep(MONDAY + 3 * HOUR).person.uid
    around = company.events(MONDAY + 2 * HOUR, MONDAY + 4 * HOUR)
    assert night not in {event["actor"]["id"] for _, event in around}


def test_a_push_goes_to_every_phone_of_the_person():
    two_phones = next(employee for employee in Company(users=100).staff if len(employee.person.phones) == 2)
    sign_in = IdentityEngineSignIn(Ids(random.Random(1)), two_phones.person, two_phones.at_home)
    first, second = sign_in.push_sent(MONDAY)
    assert first["transaction"] == second["transaction"]
    assert (first["published"], second["published"]) == (iso(MONDAY), iso(MONDAY + 4))


def test_a_sign_in_with_password_and_push_is_told_as_identity_engine_tells_it():
    employee = Company(users=40).asleep(MONDAY)
    sign_in = IdentityEngineSignIn(Ids(random.Random(1)), employee.person, employee.at_home)
    events = [
        *sign_in.password(MONDAY),
        *sign_in.push_sent(MONDAY + 2000)[:1],
        *sign_in.push_approved(MONDAY + 9000, employee.phone),
        *sign_in.completed(MONDAY + 10_000, ("PASSWORD_AS_FACTOR", "OKTA_VERIFY_PUSH")),
    ]
    assert told(events) == [
        ("user.authentication.auth_via_mfa", "SUCCESS"),
        ("user.session.start", "SUCCESS"),
        ("policy.evaluate_sign_on", "CHALLENGE"),
        ("system.push.send_factor_verify_push", "SUCCESS"),
        ("user.authentication.auth_via_mfa", "SUCCESS"),
        ("policy.evaluate_sign_on", "ALLOW"),
        ("user.authentication.verify", "SUCCESS"),
        ("user.authentication.sso", "SUCCESS"),
    ]
    rows = [normalize(_encode(event)) for event in events]
    assert len({row.authn_request_uid for row in rows}) == 1
    assert rows[4].challenge_time == MONDAY + 2000
    assert rows[4].device == "Mobile"


def test_classic_writes_a_denial_twice_in_one_transaction():
    employee = Company(users=40).asleep(MONDAY)
    sign_in = ClassicSignIn(Ids(random.Random(1)), employee.person, employee.at_home)
    denied, failed = sign_in.push_denied(MONDAY, employee.phone)
    assert (denied["eventType"], failed["outcome"]["reason"]) == (
        "user.mfa.okta_verify.deny_push",
        "User rejected Okta push verify",
    )
    assert denied["transaction"] == failed["transaction"]


def test_the_push_attack_is_three_refusals_a_silence_and_an_approval_asked_for_from_elsewhere():
    victim, events = attack(push_fatigue)
    rows = [normalize(_encode(event)) for event in events]
    pushes = [row for row in rows if row.event_type.endswith("auth_via_mfa") and row.factor == "OKTA_VERIFY_PUSH"]
    assert [row.outcome for row in pushes] == ["FAILURE", "FAILURE", "FAILURE", "SUCCESS", "ABANDONED"]
    assert {row.user_uid for row in rows} == {victim.uid}
    assert pushes[-1].time > pushes[-2].time > pushes[-1].challenge_time
    assert {row.src_ip for row in pushes[:4]} == {victim.phones[0].client.network.ip}
    sent = [row for row in rows if row.event_type == "system.push.send_factor_verify_push"]
    assert {(row.src_ip, row.src_country) for row in sent} == {("198.51.100.23", "Romania")}
    assert "New IP=POSITIVE" in next(row.behaviors for row in rows if row.behaviors)


def test_the_push_attack_in_a_classic_org_ends_in_an_approval_too():
    _, events = attack(push_fatigue_classic)
    assert told(events).count(("user.mfa.okta_verify.deny_push", "SUCCESS")) == 3
    approval = normalize(_encode(events[-7]))
    assert (approval.factor, approval.outcome, approval.device) == ("OKTA_VERIFY_PUSH", "SUCCESS", "Mobile")
    assert told(events[-6:]) == [("user.authentication.sso", "SUCCESS")] * 5 + [("user.mfa.factor.activate", "SUCCESS")]


def test_the_demonstration_holds_a_day_and_one_attack():
    okta = demo.start()
    try:
        assert len(okta.log) > 2000
    finally:
        okta.stop()


def test_merged_timelines_are_in_order():
    early, late = iter([(1, {"n": 1}), (5, {"n": 5})]), iter([(2, {"n": 2}), (9, {"n": 9})])
    assert [time for time, _ in merged(early, late)] == [1, 2, 5, 9]


def _encode(event):
    import msgspec

    return msgspec.json.encode(event)
