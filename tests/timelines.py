"""Attack timelines for `push_fatigue`, written from the words of the rule's specification alone. Data, no tests.

Each timeline is a list of records in the order in which Okta delivers them, and the findings that must be there once
all of them are stored, in whatever pages, order and number of times. Records are made of the samples in
`okta_events/`: one file per activity, a list of variants, named here in `VARIANTS`.

Times are of one day, UTC, unless they carry a date. `uid_of(label)` is the `uuid` of the event with that label.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent / "okta_events"
DAY = "2026-03-10"
ORG = "acme.okta.example"
OTHER_ORG = "other.okta.example"

# The variants of each file, in its order. The first is what `record` takes where a timeline names none.
VARIANTS: dict[str, tuple[str, ...]] = {
    "app_opened": ("identity_engine", "classic", "refused"),
    "fastpass_refused": ("identity_engine", "factor_in_target", "phishing"),
    "fastpass_used": ("identity_engine", "factor_in_target"),
    "password_refused": ("identity_engine", "factor_in_target"),
    "password_verified": ("identity_engine", "factor_in_target"),
    "push_abandoned": ("identity_engine", "no_challenge_time", "factor_in_target", "no_sign_in", "null_challenge_time"),
    "push_approved": ("identity_engine", "classic", "number_challenge", "factor_in_target", "system_actor"),
    "push_denied": ("identity_engine", "factor_in_target", "push_in_target", "system_actor", "nulls", "challenge_time"),
    "push_denied_classic": ("failure", "success", "null_outcome", "system_actor", "bare"),
    "push_denied_mfa_classic": ("classic", "no_factor", "system_actor"),
    "push_denied_upgrade_needed": ("classic", "system_actor"),
    "push_error": ("app_error", "number_challenge_error", "unexplained"),
    "push_for_enrolment": ("approved", "denied"),
    "push_for_recovery": ("approved", "denied"),
    "push_sent": ("identity_engine", "classic", "system_actor", "no_debug"),
    "push_unanswered": ("identity_engine", "no_challenge_time"),
    "push_wrong_number": ("identity_engine", "factor_in_target"),
    "security_question_answered": ("identity_engine", "factor_in_target"),
    "session_refused": ("identity_engine", "classic"),
    "session_started": ("identity_engine", "classic", "bare"),
    "sign_in_verified": ("identity_engine", "bare", "refused"),
    "sign_on_allowed": ("identity_engine", "classic"),
    "sign_on_challenged": ("identity_engine", "classic"),
    "sms_refused": ("identity_engine", "factor_in_target"),
    "sms_verified": ("identity_engine", "factor_in_target"),
    "totp_refused": ("identity_engine", "factor_in_target"),
    "totp_verified": ("identity_engine", "factor_in_target"),
    "webauthn_abandoned": ("identity_engine", "factor_in_target"),
    "webauthn_verified": ("identity_engine", "factor_in_target"),
}


@dataclass(frozen=True)
class User:
    """A person as Okta names them: `uid` is `actor.id`, `name` is `alternateId`."""

    uid: str
    name: str
    display_name: str


ALICE = User("00u4k2alice7ExAmP5d7", "alice.adams@example.com", "Alice Adams")
BOB = User("00u9m1bobby3ExAmPq5d7", "bob.brown@example.com", "Bob Brown")


@dataclass(frozen=True)
class Record:
    """One event as Okta delivers it. `raw` may hold NUL and lone surrogates: `wire()` writes them as escapes."""

    label: str
    org: str
    raw: dict[str, Any]

    @property
    def uid(self) -> str:
        return str(self.raw["uuid"])

    def wire(self) -> bytes:
        return json.dumps(self.raw).encode("ascii")


@dataclass(frozen=True)
class Expected:
    """One finding that must be there.

    `trigger` and `confidence` may be several, any of which will do. `attempts` counts challenges, `kinds` says of which
    kind. `evidence` are labels that must be among the evidence, beside the trigger; `not_evidence` must not be. The
    summary holds every text of `says`.
    """

    trigger: str | tuple[str, ...]
    attempts: int
    kinds: Mapping[str, int]
    confidence: str | tuple[str, ...]
    evidence: tuple[str, ...] = ()
    not_evidence: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    user: User = ALICE
    org: str = ORG

    @property
    def trigger_uids(self) -> set[str]:
        return {uid_of(label) for label in ((self.trigger,) if isinstance(self.trigger, str) else self.trigger)}

    @property
    def confidences(self) -> set[str]:
        return {self.confidence} if isinstance(self.confidence, str) else set(self.confidence)


@dataclass(frozen=True)
class Timeline:
    """Events in the order of their arrival, and all the findings of `push_fatigue` that they make.

    `settings` is the `[rules.push_fatigue]` table. `debatable` says why another reading of the words is possible.
    """

    name: str
    events: Sequence[Record]
    expect: Sequence[Expected] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    debatable: str | None = None

    def __post_init__(self) -> None:
        known = {(event.org, event.label) for event in self.events}
        assert len(known) == len(self.events), f"{self.name}: a label is used twice"
        for finding in self.expect:
            triggers = (finding.trigger,) if isinstance(finding.trigger, str) else finding.trigger
            for label in (*triggers, *finding.evidence, *finding.not_evidence):
                assert (finding.org, label) in known, f"{self.name}: no event {label}"
            assert sum(finding.kinds.values()) == finding.attempts, f"{self.name}: the kinds do not add up"


def uid_of(label: str) -> str:
    """The `uuid` of the event with this label; the same in every timeline and org."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://example.com/timelines/{label}"))


@cache
def _samples(activity: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((SAMPLES / f"{activity}.json").read_text("utf-8"))
    assert len(found) == len(VARIANTS[activity]), f"okta_events/{activity}.json: other variants than VARIANTS names"
    return found


def record(
    label: str,
    activity: str,
    at: str,
    *,
    variant: str | None = None,
    user: User = ALICE,
    org: str = ORG,
    sign_in: str | None = None,
    session: str | None = None,
    root: str | None = None,
    transaction: str | None = None,
    challenge: str | None = None,
    ip: str | None = None,
    put: Mapping[str, Any] | None = None,
) -> Record:
    """A sample as an event of its own.

    Args:
        at: `09:00:00`, with any fraction, of `DAY`; with a `T` in it, `published` verbatim.
        sign_in: `authnRequestId`; None takes it away. Its session is `idx<sign_in>` unless `session` says otherwise.
        transaction: `transaction.id`; by default one of its own.
        challenge: `authenticatorMethodChallengeTime` (as `at`); None takes it away.
        put: dotted paths and the values that go there, last of all.
    """
    raw = copy.deepcopy(_samples(activity)[VARIANTS[activity].index(variant) if variant else 0])
    raw["uuid"] = uid_of(label)
    raw["published"] = at if "T" in at else f"{DAY}T{at}Z"
    person = {"id": user.uid, "alternateId": user.name, "displayName": user.display_name}
    for who in (raw["actor"], *(raw["target"] or ())):
        if who["type"] == "User":
            who.update(person)
        elif who["type"] == "AppUser":
            who.update(alternateId=user.name, displayName=user.display_name)
    if raw["transaction"] is not None:
        raw["transaction"]["id"] = transaction or f"txn{uid_of(label)[:13]}"
    session = session or (f"idx{sign_in}" if sign_in else None)
    if raw["authenticationContext"] is not None:
        raw["authenticationContext"]["externalSessionId"] = session
        raw["authenticationContext"]["rootSessionId"] = root or session
    if raw["debugContext"] is not None:
        debug = raw["debugContext"]["debugData"]
        for key, value in (("authnRequestId", sign_in), ("authenticatorMethodChallengeTime", _instant(challenge))):
            debug.pop(key, None)
            if value is not None:
                debug[key] = value
    if ip is not None:
        raw["client"]["ipAddress"] = ip
        raw["request"]["ipChain"][0]["ip"] = ip
    for path, value in (put or {}).items():
        *parents, last = path.split(".")
        there = raw
        for key in parents:
            there = there[key]
        there[last] = value
    return Record(label, org, raw)


def _instant(at: str | None) -> str | None:
    """A challenge time in Okta's form, with an offset; what is not a time of day stays as it is."""
    return at if at is None or "T" in at or not at[0].isdigit() else f"{DAY}T{at}+00:00"


def plus(at: str, milliseconds: int) -> str:
    """A time of day, so much later."""
    later = datetime.fromisoformat(f"{DAY}T{at}") + timedelta(milliseconds=milliseconds)
    return f"{later:%H:%M:%S}.{later.microsecond // 1000:03}"


# ---- sign-ins as Okta writes them ----


def password_step(name: str, at: str, *, sign_in: str | None = None, **kw: Any) -> list[Record]:
    """Identity Engine: the right password, a session, and a policy that asks for more. Not a login."""
    kw = {"sign_in": sign_in or name, **kw}
    return [
        record(f"{name}.password", "password_verified", at, transaction=f"txn-{name}", **kw),
        record(f"{name}.session", "session_started", plus(at, 24), transaction=f"txn-{name}", **kw),
        record(f"{name}.challenged", "sign_on_challenged", plus(at, 61), transaction=f"txn-{name}", **kw),
    ]


def denied_sign_in(name: str, at: str, **kw: Any) -> list[Record]:
    """Identity Engine: the right password, a push after 2 s, denied on the phone after 15 s."""
    return [
        *password_step(name, at, **kw),
        record(f"{name}.sent", "push_sent", plus(at, 2000), **{"sign_in": name, **kw}),
        record(f"{name}.denied", "push_denied", plus(at, 15000), **{"sign_in": name, **kw}),
    ]


def approved_sign_in(name: str, at: str, **kw: Any) -> list[Record]:
    """Identity Engine: the right password, a push after 2 s, approved after 9 s, and an app after 11 s."""
    kw = {"sign_in": name, **kw}
    return [
        *password_step(name, at, **kw),
        record(f"{name}.sent", "push_sent", plus(at, 2000), **kw),
        record(f"{name}.approved", "push_approved", plus(at, 9000), **kw),
        record(f"{name}.allowed", "sign_on_allowed", plus(at, 9050), **kw),
        record(f"{name}.verified", "sign_in_verified", plus(at, 9090), **kw),
        record(f"{name}.app", "app_opened", plus(at, 11000), **kw),
    ]


def classic_denial(name: str, at: str, **kw: Any) -> list[Record]:
    """Classic: one push sent after 2 s, one denial after 15 s, written twice in one transaction."""
    kw = {"transaction": f"txn-{name}", **kw}
    return [
        record(
            f"{name}.sent", "push_sent", plus(at, 2000), variant="classic", **{**kw, "transaction": f"txn-{name}-0"}
        ),
        record(f"{name}.denied", "push_denied_classic", plus(at, 15000), **kw),
        record(f"{name}.failed", "push_denied_mfa_classic", plus(at, 15029), **kw),
    ]


def classic_login(name: str, at: str, **kw: Any) -> list[Record]:
    """Classic: a push approved, a session and an app, the first two in one transaction."""
    kw = {"transaction": f"txn-{name}", "session": f"102{name}", **kw}
    return [
        record(f"{name}.approved", "push_approved", at, variant="classic", **kw),
        record(f"{name}.session", "session_started", plus(at, 40), variant="classic", **kw),
        record(
            f"{name}.app", "app_opened", plus(at, 1500), variant="classic", **{**kw, "transaction": f"txn-{name}-1"}
        ),
    ]


def denied(label: str, at: str, **kw: Any) -> Record:
    """A denial in Identity Engine, in a sign-in of its own."""
    return record(label, "push_denied", at, **{"sign_in": f"S-{label}", **kw})


def approved(label: str, at: str, **kw: Any) -> Record:
    """An approved push in Identity Engine, in a sign-in of its own."""
    return record(label, "push_approved", at, **{"sign_in": f"S-{label}", **kw})


def sent(label: str, at: str, sign_in: str | None, **kw: Any) -> Record:
    return record(label, "push_sent", at, sign_in=sign_in, **kw)


def abandoned(label: str, at: str, *, challenge: str | None = None, **kw: Any) -> Record:
    """A push that ran out: written at `at`, sent at `challenge`."""
    return record(label, "push_abandoned", at, **{"sign_in": f"S-{label}", "challenge": challenge, **kw})


def two_denials(**kw: Any) -> list[Record]:
    """What most timelines start with: two attempts, at 09:00:00 and 09:01:00."""
    return [denied("d1", "09:00:00", **kw), denied("d2", "09:01:00", **kw)]


def two(**kw: Any) -> dict[str, Any]:
    """What `two_denials` must come to."""
    return {"attempts": 2, "kinds": {"rejected": 2}, "evidence": ("d1", "d2"), **kw}


TIMELINES: list[Timeline] = []


def timeline(name: str, *parts: Record | list[Record], expect: Sequence[Expected] = (), **kw: Any) -> None:
    events = [event for part in parts for event in (part if isinstance(part, list) else [part])]
    TIMELINES.append(Timeline(name, events, expect, **kw))


# ---- each kind of failed attempt ----


def _sent_at(variant: str, at: str) -> str | None:
    return at if variant == "challenge_time" else None


timeline(
    "two sign-ins denied and a third approved, in Identity Engine",
    denied_sign_in("one", "09:00:00"),
    denied_sign_in("two", "09:01:00"),
    approved_sign_in("three", "09:02:00"),
    expect=[
        Expected(
            "three.approved",
            2,
            {"rejected": 2},
            "high",
            evidence=("one.denied", "two.denied", "three.verified", "three.app"),
            says=(ALICE.name, "2", "198.51.100.23", "203.0.113.7", "New Device", "09:00", "09:02"),
        )
    ],
)
timeline(
    "two sign-ins denied and a third approved, in Classic, where each denial is written twice",
    classic_denial("one", "09:00:00"),
    classic_denial("two", "09:01:00"),
    classic_login("three", "09:02:00"),
    expect=[
        Expected(
            "three.approved",
            2,
            {"rejected": 2},
            "high",
            evidence=("one.denied", "one.failed", "two.denied", "two.failed", "three.session", "three.app"),
            says=(ALICE.name, "198.51.100.23", "203.0.113.7"),
        )
    ],
)
for _variant in VARIANTS["push_denied_classic"]:
    timeline(
        f"a Classic deny_push is a denial whatever its outcome ({_variant})",
        record("d1", "push_denied_classic", "09:00:00", variant=_variant),
        record("d2", "push_denied_classic", "09:01:00", variant=_variant),
        approved("in", "09:02:00"),
        expect=[Expected("in", **two(confidence="high"))],
    )
for _variant in VARIANTS["push_denied"]:
    timeline(
        f"an Identity Engine push with outcome FAILURE is a denial ({_variant})",
        record(
            "d1", "push_denied", "09:00:00", variant=_variant, sign_in="S1", challenge=_sent_at(_variant, "08:59:50")
        ),
        record(
            "d2", "push_denied", "09:01:00", variant=_variant, sign_in="S2", challenge=_sent_at(_variant, "09:00:50")
        ),
        approved("in", "09:02:00"),
        expect=[Expected("in", **two(confidence="high"))],
    )
for _variant in VARIANTS["push_denied_mfa_classic"]:
    timeline(
        f"the reason 'User rejected Okta push verify' alone makes a denial ({_variant})",
        record("d1", "push_denied_mfa_classic", "09:00:00", variant=_variant),
        record("d2", "push_denied_mfa_classic", "09:01:00", variant=_variant),
        approved("in", "09:02:00", variant="classic"),
        expect=[Expected("in", **two(confidence="high"))],
    )
for _variant in VARIANTS["push_wrong_number"]:
    timeline(
        f"the wrong number chosen twice ({_variant})",
        record("d1", "push_wrong_number", "09:00:00", variant=_variant, sign_in="S1"),
        record("d2", "push_wrong_number", "09:01:00", variant=_variant, sign_in="S2"),
        approved("in", "09:02:00", variant="number_challenge"),
        expect=[Expected("in", **two(confidence="high"))],
    )
for _variant in VARIANTS["push_error"]:
    timeline(
        f"the app failing twice, even where it says APPROVE ({_variant})",
        record("d1", "push_error", "09:00:00", variant=_variant, sign_in="S1"),
        record("d2", "push_error", "09:01:00", variant=_variant, sign_in="S2"),
        approved("in", "09:02:00"),
        expect=[Expected("in", **two(confidence="high"))],
    )
timeline(
    "two pushes abandoned before the login",
    abandoned("a1", "09:05:00", challenge="09:00:00"),
    abandoned("a2", "09:05:30", challenge="09:00:30", variant="factor_in_target"),
    approved("in", "09:06:00"),
    expect=[Expected("in", 2, {"abandoned": 2}, "high", evidence=("a1", "a2"))],
)
timeline(
    "two pushes left unanswered in sign-ins that never succeeded",
    record("u1", "push_unanswered", "09:01:00", sign_in="S1", challenge="09:00:00"),
    record("u2", "push_unanswered", "09:02:00", sign_in="S2", challenge="09:01:30"),
    approved("in", "09:03:00"),
    expect=[Expected("in", 2, {"unanswered": 2}, "high", evidence=("u1", "u2"))],
)
timeline(
    "one attempt of each kind",
    record("classic", "push_denied_classic", "09:00:00"),
    denied("denied", "09:01:00"),
    record("number", "push_wrong_number", "09:02:00", sign_in="S3"),
    record("error", "push_error", "09:03:00", sign_in="S4"),
    record("unanswered", "push_unanswered", "09:04:30", sign_in="S5", challenge="09:04:00"),
    approved("in", "09:06:00"),
    abandoned("abandoned", "09:10:00", challenge="09:05:00"),
    expect=[
        Expected(
            "in",
            6,
            {"rejected": 4, "unanswered": 1, "abandoned": 1},
            "high",
            evidence=("classic", "denied", "number", "error", "unanswered", "abandoned"),
        )
    ],
)

# ---- near misses: no failed attempt ----


def _one_denial_and(name: str, *near: Record, debatable: str | None = None) -> None:
    """One attempt, any number of near misses, and a login: nothing to find."""
    timeline(
        f"no attempt: {name}", denied("d1", "09:00:00"), list(near), approved("in", "09:05:00"), debatable=debatable
    )


_one_denial_and("nothing else")
for _variant in VARIANTS["push_denied_upgrade_needed"]:
    _one_denial_and(
        f"deny_push_upgrade_needed ({_variant})",
        record("n1", "push_denied_upgrade_needed", "09:01:00", variant=_variant),
        record("n2", "push_denied_upgrade_needed", "09:02:00", variant=_variant),
    )
for _activity in ("password_refused", "totp_refused", "sms_refused", "fastpass_refused", "webauthn_abandoned"):
    for _variant in VARIANTS[_activity]:
        _one_denial_and(
            f"{_activity} ({_variant})",
            record("n1", _activity, "09:01:00", variant=_variant, sign_in="S1"),
            record("n2", _activity, "09:02:00", variant=_variant, sign_in="S2"),
        )
_one_denial_and(
    "wrong passwords with the session.start FAILURE that Okta writes 3 ms later",
    record("n1", "password_refused", "09:01:00.000", sign_in="S1"),
    record("n2", "session_refused", "09:01:00.003", sign_in="S1"),
    record("n3", "session_refused", "09:02:00", variant="classic"),
)
_one_denial_and(
    "pushes sent and never answered, which Okta does not write down",
    *(sent(f"n{number}", f"09:0{number}:00", f"S{number}") for number in range(1, 5)),
)
_one_denial_and(
    "a failure of a factor that nothing names",
    record(
        "n1",
        "push_error",
        "09:01:00",
        variant="unexplained",
        sign_in="S1",
        put={"debugContext.debugData.factor": None, "target": None},
    ),
    record(
        "n2", "push_error", "09:02:00", variant="unexplained", sign_in="S2", put={"debugContext": None, "target": None}
    ),
)
_one_denial_and(
    "a push with another outcome than FAILURE, ABANDONED and UNANSWERED",
    *(
        record(f"n-{outcome}", "push_denied", f"09:01:0{number}", sign_in=f"S{number}", put={"outcome.result": outcome})
        for number, outcome in enumerate(("SKIPPED", "CHALLENGE", "UNKNOWN", "RATE_LIMIT", "DEFERRED", "A_NEW_OUTCOME"))
    ),
)
_one_denial_and(
    "pushes denied, abandoned and approved in another event type than MFA",
    record("n1", "push_denied", "09:01:00", sign_in="S1", put={"eventType": "user.authentication.auth_via_radius"}),
    record(
        "n2",
        "push_abandoned",
        "09:02:00",
        sign_in="S2",
        challenge="09:01:30",
        put={"eventType": "policy.evaluate_sign_on"},
    ),
)
for _activity in ("push_for_enrolment", "push_for_recovery"):
    timeline(
        f"a push denied twice ({_activity}) is a failed attempt",
        record("d1", _activity, "09:00:00", variant="denied", sign_in="S1"),
        record("d2", _activity, "09:01:00", variant="denied", sign_in="S2"),
        approved("in", "09:02:00"),
        expect=[Expected("in", **two(confidence="high"))],
        debatable="the words keep enrolment and recovery out of logins, and do not name them among attempts",
    )
timeline(
    "a push denied by the words of its response type alone, no factor and no target",
    record("d1", "push_denied", "09:00:00", sign_in="S1", put={"debugContext.debugData.factor": None, "target": None}),
    record("d2", "push_denied", "09:01:00", sign_in="S2", put={"debugContext.debugData.factor": None, "target": None}),
    approved("in", "09:02:00"),
    expect=[Expected("in", **two(confidence="high"))],
    debatable="the words read the factor from debugData or the target, but OV_RESPONSE_DENY can only be a push",
)
timeline(
    "deny_push_upgrade_needed with an MFA FAILURE of the push factor in its transaction",
    record("n1", "push_denied_upgrade_needed", "09:00:00.000", transaction="T1"),
    record("f1", "push_error", "09:00:00.030", variant="unexplained", transaction="T1"),
    record("n2", "push_denied_upgrade_needed", "09:01:00.000", transaction="T2"),
    record("f2", "push_error", "09:01:00.030", variant="unexplained", transaction="T2"),
    approved("in", "09:02:00"),
    expect=[Expected("in", 2, {"rejected": 2}, "high", evidence=("f1", "f2"))],
    debatable="the MFA FAILURE counts by the words, but it tells of an app too old, not of a user's denial",
)

# ---- attempts, not events ----

timeline(
    "one Classic denial written twice is one attempt",
    classic_denial("one", "09:00:00"),
    classic_login("in", "09:02:00"),
)
timeline(
    "a Classic denial whose second event names the sign-in of the send is one attempt",
    sent("s1", "09:00:00", "S1"),
    record("d1", "push_denied_classic", "09:00:10.000", transaction="T1"),
    record("f1", "push_denied_mfa_classic", "09:00:10.030", transaction="T1", sign_in="S1"),
    approved("in", "09:02:00"),
)
timeline(
    "two phones denying one challenge, half a minute apart, are one attempt",
    sent("s1", "09:00:00.000", "S1"),
    sent("s2", "09:00:00.041", "S1"),
    denied("d1", "09:00:10", sign_in="S1"),
    denied("d2", "09:00:40", sign_in="S1", ip="203.0.113.99"),
    approved("in", "09:02:00"),
)
timeline(
    "one push to three devices, denied once, is one attempt",
    *(sent(f"s{number}", f"09:00:00.0{number}0", "S1") for number in range(3)),
    denied("d1", "09:00:10", sign_in="S1"),
    approved("in", "09:02:00"),
)
timeline(
    "two pushes to three devices, each denied on two of them, are two attempts",
    *(sent(f"s{number}", f"09:00:00.0{number}0", "S1") for number in range(3)),
    denied("d1", "09:00:10", sign_in="S1"),
    denied("d2", "09:00:12", sign_in="S1"),
    *(sent(f"s{number}", f"09:01:00.0{number}0", "S2") for number in range(3, 6)),
    denied("d3", "09:01:10", sign_in="S2"),
    denied("d4", "09:01:12", sign_in="S2"),
    approved("in", "09:02:00"),
    expect=[Expected("in", 2, {"rejected": 2}, "high", evidence=("d1", "d2", "d3", "d4"))],
)
for _expired, _how in (("09:00:00", "with its challenge time"), (None, "with the send alone")):
    timeline(
        f"a push that expires on one phone after a denial on another is one attempt ({_how})",
        sent("s1", "09:00:00.000", "S1"),
        sent("s2", "09:00:00.030", "S1"),
        denied("d1", "09:00:10", sign_in="S1"),
        abandoned("a1", "09:05:00", sign_in="S1", challenge=_expired),
        approved("in", "09:05:30"),
    )
timeline(
    "two devices that both let one push expire are one attempt",
    sent("s1", "09:00:00.000", "S1"),
    sent("s2", "09:00:00.030", "S1"),
    abandoned("a1", "09:05:00.000", sign_in="S1"),
    abandoned("a2", "09:05:00.040", sign_in="S1"),
    approved("in", "09:05:30"),
)
timeline(
    "a push sent again within the same sign-in is a new attempt, and so is its approval the login",
    password_step("S1", "09:00:00"),
    sent("s1", "09:00:02", "S1"),
    denied("d1", "09:00:12", sign_in="S1"),
    sent("s2", "09:00:17", "S1"),
    denied("d2", "09:00:25", sign_in="S1"),
    sent("s3", "09:00:30", "S1"),
    approved("in", "09:00:38", sign_in="S1"),
    record("verified", "sign_in_verified", "09:00:38.100", sign_in="S1"),
    expect=[Expected("in", **two(confidence="high", evidence=("d1", "d2", "verified")))],
)
timeline(
    "a push sent again to two devices and denied on both: two attempts, not three",
    sent("s1", "09:00:00.000", "S1"),
    sent("s2", "09:00:00.041", "S1"),
    denied("d1", "09:00:10", sign_in="S1"),
    sent("s3", "09:00:20.000", "S1"),
    sent("s4", "09:00:20.039", "S1"),
    denied("d2", "09:00:30", sign_in="S1"),
    denied("d3", "09:00:33", sign_in="S1"),
    approved("in", "09:02:00"),
    expect=[Expected("in", 2, {"rejected": 2}, "high", evidence=("d1", "d2", "d3"))],
)
timeline(
    "a first push that runs out and a second of the same sign-in that is denied are two attempts",
    sent("s1", "09:00:00", "S1"),
    sent("s2", "09:00:30", "S1"),
    denied("d1", "09:00:40", sign_in="S1"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:05:00", sign_in="S1", challenge="09:00:00"),
    expect=[Expected("in", 2, {"rejected": 1, "abandoned": 1}, "high", evidence=("a1", "d1"))],
)
timeline(
    "two denials of one sign-in with challenge times of their own are two attempts, though no send was seen",
    denied("d1", "09:00:10", sign_in="S1", challenge="09:00:00"),
    denied("d2", "09:00:40", sign_in="S1", challenge="09:00:30"),
    approved("in", "09:02:00"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "two denials of one sign-in with the same challenge time are one attempt, though no send was seen",
    denied("d1", "09:00:10", sign_in="S1", challenge="09:00:00"),
    denied("d2", "09:00:40", sign_in="S1", challenge="09:00:00"),
    approved("in", "09:02:00"),
)
timeline(
    "two denials of one sign-in, a minute apart, with neither send nor challenge time are one attempt",
    denied("d1", "09:00:10", sign_in="S1"),
    denied("d2", "09:01:10", sign_in="S1"),
    approved("in", "09:02:00"),
    debatable="nothing tells two phones answering one challenge from a push sent again whose send is missing",
)
timeline(
    "attempts without any authnRequestId stand each for itself",
    sent("s1", "09:00:00", None),
    denied("d1", "09:00:10", sign_in=None),
    sent("s2", "09:01:00", None),
    denied("d2", "09:01:10", sign_in=None),
    approved("in", "09:02:00", sign_in=None),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "two sign-ins denied within one transaction are two attempts",
    sent("s1", "09:00:00", "S1", transaction="T"),
    denied("d1", "09:00:10", sign_in="S1", transaction="T"),
    sent("s2", "09:01:00", "S2", transaction="T"),
    denied("d2", "09:01:10", sign_in="S2", transaction="T"),
    approved("in", "09:02:00", sign_in="S3", transaction="T"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "two Classic denials in one transaction, a push sent before each, are two attempts",
    sent("s1", "09:00:00", None, variant="classic", transaction="T"),
    record("d1", "push_denied_classic", "09:00:10", transaction="T"),
    sent("s2", "09:01:00", None, variant="classic", transaction="T"),
    record("d2", "push_denied_classic", "09:01:10", transaction="T"),
    approved("in", "09:02:00", variant="classic", sign_in=None, transaction="T"),
    expect=[Expected("in", **two(confidence="high"))],
    debatable="one transaction is said to hold one denial written twice; here a send between them shows two challenges",
)
timeline(
    "forty denials and then an approval are one finding",
    *(
        event
        for number in range(40)
        for event in (
            sent(f"s{number}", plus("09:00:00", number * 12_000), "S1"),
            denied(f"d{number}", plus("09:00:05", number * 12_000), sign_in="S1"),
        )
    ),
    approved("in", "09:09:00", sign_in="S1"),
    expect=[Expected("in", 40, {"rejected": 40}, "high", evidence=("d0", "d39"))],
)

timeline(
    "one phone denies and another then approves the same push: an attempt, and the login that it came before",
    denied("d1", "09:00:00"),
    sent("s1", "09:01:00.000", "S1"),
    sent("s2", "09:01:00.030", "S1"),
    denied("d2", "09:01:08", sign_in="S1"),
    approved("in", "09:01:10", sign_in="S1", ip="203.0.113.99"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "one phone approves and another then denies the same push: a denial after the login",
    denied("d1", "09:00:00"),
    sent("s1", "09:01:00.000", "S1"),
    sent("s2", "09:01:00.030", "S1"),
    approved("in", "09:01:10", sign_in="S1"),
    denied("d2", "09:01:12", sign_in="S1", ip="203.0.113.99"),
)

timeline(
    "two pushes of one sign-in, both abandoned, with sends a minute apart and no challenge time, are two attempts",
    sent("s1", "09:00:00", "S1"),
    sent("s2", "09:01:00", "S1"),
    abandoned("a1", "09:05:00", sign_in="S1"),
    abandoned("a2", "09:06:00", sign_in="S1"),
    approved("in", "09:07:00"),
    expect=[Expected("in", 2, {"abandoned": 2}, "high", evidence=("a1", "a2"))],
    debatable="both abandonments follow both sends: nothing but their number says which is whose",
)
timeline(
    "two phones denying a challenge of one challenge time, with no authnRequestId, are one attempt",
    denied("d1", "09:00:10", sign_in=None, challenge="09:00:00"),
    denied("d2", "09:00:40", sign_in=None, challenge="09:00:00"),
    approved("in", "09:02:00"),
    debatable="the challenge time names the challenge to the millisecond, but only authnRequestId is said to tie",
)
timeline(
    "denials of two users in one transaction are attempts of each",
    denied("a1", "09:00:00.000", sign_in=None, transaction="T1"),
    denied("b1", "09:00:00.010", sign_in=None, transaction="T1", user=BOB),
    denied("a2", "09:01:00.000", sign_in=None, transaction="T2"),
    denied("b2", "09:01:00.010", sign_in=None, transaction="T2", user=BOB),
    approved("in-a", "09:02:00"),
    approved("in-b", "09:02:30", user=BOB),
    expect=[
        Expected("in-a", 2, {"rejected": 2}, "high", evidence=("a1", "a2"), not_evidence=("b1", "b2")),
        Expected("in-b", 2, {"rejected": 2}, "high", evidence=("b1", "b2"), not_evidence=("a1", "a2"), user=BOB),
    ],
)

# ---- when an abandoned push counts ----

timeline(
    "abandonments that Okta writes minutes after the login count, since their pushes were sent before it",
    sent("s1", "09:00:00", "S1"),
    sent("s2", "09:01:00", "S2"),
    approved_sign_in("in", "09:02:00"),
    abandoned("a1", "09:05:00", sign_in="S1"),
    abandoned("a2", "09:06:00", sign_in="S2", challenge="09:01:00"),
    expect=[Expected("in.approved", 2, {"abandoned": 2}, "high", evidence=("a1", "a2"))],
)
timeline(
    "an abandonment written in time of a push sent after the login does not count",
    denied("d1", "09:00:00"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:08:00", challenge="09:02:00.001"),
)
timeline(
    "a push sent at the very start of the window counts, though it was abandoned much later",
    abandoned("a1", "09:12:00", challenge="09:00:00"),
    denied("d1", "09:05:00"),
    approved("in", "09:10:00"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"))],
)
timeline(
    "a push sent 1 ms before the window does not count, though it was abandoned within it",
    abandoned("a1", "09:04:59", challenge="08:59:59.999"),
    denied("d1", "09:05:00"),
    approved("in", "09:10:00"),
)
timeline(
    "a push whose send alone tells that it was before the window does not count",
    sent("s1", "08:59:59.999", "S1"),
    abandoned("a1", "09:04:59", sign_in="S1"),
    denied("d1", "09:05:00"),
    approved("in", "09:10:00"),
)
timeline(
    "where challenge time and send disagree, the challenge time is right",
    sent("s1", "08:59:58", "S1"),
    abandoned("a1", "09:04:59", sign_in="S1", challenge=f"{DAY}T11:00:00.000000+02:00"),
    denied("d1", "09:05:00"),
    approved("in", "09:10:00"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"))],
)
timeline(
    "where the challenge time can't be read, the send tells",
    sent("s1", "09:01:00", "S1"),
    denied("d1", "09:01:30"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:06:00", sign_in="S1", variant="null_challenge_time", challenge="null"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"))],
)
timeline(
    "an abandoned push without challenge time and send counts when it was written",
    abandoned("a1", "09:00:00", variant="no_sign_in", sign_in=None),
    denied("d1", "09:01:00"),
    approved("in", "09:02:00"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"))],
    debatable="the words name the challenge time and the send, and nothing for an event with neither",
)
timeline(
    "an abandoned push without challenge time and send, written after the login, does not count",
    denied("d1", "09:00:00"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:03:00", variant="no_sign_in", sign_in=None),
    debatable="the words name the challenge time and the send, and nothing for an event with neither",
)
timeline(
    "the first login after the push was sent is the trigger, not the first after the abandonment was written",
    denied("d1", "09:00:00"),
    approved("in", "09:03:00"),
    abandoned("a1", "09:06:00", challenge="09:01:00"),
    approved("again", "09:07:00"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"), not_evidence=("again",))],
)
timeline(
    "an abandoned push counts though the same sign-in then succeeded by another method",
    denied("d1", "09:00:00"),
    sent("s1", "09:01:00", "S1"),
    record("in", "totp_verified", "09:02:00", sign_in="S1"),
    abandoned("a1", "09:06:00", sign_in="S1", challenge="09:01:00"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "medium", evidence=("a1", "d1"))],
    debatable="the words excuse UNANSWERED alone, though Okta might write either",
)

timeline(
    "abandonments written nearly an hour after their pushes count when those were sent",
    sent("s1", "09:00:00", "S1"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:50:00", sign_in="S1"),
    abandoned("a2", "09:55:00", challenge="09:01:00"),
    expect=[Expected("in", 2, {"abandoned": 2}, "high", evidence=("a1", "a2"))],
)
timeline(
    "an abandonment written more than a day after its push is too late to count",
    denied("d1", "09:00:00"),
    approved("in", "09:02:00"),
    abandoned("a1", "2026-03-11T11:00:00Z", challenge="09:01:00"),
    debatable="the words set no limit, but Okta writes it minutes later, and a rule must stop looking somewhere",
)

# ---- unanswered ----

timeline(
    "a user who twice ignores the push and types a code instead",
    *(
        event
        for number, minute in ((1, "09:00"), (2, "09:05"))
        for event in (
            sent(f"s{number}", f"{minute}:02", f"S{number}"),
            record(f"u{number}", "push_unanswered", f"{minute}:20.000", sign_in=f"S{number}", challenge=f"{minute}:02"),
            record(f"in{number}", "totp_verified", f"{minute}:20.020", sign_in=f"S{number}"),
            record(f"v{number}", "sign_in_verified", f"{minute}:20.090", sign_in=f"S{number}"),
        )
    ),
)
timeline(
    "an unanswered push is excused too where Okta writes it just after the success of its sign-in",
    denied("d1", "09:00:00"),
    sent("s1", "09:01:00", "S1"),
    record("in", "totp_verified", "09:01:20.000", sign_in="S1"),
    record("u1", "push_unanswered", "09:01:20.015", sign_in="S1", challenge="09:01:00"),
)
timeline(
    "two denials, then the user signs in by a code past a push: the excused push is not counted",
    two_denials(),
    sent("s1", "09:02:00", "S1"),
    record("u1", "push_unanswered", "09:02:20.000", sign_in="S1", challenge="09:02:00"),
    record("in", "totp_verified", "09:02:20.010", sign_in="S1"),
    expect=[Expected("in", **two(confidence="medium"))],
)
timeline(
    "an unanswered push counts where another sign-in succeeded",
    denied("d1", "09:00:00"),
    record("u1", "push_unanswered", "09:01:30", sign_in="S1", challenge="09:01:00"),
    record("in", "totp_verified", "09:02:00", sign_in="S2"),
    expect=[Expected("in", 2, {"rejected": 1, "unanswered": 1}, "medium", evidence=("d1", "u1"))],
)
timeline(
    "the password that came before an unanswered push does not excuse it",
    password_step("S1", "09:00:00"),
    sent("s1", "09:00:02", "S1"),
    record("u1", "push_unanswered", "09:01:00", sign_in="S1", challenge="09:00:02"),
    denied("d1", "09:01:30"),
    approved("in", "09:02:00"),
    expect=[Expected("in", 2, {"rejected": 1, "unanswered": 1}, "high", evidence=("d1", "u1"))],
)
timeline(
    "an unanswered push is not excused by a push of the same sign-in that was approved later",
    sent("s1", "09:00:00", "S1"),
    record("u1", "push_unanswered", "09:00:30", sign_in="S1", challenge="09:00:00"),
    sent("s2", "09:00:40", "S1"),
    denied("d1", "09:00:50", sign_in="S1"),
    sent("s3", "09:01:00", "S1"),
    approved("in", "09:01:10", sign_in="S1"),
    expect=[Expected("in", 2, {"rejected": 1, "unanswered": 1}, "high", evidence=("d1", "u1"))],
    debatable="a second push is taken to be the same method, not another",
)

for _challenge, _how in (("08:59:59.999", "with its challenge time"), (None, "with the send alone")):
    timeline(
        f"an unanswered push counts when it was sent: here 1 ms before the window ({_how})",
        sent("s1", "08:59:59.999", "S1"),
        record("u1", "push_unanswered", "09:02:00", sign_in="S1", challenge=_challenge),
        denied("d1", "09:05:00"),
        approved("in", "09:10:00"),
    )

timeline(
    "an unanswered push is not excused by the same sign-in id in another org",
    denied("d1", "09:00:00"),
    record("u1", "push_unanswered", "09:01:20.000", sign_in="S1", challenge="09:01:00"),
    record("t1", "totp_verified", "09:01:20.010", sign_in="S1", org=OTHER_ORG),
    approved("in", "09:02:00"),
    expect=[Expected("in", 2, {"rejected": 1, "unanswered": 1}, "high", evidence=("d1", "u1"))],
)

# ---- each form of login ----


def _login(name: str, *events: Record, trigger: str | tuple[str, ...] = "in", **kw: Any) -> None:
    """Two denials and a login of this form."""
    expected = two(**{key: kw.pop(key) for key in ("confidence", "evidence") if key in kw})
    timeline(f"login: {name}", two_denials(), list(events), expect=[Expected(trigger, **expected)], **kw)


for _variant in VARIANTS["push_approved"]:
    _login(
        f"a push approved ({_variant})",
        record("in", "push_approved", "09:02:00", variant=_variant, sign_in="S3"),
        confidence="high",
    )
for _activity in ("totp_verified", "webauthn_verified", "sms_verified", "fastpass_used"):
    for _variant in VARIANTS[_activity]:
        _login(
            f"{_activity} ({_variant})",
            record("in", _activity, "09:02:00", variant=_variant, sign_in="S3"),
            confidence="medium",
        )
_login(
    "a success of a factor that Okta does not name",
    record("in", "push_approved", "09:02:00", sign_in="S3", put={"debugContext.debugData": {}, "target": None}),
    confidence=("low", "medium"),
    debatable="not a factor that is knowledge, as far as one can tell; which confidence is not said",
)
_login(
    "nothing but a completed verify", record("in", "sign_in_verified", "09:02:00", sign_in="S3"), confidence="medium"
)
_login(
    "a completed verify after a challenged password step, with no event of the second factor",
    *password_step("S3", "09:02:00"),
    record("in", "sign_in_verified", "09:02:20", sign_in="S3"),
    record("app", "app_opened", "09:02:22", sign_in="S3"),
    confidence="medium",
    evidence=("d1", "d2", "app"),
)
_login("a bare verify", record("in", "sign_in_verified", "09:02:00", variant="bare"), confidence="medium")
_login(
    "a Classic session.start and an app, and no factor",
    record("in", "session_started", "09:02:00", variant="classic", session="102new"),
    record("app", "app_opened", "09:02:05", variant="classic", session="102new"),
    confidence="low",
    evidence=("d1", "d2", "app"),
)
_login("a bare session.start", record("in", "session_started", "09:02:00", variant="bare"), confidence="low")
_login(
    "nothing but an app opened in a session that was never seen before",
    record("in", "app_opened", "09:02:00", session="102new"),
    record("app", "app_opened", "09:03:00", session="102new"),
    confidence="low",
)
_login(
    "passwordless: a push approved before session.start",
    sent("s3", "09:02:00", "S3"),
    approved("in", "09:02:10", sign_in="S3"),
    record("session", "session_started", "09:02:10.030", sign_in="S3"),
    record("allowed", "sign_on_allowed", "09:02:10.060", sign_in="S3"),
    record("verified", "sign_in_verified", "09:02:10.090", sign_in="S3"),
    record("app", "app_opened", "09:02:12", sign_in="S3"),
    confidence="high",
    evidence=("d1", "d2", "session", "verified", "app"),
)
_login(
    "passwordless: a security key before session.start",
    record("in", "webauthn_verified", "09:02:10", sign_in="S3"),
    record("session", "session_started", "09:02:10.030", sign_in="S3"),
    record("verified", "sign_in_verified", "09:02:10.090", sign_in="S3"),
    confidence="medium",
    evidence=("d1", "d2", "session", "verified"),
)
_login(
    "a password alone, where the policy asks for no more",
    record("password", "password_verified", "09:02:00.000", sign_in="S3", transaction="T3"),
    record("session", "session_started", "09:02:00.030", sign_in="S3", transaction="T3"),
    record("allowed", "sign_on_allowed", "09:02:00.060", sign_in="S3", transaction="T3"),
    record("verified", "sign_in_verified", "09:02:00.090", sign_in="S3", transaction="T3"),
    trigger=("session", "verified"),
    confidence=("low", "medium"),
    debatable="a session.start that waits for no second factor is a login, but only what follows tells that",
)
_login(
    "a step-up in an old session, by push",
    record("start", "session_started", "07:00:00", variant="classic", session="102old"),
    sent("s3", "09:02:00", "S3", session="102old"),
    approved("in", "09:02:10", sign_in="S3", session="102old"),
    confidence="high",
)

_login(
    "an app opened in the session of a password step whose challenge nobody answered",
    *password_step("S3", "09:02:00"),
    record("in", "app_opened", "09:02:30", sign_in="S3"),
    confidence="low",
)
_login(
    "a passwordless session.start, while another sign-in waits for its second factor",
    *password_step("S3", "09:02:00"),
    record("in", "session_started", "09:02:20", sign_in="S4"),
    confidence="low",
)
_login(
    "a verify in an old session",
    record("start", "session_started", "07:00:00", variant="classic", session="102old"),
    record("in", "sign_in_verified", "09:02:00", sign_in="S3", session="102old"),
    confidence="medium",
    debatable="by the words every verify is a login, though it may be the user confirming a password at work",
)

_login(
    "the first that is one: a push for enrolment and a security question before it are none",
    record("k1", "push_for_enrolment", "09:02:00", variant="approved", sign_in="S3"),
    record("k2", "security_question_answered", "09:03:00", sign_in="S4"),
    record("in", "totp_verified", "09:04:00", sign_in="S5"),
    confidence="medium",
)
_login(
    "an intent that is neither enrolment nor recovery",
    record("in", "push_approved", "09:02:00", sign_in="S3", put={"debugContext.debugData.factorIntent": "STEP_UP"}),
    confidence="high",
)
_login(
    "a verify in the sign-in that has just enrolled a new factor",
    *password_step("S3", "09:02:00"),
    record("k", "push_for_enrolment", "09:02:20", variant="approved", sign_in="S3"),
    record("in", "sign_in_verified", "09:02:30", sign_in="S3"),
    confidence="medium",
)

# ---- no login ----


def _no_login(name: str, *parts: Record | list[Record], debatable: str | None = None) -> None:
    """Two denials and what is not a login."""
    timeline(f"no login: {name}", two_denials(), *parts, debatable=debatable)


_no_login("nothing after the denials")
_no_login("the right password, with session.start and CHALLENGE", password_step("S3", "09:02:00"))
timeline(
    "no login: three sign-ins with the right password, each push denied",
    denied_sign_in("one", "09:00:00"),
    denied_sign_in("two", "09:01:00"),
    denied_sign_in("three", "09:02:00"),
)
_no_login(
    "a password step whose ids are missing but for the transaction",
    [
        record("p", "password_verified", "09:02:00.000", transaction="T3"),
        record("session", "session_started", "09:02:00.030", transaction="T3"),
        record("challenged", "sign_on_challenged", "09:02:00.060", transaction="T3"),
    ],
)
_no_login(
    "a password step that arrives out of order: session.start first, the password last",
    list(reversed(password_step("S3", "09:02:00"))),
)
_no_login(
    "a password step without its CHALLENGE, but with a push sent",
    password_step("S3", "09:02:00")[:2],
    sent("s3", "09:02:02", "S3"),
)
_no_login(
    "a password step of which the password event is missing",
    password_step("S3", "09:02:00")[1:],
    sent("s3", "09:02:02", "S3"),
)
_no_login(
    "a password and session.start in Identity Engine, and nothing more of that sign-in",
    password_step("S3", "09:02:00")[:2],
    debatable="nothing shows whether a second factor was asked for; after the first factor alone it is no login yet",
)
_no_login(
    "in Classic, session.start and a CHALLENGE of the same transaction, and a push sent",
    record("session", "session_started", "09:02:00.000", variant="classic", session="102new", transaction="T3"),
    record("challenged", "sign_on_challenged", "09:02:00.040", variant="classic", session="102new", transaction="T3"),
    sent("s3", "09:02:02", None, variant="classic", session="102new"),
    debatable="in Classic session.start is a login by itself; a CHALLENGE beside it is never described",
)
for _activity in ("password_verified", "security_question_answered"):
    for _variant in VARIANTS[_activity]:
        _no_login(f"{_activity} ({_variant})", record("k", _activity, "09:02:00", variant=_variant, sign_in="S3"))
for _activity in ("push_for_enrolment", "push_for_recovery"):
    _no_login(f"{_activity}, approved", record("k", _activity, "09:02:00", variant="approved", sign_in="S3"))
_no_login(
    "a code or a security key for enrolment and recovery",
    record(
        "k1",
        "totp_verified",
        "09:02:00",
        sign_in="S3",
        put={"debugContext.debugData.factorIntent": "CREDENTIAL_ENROLLMENT"},
    ),
    record(
        "k2",
        "webauthn_verified",
        "09:03:00",
        sign_in="S4",
        put={"debugContext.debugData.factorIntent": "CREDENTIAL_RECOVERY"},
    ),
)
_no_login(
    "a refused verify, session and app",
    record("verify", "sign_in_verified", "09:02:00", variant="refused", sign_in="S3"),
    record("session", "session_refused", "09:02:01", sign_in="S4"),
    record("app", "app_opened", "09:02:02", variant="refused", session="102new"),
)
_no_login("a policy that says ALLOW, by itself", record("allowed", "sign_on_allowed", "09:02:00", session="102new"))
_no_login(
    "a session open since the morning goes on opening apps",
    record("start", "session_started", "07:00:00", variant="classic", session="102old"),
    *(
        record(f"app{hour}", "app_opened", f"0{hour}:30:00", variant="classic", session="102old")
        for hour in range(7, 9)
    ),
    record("app9", "app_opened", "09:02:00", variant="classic", session="102old"),
    record("allowed", "sign_on_allowed", "09:02:00.050", variant="classic", session="102old"),
    record("app10", "app_opened", "09:05:00", variant="classic", session="102old"),
)
_no_login(
    "an old session of which only an earlier app is known",
    record("before", "app_opened", "08:10:00", session="102old"),
    record("after", "app_opened", "09:02:00", session="102old"),
)
_no_login(
    "an old session whose beginning arrives last",
    record("after", "app_opened", "09:02:00", variant="classic", session="102old"),
    record("start", "session_started", "2026-03-09T16:00:00.000Z", variant="classic", session="102old"),
)
_no_login(
    "an app in a new session that grew from an old one",
    record("start", "session_started", "07:00:00", variant="classic", session="102old"),
    record("app", "app_opened", "09:02:00", session="102grown", root="102old"),
    debatable="the new session began after the attempts, but its root did not",
)

_no_login(
    "an app opened in a session that Okta does not name",
    record("app", "app_opened", "09:02:00"),
    debatable="no session, so nothing says that it began after the attempts",
)

timeline(
    "no login: an app in the session that the first denied sign-in had begun with its password",
    denied_sign_in("one", "09:00:00"),
    denied_sign_in("two", "09:01:00"),
    record("app", "app_opened", "09:02:00", sign_in="one"),
    debatable="the session began seconds before its push was denied, so before the attempts; yet it is the attacker's",
)

# ---- the window, to the millisecond ----

timeline(
    "an attempt exactly one window before the login counts",
    denied("d1", "09:00:00.000"),
    denied("d2", "09:05:00"),
    approved("in", "09:10:00.000"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "an attempt one window and 1 ms before the login does not count",
    denied("d1", "08:59:59.999"),
    denied("d2", "09:05:00"),
    approved("in", "09:10:00.000"),
)
timeline(
    "a login in the very millisecond of the last attempt counts",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00.500"),
    approved("in", "09:01:00.500"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "an attempt 1 ms after the login does not count",
    denied("d1", "09:00:00"),
    approved("in", "09:01:00.499"),
    denied("d2", "09:01:00.500"),
)
timeline(
    "only the attempts within the window are counted and shown",
    denied("d0", "09:00:00"),
    denied("d1", "09:06:00"),
    denied("d2", "09:12:00"),
    approved("in", "09:13:00"),
    expect=[Expected("in", **two(confidence="high", not_evidence=("d0",)))],
)
timeline(
    "denials further apart than the window, all morning long",
    *(denied(f"d{number}", plus("08:00:00", number * 660_000)) for number in range(6)),
    approved("in", "08:56:00"),
)
timeline(
    "the window straddles midnight",
    denied("d1", "2026-03-09T23:55:00.000Z"),
    denied("d2", "2026-03-09T23:59:59.999Z"),
    approved("in", "2026-03-10T00:04:00Z"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "published with 0, 2, 3, 6 and 9 fraction digits, in UTC and with offsets",
    denied("d0", f"{DAY}T14:30:00+05:30"),
    denied("d1", f"{DAY}T09:00:00.25Z"),
    denied("d2", f"{DAY}T09:01:00.123Z"),
    denied("d3", f"{DAY}T04:02:00.123456-05:00"),
    denied("d4", f"{DAY}T09:03:00.123456789Z"),
    approved("in", f"{DAY}T10:10:00.000999+01:00"),
    expect=[Expected("in", 5, {"rejected": 5}, "high", evidence=("d0", "d1", "d2", "d3", "d4"))],
)

timeline(
    "an attack across the beginning of epoch time, whose numbers are negative and zero",
    denied("d1", "1969-12-31T23:59:59.999Z"),
    abandoned("a1", "1970-01-01T00:05:00Z", challenge="1970-01-01T00:00:00Z"),
    approved("in", "1970-01-01T00:00:00.001Z"),
    expect=[Expected("in", 2, {"rejected": 1, "abandoned": 1}, "high", evidence=("d1", "a1"))],
)

# ---- one finding for one login ----

timeline(
    "the first login alone makes the finding",
    two_denials(),
    approved("in", "09:02:00"),
    approved("again", "09:03:00"),
    record("third", "totp_verified", "09:04:00", sign_in="S-third"),
    expect=[Expected("in", **two(confidence="high", not_evidence=("again", "third")))],
)
timeline(
    "denials after the login, and no login after them",
    approved("in", "09:00:00"),
    denied("d1", "09:01:00"),
    denied("d2", "09:02:00"),
)
timeline(
    "a login between two attempts does not reset the count",
    denied("d1", "09:00:00"),
    approved("early", "09:01:00"),
    denied("d2", "09:02:00"),
    approved("in", "09:03:00"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "a denial after a finding, then another login within the window: a second finding that counts all three",
    two_denials(),
    approved("in", "09:02:00"),
    denied("d3", "09:03:00"),
    approved("again", "09:04:00"),
    expect=[
        Expected("in", **two(confidence="high", not_evidence=("d3",))),
        Expected("again", 3, {"rejected": 3}, "high", evidence=("d1", "d2", "d3")),
    ],
)
timeline(
    "a lone denial half an hour after a finding makes no other",
    two_denials(),
    approved("in", "09:02:00"),
    denied("d3", "09:30:00"),
    approved("again", "09:31:00"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "a second campaign in the same hour is a second finding",
    denied_sign_in("one", "09:00:00"),
    denied_sign_in("two", "09:01:00"),
    approved_sign_in("three", "09:02:00"),
    denied_sign_in("four", "09:30:00"),
    denied_sign_in("five", "09:31:00"),
    denied_sign_in("six", "09:32:00"),
    approved_sign_in("seven", "09:33:00"),
    expect=[
        Expected("three.approved", 2, {"rejected": 2}, "high", evidence=("one.denied", "two.denied")),
        Expected("seven.approved", 3, {"rejected": 3}, "high", evidence=("four.denied", "five.denied", "six.denied")),
    ],
)
timeline(
    "the session of an earlier finding that goes on opening apps during a second campaign is an old session",
    two_denials(),
    approved_sign_in("in", "09:02:00"),
    denied("d3", "10:00:00"),
    denied("d4", "10:01:00"),
    record("app", "app_opened", "10:02:00", sign_in="in"),
    expect=[Expected("in.approved", **two(confidence="high", not_evidence=("d3", "d4")))],
)
timeline(
    "apps opened by the first login, after one more denial, are not a second login",
    two_denials(),
    approved_sign_in("in", "09:02:00"),
    denied("d3", "09:03:00"),
    record("app", "app_opened", "09:04:00", sign_in="in"),
    expect=[Expected("in.approved", **two(confidence="high"))],
    debatable="later events of one sign-in are evidence, yet this session began after the attempts did",
)
timeline(
    "an app opened in a session that began between two attempts",
    denied("d1", "09:00:00"),
    record("start", "session_started", "09:01:00", variant="classic", session="102mid"),
    denied("d2", "09:02:00"),
    record("in", "app_opened", "09:03:00", variant="classic", session="102mid"),
    expect=[Expected("in", **two(confidence="low"))],
    debatable="the session began after the attempts did, but before the last of them, and its login was earlier",
)
timeline(
    "five success events of one sign-in are one finding",
    two_denials(),
    record("in", "totp_verified", "09:02:00.000", sign_in="S3"),
    record("session", "session_started", "09:02:00.020", sign_in="S3"),
    record("allowed", "sign_on_allowed", "09:02:00.040", sign_in="S3"),
    record("verified", "sign_in_verified", "09:02:00.060", sign_in="S3"),
    record("app1", "app_opened", "09:02:01", sign_in="S3"),
    record("app2", "app_opened", "09:02:30", sign_in="S3"),
    expect=[Expected("in", **two(confidence="medium", evidence=("d1", "d2", "verified", "app1")))],
)

timeline(
    "sign-ins that are each denied once and then approved: the first alone is nothing, the second is a finding",
    sent("s1", "09:00:00", "S1"),
    denied("d1", "09:00:10", sign_in="S1"),
    sent("s2", "09:00:20", "S1"),
    approved("first", "09:00:30", sign_in="S1"),
    sent("s3", "09:01:00", "S2"),
    denied("d2", "09:01:10", sign_in="S2"),
    sent("s4", "09:01:20", "S2"),
    approved("in", "09:01:30", sign_in="S2"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "two success events of one sign-in in the same millisecond are one finding",
    two_denials(),
    approved("push", "09:02:00.000", sign_in="S3"),
    record("verify", "sign_in_verified", "09:02:00.000", sign_in="S3"),
    expect=[Expected(("push", "verify"), **two(confidence="high"))],
    debatable="which of the two is the trigger is not said, nor whether a verify speaks for the push beside it",
)
timeline(
    "a verify published a moment before the approved push of its sign-in is one finding",
    two_denials(),
    record("verify", "sign_in_verified", "09:02:00.000", sign_in="S3"),
    approved("push", "09:02:00.015", sign_in="S3"),
    expect=[Expected("verify", **two(confidence=("high", "medium"), evidence=("d1", "d2", "push")))],
    debatable="the login was by an approved push, but its first event is a verify",
)
timeline(
    "apps that an old session opens after the login are no evidence of it",
    record("start", "session_started", "07:00:00", variant="classic", session="102old"),
    two_denials(),
    approved("in", "09:02:00", sign_in="S3"),
    record("old", "app_opened", "09:02:30", variant="classic", session="102old"),
    record("new", "app_opened", "09:02:31", sign_in="S3"),
    expect=[Expected("in", **two(confidence="high", evidence=("d1", "d2", "new"), not_evidence=("old", "start")))],
)

# ---- order of arrival ----

timeline(
    "a denial that arrives after the login makes the finding that it would have made in time",
    denied("d1", "09:00:00"),
    approved("in", "09:02:00"),
    denied("d2", "09:01:00"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "an earlier login that arrives late takes the finding over",
    two_denials(),
    approved("later", "09:05:00"),
    approved("in", "09:02:00"),
    expect=[Expected("in", **two(confidence="high", not_evidence=("later",)))],
)
timeline(
    "a denial between the two logins that arrives late moves nothing but adds a second finding",
    two_denials(),
    approved("in", "09:02:00"),
    approved("again", "09:04:00"),
    denied("d3", "09:03:00"),
    expect=[
        Expected("in", **two(confidence="high")),
        Expected("again", 3, {"rejected": 3}, "high", evidence=("d1", "d2", "d3")),
    ],
)
timeline(
    "a success that arrives late excuses the unanswered push, and the finding goes",
    denied("d1", "09:00:00"),
    record("u1", "push_unanswered", "09:01:20.000", sign_in="S1", challenge="09:01:00"),
    approved("in", "09:02:00"),
    record("late", "totp_verified", "09:01:20.020", sign_in="S1"),
)
timeline(
    "the second half of a Classic denial that arrives late is no second attempt",
    record("d1", "push_denied_classic", "09:00:00.000", transaction="T1"),
    approved("in", "09:02:00"),
    record("f1", "push_denied_mfa_classic", "09:00:00.030", transaction="T1"),
)
timeline(
    "a send that arrives late tells two challenges apart",
    sent("s1", "09:00:00", "S1"),
    denied("d1", "09:00:10", sign_in="S1"),
    denied("d2", "09:00:40", sign_in="S1"),
    approved("in", "09:02:00"),
    sent("s2", "09:00:30", "S1"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "a send that arrives late tells that an abandoned push was before the login",
    denied("d1", "09:00:00"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:06:00", sign_in="S1"),
    sent("s1", "09:01:00", "S1"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"))],
)
timeline(
    "a whole attack in reverse order",
    list(
        reversed(
            denied_sign_in("one", "09:00:00")
            + denied_sign_in("two", "09:01:00")
            + approved_sign_in("three", "09:02:00")
        )
    ),
    expect=[
        Expected(
            "three.approved",
            2,
            {"rejected": 2},
            "high",
            evidence=("one.denied", "two.denied", "three.verified", "three.app"),
        )
    ],
)

# ---- who ----

timeline(
    "two users with one denial each, and a login of each",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00", user=BOB),
    approved("in1", "09:02:00"),
    approved("in2", "09:02:30", user=BOB),
)
timeline(
    "denials of one user and the login of another from the same address",
    two_denials(),
    approved("in", "09:02:00", user=BOB),
)
timeline(
    "one denial in each of two orgs, for the same user id, sign-in and transaction",
    denied("d1", "09:00:00", sign_in="S1", transaction="T1"),
    denied("d2", "09:01:00", sign_in="S1", transaction="T1", org=OTHER_ORG),
    approved("in", "09:02:00"),
    approved("in", "09:02:00", org=OTHER_ORG),
)
timeline(
    "denials in one org and the login in the other",
    two_denials(),
    approved("in", "09:02:00", org=OTHER_ORG),
)
timeline(
    "the same attack, event ids included, in two orgs at once",
    two_denials(),
    approved("in", "09:02:00"),
    two_denials(org=OTHER_ORG),
    approved("in", "09:02:00", org=OTHER_ORG),
    expect=[Expected("in", **two(confidence="high")), Expected("in", **two(confidence="high", org=OTHER_ORG))],
)
_LOWER = replace(ALICE, uid=ALICE.uid.lower())
timeline(
    "ids that differ by case alone are two users",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00", user=_LOWER),
    approved("in1", "09:02:00"),
    approved("in2", "09:02:30", user=_LOWER),
)
timeline(
    "a session and a sign-in whose ids differ by case alone are other ones",
    record("before", "app_opened", "08:00:00", session="102abcDEF"),
    denied("d1", "09:00:10", sign_in="sAbC"),
    denied("d2", "09:01:10", sign_in="SaBc"),
    record("in", "app_opened", "09:02:00", session="102ABCdef"),
    expect=[Expected("in", **two(confidence="low"))],
)
timeline(
    "a user renamed in the middle of the attack is the same user",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00", user=replace(ALICE, name="Alice.Smith@Example.com", display_name="Alice Smith")),
    approved("in", "09:02:00", user=replace(ALICE, name="alice.smith@example.com", display_name="Alice Smith")),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "two users of one name are two users",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00", user=replace(BOB, name=ALICE.name)),
    approved("in", "09:02:00"),
)
timeline(
    "the victim stands in the target where the actor is no user",
    record("d1", "push_denied_classic", "09:00:00", variant="system_actor", user=BOB),
    record("d2", "push_denied", "09:01:00", variant="system_actor", user=BOB, sign_in="S2"),
    record("d3", "push_denied_mfa_classic", "09:01:30", variant="system_actor", user=BOB),
    record("in", "push_approved", "09:02:00", variant="system_actor", user=BOB, sign_in="S3"),
    expect=[Expected("in", 3, {"rejected": 3}, "high", evidence=("d1", "d2", "d3"), user=BOB, says=(BOB.name,))],
)
timeline(
    "system actors that act for two users do not mix them",
    record("d1", "push_denied", "09:00:00", variant="system_actor", sign_in="S1"),
    record("d2", "push_denied", "09:01:00", variant="system_actor", user=BOB, sign_in="S2"),
    record("in", "push_approved", "09:02:00", variant="system_actor", sign_in="S3"),
)
timeline(
    "the actor is the victim where the actor is a user, whoever stands in the target",
    *(
        denied(
            f"d{number}",
            f"09:0{number}:00",
            put={
                "target": [
                    {
                        "id": BOB.uid,
                        "type": "User",
                        "alternateId": BOB.name,
                        "displayName": BOB.display_name,
                        "detailEntry": None,
                    }
                ]
            },
        )
        for number in range(2)
    ),
    approved("in1", "09:02:00", user=BOB),
    approved("in2", "09:03:00"),
    expect=[Expected("in2", 2, {"rejected": 2}, "high", evidence=("d0", "d1"))],
)
timeline(
    "an actor of null, and the user in the target",
    denied("d1", "09:00:00", put={"actor": None}),
    denied(
        "d2",
        "09:01:00",
        put={
            "actor": {
                "id": "0oa1ExAmPle",
                "type": "PublicClientApp",
                "alternateId": "0oa1ExAmPle",
                "displayName": "Example app",
            }
        },
    ),
    approved("in", "09:02:00"),
    expect=[Expected("in", **two(confidence="high"))],
)

timeline(
    "events of which nobody can tell the victim are not taken for one user",
    *(
        record(
            f"d{number}",
            "push_denied",
            f"09:0{number}:00",
            variant="system_actor",
            sign_in=f"S{number}",
            put={"target": None},
        )
        for number in (1, 2)
    ),
    record("in", "push_approved", "09:03:00", variant="system_actor", sign_in="S3", put={"target": []}),
    record("in2", "push_approved", "09:04:00", sign_in="S4", put={"actor": None, "target": None}),
)

# ---- hostile and odd shapes ----

_AGENT = "client.userAgent.rawUserAgent"
timeline(
    "NUL, lone surrogates and megabytes in what the attacker may write hide nothing",
    denied("d1", "09:00:00", put={_AGENT: "Mozilla\x00/5.0 \x1b[2J", "displayMessage": "\x00"}),
    denied("d2", "09:01:00", put={_AGENT: "Mozilla \ud800 \udfff \udead/5.0", "client.device": "\ud83d"}),
    denied("d3", "09:02:00", put={_AGENT: "A" * 3_000_000}),
    approved("in", "09:03:00", put={_AGENT: {"deep": "\x00\ud800"}, "actor.displayName": "Alice \u202e\x00 smadA"}),
    expect=[Expected("in", 3, {"rejected": 3}, "high", evidence=("d1", "d2", "d3"))],
)
timeline(
    "nesting without end in an unused field hides nothing",
    denied("d1", "09:00:00", put={"debugContext.debugData.nested": json.loads("[" * 300 + "]" * 300)}),
    denied("d2", "09:01:00", put={"device": json.loads('{"a":' * 300 + "1" + "}" * 300)}),
    approved("in", "09:02:00"),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "unknown fields, numbers as strings and numbers for strings hide nothing",
    denied(
        "d1", "09:00:00", put={"aNewField": {"x": [1]}, "securityContext": {"asNumber": "64500", "isProxy": "true"}}
    ),
    denied("d2", "09:01:00", put={"client.geographicalContext.postalCode": 10013, "version": 0, "client.zone": None}),
    approved("in", "09:02:00", put={"transaction": {"id": 12345, "type": None}, "outcome.reason": ""}),
    expect=[Expected("in", **two(confidence="high"))],
)
timeline(
    "null for every object that may be null",
    record("d1", "push_denied_classic", "09:00:00", variant="bare"),
    record("d2", "push_denied_classic", "09:01:00", variant="bare"),
    record("in", "session_started", "09:02:00", variant="bare", put={"authenticationContext": None, "target": None}),
    expect=[Expected("in", **two(confidence="low"))],
)
timeline(
    "empty ids tie nothing together",
    *(
        denied(
            f"d{number}",
            f"09:0{number}:00",
            sign_in=None,
            put={"debugContext.debugData.authnRequestId": "", "transaction.id": ""},
        )
        for number in (1, 2)
    ),
    approved("in", "09:03:00", sign_in=None, put={"transaction.id": "", "authenticationContext.externalSessionId": ""}),
    expect=[Expected("in", **two(confidence="high"))],
)

# ---- settings ----

timeline(
    "two attempts are too few where three are asked for",
    two_denials(),
    approved("in", "09:02:00"),
    settings={"rejections": 3},
)
timeline(
    "three attempts where three are asked for",
    two_denials(),
    denied("d3", "09:01:30"),
    approved("in", "09:02:00"),
    expect=[Expected("in", 3, {"rejected": 3}, "high", evidence=("d1", "d2", "d3"))],
    settings={"rejections": 3},
)
timeline(
    "one attempt where one is asked for",
    denied("d1", "09:00:00"),
    approved("in", "09:10:00"),
    expect=[Expected("in", 1, {"rejected": 1}, "high", evidence=("d1",))],
    settings={"rejections": 1},
)
timeline(
    "a window of 15 minutes reaches to its very end",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00"),
    approved("in", "09:15:00"),
    expect=[Expected("in", **two(confidence="high"))],
    settings={"window": "15m"},
)
timeline(
    "a window of a day, with an abandonment written after the login",
    denied("d1", "2026-03-09T09:30:00Z"),
    sent("s1", "09:00:00", "S1"),
    approved("in", "09:02:00"),
    abandoned("a1", "09:07:00", sign_in="S1"),
    expect=[Expected("in", 2, {"abandoned": 1, "rejected": 1}, "high", evidence=("a1", "d1"))],
    settings={"window": "1d"},
)
timeline(
    "a window of 30 seconds leaves out what was a minute ago",
    denied("d1", "09:00:00"),
    denied("d2", "09:01:00"),
    approved("in", "09:01:10"),
    settings={"window": "30s"},
)
