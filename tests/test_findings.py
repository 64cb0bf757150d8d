"""The finding as people read it: who, how many attempts of which kind, from where, by which factor, what is new."""

from __future__ import annotations

import pytest

from poller.findings import finding_uid
from poller.store import Store
from tests.delivery import deliver, found
from tests.timelines import abandoned, approved, denied, record, sent

NEW = "{New Geo-Location=NEGATIVE, New Device=POSITIVE, New IP=POSITIVE}"


def test_the_summary_says_who_how_many_where_and_how(store: Store) -> None:
    attacker = {
        "client.ipAddress": "198.51.100.23",
        "client.geographicalContext.city": "Bucharest",
        "client.geographicalContext.country": "Romania",
        "debugContext.debugData.behaviors": NEW,
    }
    phone = {
        "client.ipAddress": "203.0.113.7",
        "client.geographicalContext.city": "Leeds",
        "client.geographicalContext.country": "United Kingdom",
    }
    network = {"securityContext": {"asNumber": 64500, "asOrg": "example hosting ltd", "isProxy": True}}
    home = {"securityContext": {"asNumber": 64501, "asOrg": "example broadband", "isProxy": False}}
    deliver(
        store,
        [
            event.wire()
            for event in (
                sent("s1", "23:55:00", "A", put=attacker | network),
                denied("d1", "23:55:20", sign_in="A", put=phone | home),
                abandoned("a1", "23:59:00", challenge="23:56:00", put=attacker | network),
                record("in", "push_approved", "2026-03-11T00:01:00.500Z", sign_in="C", put=phone | home),
            )
        ],
    )
    [finding] = found(store)
    assert finding["summary"] == (
        "alice.adams@example.com did not approve 2 Okta Verify pushes (1 rejected, 1 abandoned) between "
        "2026-03-10 23:55:20 and 23:56:00 UTC, then signed in at 2026-03-11 00:01:00 UTC; "
        "signed in by OKTA_VERIFY_PUSH; "
        "pushes asked for from 198.51.100.23 (Bucharest, Romania, example hosting ltd; proxy); "
        "answered from 203.0.113.7 (Leeds, United Kingdom, example broadband); "
        "new for this user: New Device, New IP."
    )
    assert finding["src_ips"] == ["198.51.100.23", "203.0.113.7"]
    assert finding["severity"] == "medium"
    assert finding["confidence"] == "high"


def test_where_the_login_came_from_is_not_taken_for_where_the_pushes_were_asked_from(store: Store) -> None:
    deliver(
        store,
        [
            event.wire()
            for event in (
                denied("d1", "09:00:00"),
                denied("d2", "09:01:00"),
                record("in", "sms_verified", "09:02:00", ip="192.0.2.40"),
            )
        ],
    )
    [finding] = found(store)
    assert "the login came from 192.0.2.40" in finding["summary"]
    assert "asked for from" not in finding["summary"]


def test_what_is_not_known_is_not_said(store: Store) -> None:
    bare = {"client": {}, "request": None, "securityContext": None, "debugContext.debugData.behaviors": None}
    deliver(
        store,
        [
            event.wire()
            for event in (
                denied("d1", "09:00:00", put=bare),
                denied("d2", "09:01:00", put=bare),
                approved("in", "09:02:00", put=bare),
            )
        ],
    )
    [finding] = found(store)
    assert finding["summary"] == (
        "alice.adams@example.com did not approve 2 Okta Verify pushes (2 rejected) between 2026-03-10 09:00:00 and "
        "09:01:00 UTC, then signed in at 09:02:00 UTC; signed in by OKTA_VERIFY_PUSH."
    )
    assert finding["src_ips"] == []


@pytest.mark.parametrize("other", [("acme2", "r", "e"), ("acme", "r2", "e"), ("acme", "r", "e2"), ("acmer", "", "e")])
def test_a_uid_is_made_of_org_rule_and_trigger_and_nothing_else(other: tuple[str, str, str]) -> None:
    uid = finding_uid("acme", "r", "e")
    assert uid == finding_uid("acme", "r", "e")
    assert len(uid) == 32
    assert uid != finding_uid(*other)
