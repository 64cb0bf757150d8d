"""What lies around a finding, a user or an address: context, `poller timeline`, `poller posture`, `rules quality`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.store import Store
from tests.command_line import CommandLine
from tests.delivery import NOW, deliver, found

RANGE = ("--since", "2026-01-01")
HOME, AWAY = "203.0.113.7", "198.51.100.9"


@pytest.fixture
def poller(database_url: str, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"POLLER_DATABASE_URL": database_url})


def event(uid: str, time: str, event_type: str, user: str = "alice", ip: str = AWAY, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "uuid": uid,
        "published": f"2026-03-{time}Z",
        "eventType": event_type,
        "outcome": {"result": "SUCCESS"},
        "actor": {"id": f"00u{user}", "type": "User", "alternateId": f"{user.title()}@example.com"},
        "client": {"ipAddress": ip, "geographicalContext": {"country": "Romania" if ip == AWAY else "Germany"}},
        "securityContext": {"asOrg": "example hosting" if ip == AWAY else "example home"},
        "authenticationContext": {"externalSessionId": "session-1"},
    }
    return made | more


PUSH = {"debugContext": {"debugData": {"factor": "OKTA_VERIFY_PUSH", "pushOnlyResponseType": "OV_RESPONSE_APPROVE"}}}
APP = [{"type": "AppInstance", "id": "0oa1", "displayName": "Payroll"}]
MFA, DENY = "user.authentication.auth_via_mfa", "user.mfa.okta_verify.deny_push"
ATTACK = [
    event("home", "01T09:00:00", "user.session.start", ip=HOME),
    event("other", "10T08:30:00", "user.session.start", user="bob", outcome={"result": "FAILURE"}),
    event("d1", "10T09:00:00", DENY, ip=HOME),
    event("d2", "10T09:01:00", DENY, ip=HOME),
    event("in", "10T09:02:00", MFA, **PUSH),
    event("app", "10T10:00:00", "user.authentication.sso", target=APP),
    event("factor", "10T11:00:00", "user.mfa.factor.activate"),
    event("elsewhere", "10T11:30:00", "user.authentication.sso", target=APP)
    | {"authenticationContext": {"externalSessionId": "session-2"}},
    event("late", "11T10:00:00", "user.authentication.sso", target=APP),
    event("admin", "10T12:00:00", "user.mfa.factor.reset_all", user="root")
    | {"target": [{"type": "User", "id": "00ualice", "alternateId": "Alice@example.com"}]},
]


def shown(poller: CommandLine, store: Store) -> dict[str, Any]:
    [row] = found(store)
    told: dict[str, Any] = json.loads(poller("findings", "show", row["uid"], "--format", "json").out)
    return told["context"]


def test_a_finding_tells_what_came_of_it(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK)
    around = shown(poller, store)
    assert around["until"] == "2026-03-11T09:02:00.000Z"
    told = {done["what"]: (done["count"], done["names"]) for done in around["next"]}
    assert told == {"apps opened": (1, ["Payroll"]), "factors enrolled": (1, [])}
    places = {place["ip"]: place for place in around["addresses"]}
    assert places[AWAY]["user_was_here_before"] == 0
    assert places[HOME]["user_was_here_before"] == 1
    assert places[HOME]["user_was_here_first"] == "2026-03-01T09:00:00.000Z"
    assert [user["user"] for user in places[AWAY]["users"]] == ["Bob@example.com", "Root@example.com"]
    assert (places[AWAY]["users"][0]["failed"], places[AWAY]["users"][0]["succeeded"]) == (1, 0)


def test_it_grows_with_what_comes_in(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK[:5])
    assert shown(poller, store)["next"] == []
    deliver(store, ATTACK[5:6])
    assert [done["what"] for done in shown(poller, store)["next"]] == ["apps opened"]


def test_a_user_of_whom_nothing_is_stored_is_new_everywhere(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK[2:])
    [row] = found(store)
    assert all(place["user_known_since"] is None for place in shown(poller, store)["addresses"])
    text = " ".join(poller("findings", "show", row["uid"]).out.split())
    assert "nothing is stored of this user from a day before, so all is new" in text


def test_the_page_says_it_in_words(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK)
    [row] = found(store)
    text = " ".join(poller("findings", "show", row["uid"]).out.split())
    assert "then apps opened" in text
    assert "Payroll" in text
    assert "this user was never there before, in what is stored since 2026-03-01" in text
    assert "2 other users within a day" in text
    assert f"poller timeline --ip={AWAY}" in text


def test_a_timeline_of_a_user_holds_what_was_done_to_them(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK)
    for name in ("ALICE@example.com", "00ualice"):
        [told] = json.loads(poller("timeline", "--user", name, *RANGE, "--format", "json").out)
        assert told["events"] == 9
        assert "admin" in [one["uid"] for one in told["timeline"]]
        assert (told["first_seen_time"][:10], told["last_seen_time"][:10]) == ("2026-03-01", "2026-03-11")
        assert {one["name"]: one["events"] for one in told["countries"]} == {"Romania": 6, "Germany": 3}
    text = poller("timeline", "--user", "alice@example.com", *RANGE, "--limit", "2")
    assert "Root@example.com on" in " ".join(text.out.split())
    assert "2026-03-10 11:30:00" not in text.out
    assert "latest 2 of 9" in text.err


def test_a_timeline_of_an_address_holds_its_users(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK)
    deliver(store, [event("x", "10T08:00:00", "user.session.start", user="eve")], org="other")
    told = json.loads(poller("timeline", "--ip", AWAY, *RANGE, "--format", "json").out)
    assert [one["org"] for one in told] == ["acme", "other"]
    assert {one["name"] for one in told[0]["users"]} == {"Alice@example.com", "Bob@example.com", "Root@example.com"}
    assert {one["name"]: one["events"] for one in told[0]["outcomes"]} == {"SUCCESS": 6, "FAILURE": 1}
    one = json.loads(poller("timeline", "--ip", AWAY, *RANGE, "--org", "other", "--format", "json").out)
    assert [told["org"] for told in one] == ["other"]


def test_a_timeline_of_nobody_says_so(store: Store, poller: CommandLine) -> None:
    deliver(store, ATTACK)
    assert poller("timeline", "--user", "nobody", *RANGE).out.startswith("Nothing is stored of a user 'nobody'")
    assert poller("timeline", "--ip", "192.0.2.1", *RANGE).out.startswith("Nothing is stored from 192.0.2.1")
    assert "not a network" in poller("timeline", "--ip", "192.0.2.0/24", *RANGE).out
    assert poller("timeline").code == 2
    assert poller("timeline", "--user", "a", "--ip", "b").code == 2
    assert json.loads(poller("timeline", "--user", "\x1b[2J", *RANGE, "--format", "json").out) == []


def test_what_strangers_write_is_safe_to_read(store: Store, poller: CommandLine) -> None:
    evil = "\x1b]0;owned\x07=cmd()|\u202e<script>"
    events = [{**one, "client": {**one["client"], "userAgent": {"rawUserAgent": evil}}} for one in ATTACK]
    for one in events:
        one["actor"] = {**one["actor"], "alternateId": evil + one["actor"]["id"]}
    deliver(store, events)
    [row] = found(store)
    for words in (("findings", "show", row["uid"]), ("timeline", "--ip", AWAY, *RANGE), ("posture", *RANGE)):
        assert not set("\x1b\x07\u202e") & set(poller(*words).out)


def test_posture_puts_admins_first_and_counts_by_week(store: Store, poller: CommandLine) -> None:
    number = {"debugContext": {"debugData": {**PUSH["debugContext"]["debugData"]}}}
    number["debugContext"]["debugData"]["pushWithNumberChallengeResponseType"] = "OV_WITH_CHALLENGE_RESPONSE_VALID"
    deliver(
        store,
        [
            *(event(f"p{n}", f"0{n}T09:00:00", MFA, user="plain", **PUSH) for n in range(2, 6)),
            event("n1", "09T09:00:00", MFA, user="careful", **number),
            event("a1", "09T09:00:00", MFA, user="root", **PUSH),
            event("a2", "09T09:05:00", "user.session.access_admin_app", user="root"),
            event("a3", "09T09:06:00", DENY, user="root"),
        ],
    )
    told = json.loads(poller("posture", *RANGE, "--format", "json").out)
    assert [user["user_uid"] for user in told] == ["00uroot", "00uplain", "00ucareful"]
    by_denials = json.loads(poller("posture", *RANGE, "--by", "denied", "--format", "json").out)
    assert [user["user_uid"] for user in by_denials] == ["00uroot", "00uplain", "00ucareful"]
    assert [user["is_admin"] for user in told] == [True, False, False]
    assert [(user["plain"], user["with_number"], user["rejected"]) for user in told] == [
        (1, 0, 1),
        (4, 0, 0),
        (0, 1, 0),
    ]
    assert {week: counts["plain"] for week, counts in told[1]["weeks"].items()} == {"2026-03-02": 4}
    text = poller("posture", *RANGE).out
    assert "2 of 3 users with pushes still get them without number challenge, 1 of them admins" in text
    assert "No push was answered" in poller("posture", "--since", "1d").out


def test_quality_says_how_much_of_the_work_was_worth_it(store: Store, poller: CommandLine) -> None:
    def attack(user: str) -> list[dict[str, Any]]:
        steps = [("1", "09:00:00", DENY, {}), ("2", "09:01:00", DENY, {}), ("3", "09:02:00", MFA, PUSH)]
        return [event(user + n, f"10T{at}", kind, user=user, **more) for n, at, kind, more in steps]

    for user in ("alice", "bob", "carl", "dora"):
        deliver(store, attack(user))
    uids = [row["uid"] for row in found(store)]
    store.set_status(uids[0], "resolved", "false_positive", None, NOW + timedelta(hours=1))
    store.set_status(uids[1], "in_progress", None, None, NOW)
    store.set_status(uids[1], "resolved", "true_positive", None, NOW + timedelta(hours=3))
    store.set_status(uids[2], "resolved", "duplicate", None, NOW + timedelta(hours=5))
    because = ("--reason", "kiosk", "--owner", "sec")
    assert poller("exceptions", "add", "--rule", "push_fatigue", "--until", "3d", *because).code == 0
    rows = {row["rule"]: row for row in json.loads(poller("rules", "quality", *RANGE, "--format", "json").out)}
    told = rows["push_fatigue"]
    assert (told["findings"], told["open"], told["closed"]) == (4, 1, 3)
    assert (told["true_positives"], told["false_positives"], told["false_positive_rate"]) == (1, 1, 0.5)
    assert told["median_seconds_to_close"] == 3 * 3600
    assert told["last_match_time"] == "2026-03-10T09:02:00.000Z"
    assert (told["exceptions"], told["exceptions_ending_soon"]) == (1, 1)
    assert rows["poller_lagging"]["findings"] == 0
    assert "50%" in poller("rules", "quality", *RANGE, "--format", "table").out
