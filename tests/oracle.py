"""An independent reading of the rule `push_fatigue`: slow, whole history at once, straight from the words.

It shares no code with the program and reads raw Okta records, so that two readings of the same text can be compared:
users -> challenges -> attempts -> logins -> findings. Every interpretation is numbered; `(?)` marks those where another
reading is defensible, and what it would be.

Identity
 1. "Identity is `(org, user id)`, exact": case counts, names never do. One call is one org.
 2. "Victim = the actor, or the user among the targets where the actor is not a user": the first target of type User;
    an actor without an id is no user either. `User` is compared without case.
 3. (?) "`actor.id` is `unknown` for a user who does not exist": `unknown` is many people and nobody, so it has no
    attempts and no logins. Other reading: an id like any other.

Failed attempts
 4. "`deny_push`, whatever its outcome": rejected. `deny_push_upgrade_needed` is another event type, so nothing.
 5. "MFA with the push factor and outcome FAILURE, wrong number and app errors included": whatever the reason. "The
    result decides, the response types explain": `OV_RESPONSE_APPROVE` with FAILURE is rejected.
 6. (?) "reason `User rejected Okta push verify`": an MFA FAILURE with exactly this reason, whatever factor it names
    or lacks. Other readings: on any event type (a `user.session.start` FAILURE); only where the factor is push or
    missing.
 7. "The factor is read from the authenticator target where debugData lacks it". An MFA event whose factor nobody says
    is not a push, (?) but that a FAILURE which names a push response type can be of nothing else.
 8. (?) A push rejected or abandoned while enrolling or recovering counts: only the login is said to be "not for
    enrolment or recovery".
 9. "abandoned (outcome `ABANDONED`; `UNANSWERED` too, ...)": MFA with the push factor.
10. (?) "unless that same sign-in then succeeded by another method": in the same sign-in, at or after the push was
    sent, an MFA success for signing in by a factor other than push: a strong one; or a knowledge one where a `verify`
    success follows it and no push was approved after it (a security question as second factor). The password before
    the push excuses nothing, nor does a `verify` success on its own (which method is unknown), nor an approval of a
    push sent again (the same method). "Written as the user signs in": where the time of sending is unknown, a strong
    success of that sign-in on either side excuses.
11. "that same sign-in": equal authnRequestId; where one of both lacks it, equal transaction or session.

Attempts, not events
12. "several events of one challenge are one attempt": events are of one challenge when they share a transaction
    (neither authnRequestId nor challenge time contradicting), or a challenge time (authnRequestId not contradicting),
    or a sign-in and one push of it.
13. "A push goes to several devices: sends are not attempts", "ms apart": sends and challenge times of one sign-in
    less than a second apart are one push, sent at its first send.
14. (?) "a push sent again within the same sign-in is a new one": an answer that names no challenge time answers the
    latest push of its sign-in sent at or before it, if this phone has not answered that one already: a phone answers
    a push once, so its next answer, like a silence (15), is of a push that nothing else has settled. Other reading:
    always the latest push.
15. (?) An abandonment that names no challenge time is of the earliest push of its sign-in that nothing else has
    settled, since pushes expire in the order they were sent; if all are settled, it is the "expiry after a denial" of
    the latest one. Other reading: the latest push sent before the abandonment was written (then two
    abandonments written after two sends are one attempt).
16. (?) A sign-in of which no send and no challenge time is known holds one challenge: nothing was "sent again". Other
    reading: each denial with a transaction of its own is an attempt.
17. (?) A denial with neither authnRequestId nor challenge time nor a transaction shared with an event that has them
    (Classic's `deny_push` has no debugData) is an attempt of its own, once per transaction; more than once where a
    push was sent to its user in between. Other reading: it answers the latest push sent to its user.
18. (?) Two events without any id, ms apart and with no send seen before them, are two attempts.
19. (?) An abandonment of a challenge that was also approved (another phone's copy expires "even after a success") is
    no failed attempt: the push was answered. Other reading: outcome ABANDONED is a failed attempt whatever else is
    known. Where no push of the sign-in is known, an approval settles nothing. A challenge rejected on one phone and
    approved on another is a failed attempt.
20. "An abandoned push counts at the time it was sent (challenge time, or the send of that sign-in), the rest at
    `published`": an abandonment of no known push counts at `published`. (?) Of a push to several devices, its first
    send.
21. (?) An attempt of several events is rejected if any of them is, at its first rejection; else abandoned, else
    unanswered, at the earliest such time. Other reading: it lies in the window if any of its events does.

Logins
22. "MFA success by a factor that is not knowledge (password, security question) and not for enrolment or recovery".
    (?) A factor that nobody says is not knowledge: a login, of low confidence. (?) Of factorIntent, only values that
    speak of enrolment or recovery exclude.
23. "or `user.authentication.verify` success": always.
24. (?) "or `user.session.start` success that is not just the password step of a sign-in still waiting for its second
    factor": a strong success of that sign-in at or before it: a login. Else the sign-in's next word decides:
    CHALLENGE, a push sent, any event of a strong factor mean waiting; ALLOW, `verify`, `sso` mean done. Silence:
    waiting if a password success came before it ("after the **first** factor: no login yet"), else a login (Classic).
    Other reading: a password success before it and no strong one is enough (in a password-only org `verify` is the
    trigger then).
25. "or `sso` success of a session that began after the attempts did": not before the first failed attempt in [sso
    - window, sso]. (?) A session begins with its first event of any kind in the log; one that grew from another
    (`rootSessionId`) began with that. `sso` without a session id is no login, nor where no attempt lies in that
    window.

Firing
26. "on the first login at or after the last failed attempt": the last one at or before that login; attempts after it
    do not matter. The login may share its millisecond. "to the millisecond, both ends in".
27. "A login between attempts does not reset the count": deny, deny, login, deny, login are two findings; deny, deny,
    login, login are one; the window alone forgets.
28. (?) Of success events in one millisecond MFA is first, then verify, session.start, sso; then by uid.
29. (?) "One finding for one such login, however many success events describe it": a success event of the same sign-in
    as an earlier login that would fire makes no finding. Any other success event is a login, also one that goes on
    describing a login from before the last failed attempt (MFA success, denial, verify; `sso` of a session begun
    between the attempts). Other reading: only the first success event of a sign-in is a login.
30. "later events of the same sign-in become evidence, not findings": (?) nor does a later MFA success of a sign-in
    that has a finding (equal authnRequestId) make another, even after more denials; for two hours.
31. (?) How much later: up to one window after the login. Only success events (22 to 25's types, no password steps), of
    the same sign-in: equal authnRequestId; where one of both lacks it, an equal transaction; for `session.start` and
    `sso`, and for `verify` where one of both lacks authnRequestId, also an equal session; step by step from the
    trigger.
32. Evidence of attempts: every event of every attempt in the window, each in its own role, wherever it was published
    (an expiry written after the login); excused UNANSWERED and abandonments of approved pushes are none.
33. (?) Confidence is the best of the login's events (evidence `login`), not the trigger's alone.

Events are once each by uuid (the first delivery stands); without a uuid or a time they do not exist.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MFA = "user.authentication.auth_via_mfa"
VERIFY = "user.authentication.verify"
SSO = "user.authentication.sso"
SESSION_START = "user.session.start"
SUCCESSES = (MFA, VERIFY, SESSION_START, SSO)
SIGN_ON = "policy.evaluate_sign_on"
SEND = "system.push.send_factor_verify_push"
DENY = "user.mfa.okta_verify.deny_push"
PUSH = "OKTA_VERIFY_PUSH"
KNOWLEDGE = {"PASSWORD_AS_FACTOR", "SECURITY_QUESTION"}
METHODS = {
    "get a push notification": PUSH,
    "push": PUSH,
    "password": "PASSWORD_AS_FACTOR",
    "security question": "SECURITY_QUESTION",
    "security_question": "SECURITY_QUESTION",
}
SIGN_IN_LIFE = 7_200_000  # ms
ONE_PUSH = 1_000  # ms: sends nearer than this are one push to several devices
FAILED = ("rejected", "abandoned", "unanswered")  # strongest first
CONFIDENCE = ("low", "medium", "high")


@dataclass(frozen=True)
class OracleFinding:
    org: str
    user_uid: str
    trigger_uid: str
    trigger_time: int
    attempts: dict[str, int] = field(hash=False)  # kind -> number of attempts (not of events)
    attempt_times: tuple[int, ...]
    evidence: frozenset[tuple[str, str]]  # (event uid, role)
    confidence: str

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What two readings are compared by."""
        return self.trigger_uid, tuple(sorted(self.evidence))


@dataclass(frozen=True)
class Ev:
    uid: str
    time: int
    type: str
    result: str
    reason: str
    user: str
    factor: str | None
    challenge: int | None
    intent: str
    session: str | None
    root: str | None
    tx: str | None
    authn: str | None
    client: str
    is_answered: bool

    @property
    def order(self) -> tuple[int, int, str]:
        return self.time, SUCCESSES.index(self.type) if self.type in SUCCESSES else len(SUCCESSES), self.uid


@dataclass(frozen=True)
class Attempt:
    kind: str
    time: int
    events: tuple[tuple[str, str], ...]  # (uid, role)


def findings(
    events: Iterable[Mapping[str, Any]], rejections: int = 2, window_ms: int = 600_000, org: str = "acme"
) -> list[OracleFinding]:
    """The findings of one org over its whole history, by trigger time."""
    once: dict[str, Ev] = {}
    for raw in events:
        event = _event(raw)
        if event is not None and event.uid not in once:
            once[event.uid] = event
    users: dict[str, list[Ev]] = {}
    for event in sorted(once.values(), key=lambda e: e.order):
        users.setdefault(event.user, []).append(event)
    found = [f for history in users.values() for f in _findings_of_user(history, rejections, window_ms, org)]
    return sorted(found, key=lambda f: (f.trigger_time, f.trigger_uid))


def _findings_of_user(history: list[Ev], rejections: int, window: int, org: str) -> list[OracleFinding]:
    attempts = attempts_of(history)
    found: list[OracleFinding] = []
    candidates: list[Ev] = []

    def before(event: Ev) -> list[Attempt]:
        return [a for a in attempts if event.time - window <= a.time <= event.time]

    successes = [e for e in history if _is_success(e, history)]
    logins = [
        e
        for e in successes
        if e.type != SSO or (before(e) and _session_began(e, history) >= min(a.time for a in before(e)))
    ]
    for login in logins:
        counted = before(login)
        if len(counted) < rejections:
            continue
        last = max(a.time for a in counted)
        if any(last <= other.time and other.order < login.order for other in logins):
            continue
        candidates.append(login)
        if any(login in _told_by(c, successes) for c in candidates[:-1]):
            continue
        described = [e for e in _told_by(login, successes) if e.time <= login.time + window]
        found.append(
            OracleFinding(
                org=org,
                user_uid=login.user,
                trigger_uid=login.uid,
                trigger_time=login.time,
                attempts=dict(Counter(a.kind for a in counted)),
                attempt_times=tuple(sorted(a.time for a in counted)),
                evidence=frozenset(
                    [pair for a in counted for pair in a.events] + [(e.uid, "login") for e in described]
                ),
                confidence=max((_confidence(e) for e in described), key=CONFIDENCE.index),
            )
        )
    return found


# failed attempts


@dataclass(eq=False)
class Push:
    """One push of one sign-in, to however many devices."""

    time: int
    latest: int
    events: list[Ev] = field(default_factory=list)


def attempts_of(history: list[Ev]) -> list[Attempt]:
    """The failed attempts of one user, whose events are given in time order."""
    signins: dict[str, list[Push]] = {}
    for name in sorted({e.authn for e in history if e.authn} | {e.session for e in history if e.session}):
        signins[name] = _pushes([e for e in history if e.authn == name or (not e.authn and e.session == name)])
    sessions = {e.session: e.authn or e.session for e in sorted(history, key=lambda e: e.authn or "") if e.type == SEND}

    answers = [e for e in history if _role(e) or _approves(e)]
    place: dict[str, Push] = {}
    unknown: dict[object, Push] = {}

    def put(event: Ev, push: Push) -> None:
        place[event.uid] = push
        push.events.append(event)

    def named(event: Ev) -> tuple[str | None, int | None]:
        """The event's own sign-in and challenge time, or those of an event of the same request."""
        authn, challenge = event.authn, event.challenge
        for other in answers:
            if event.tx and other.tx == event.tx and (authn is None or other.authn in (None, authn)):
                authn = authn or other.authn
                challenge = challenge if challenge is not None else other.challenge
        if challenge is not None and authn is None:
            authn = max((e.authn for e in answers if e.authn and e.challenge == challenge), default=None)
        return authn or (sessions.get(event.session) if event.session else None), challenge

    def nowhere(event: Ev, authn: str | None) -> Push:
        """A challenge of a sign-in, a request or an event of which no push is known."""
        if authn is None:
            sent = max((e.time for e in history if e.type == SEND and e.time <= event.time), default=None)
            return unknown.setdefault(("request", event.tx or event.uid, sent), Push(event.time, event.time))
        return unknown.setdefault(("sign-in", authn), Push(event.time, event.time))

    # First those that say which challenge they are of, then answers, then expiries, which take what is left.
    for event in answers:
        authn, challenge = named(event)
        if challenge is None:
            continue
        for owner, pushes in signins.items():
            if authn in (None, owner):
                for push in pushes:
                    if event.uid not in place and push.time <= challenge <= push.latest:
                        put(event, push)
        if event.uid not in place:
            put(event, unknown.setdefault(("challenge", authn, challenge), Push(challenge, challenge)))
    for event in answers:
        authn, challenge = named(event)
        if challenge is not None or _role(event) in ("abandoned", "unanswered"):
            continue
        asked = min(e.time for e in answers if e is event or (event.tx and e.tx == event.tx and _role(e) == "rejected"))
        sent = [p for p in signins[authn] if p.time <= asked] if authn is not None else []
        if sent:
            push = max(sent, key=lambda p: p.time)
            if any(e.client == event.client and (e.tx or e.uid) != (event.tx or event.uid) for e in push.events):
                push = min((p for p in sent if not p.events), key=lambda p: p.time, default=push)
            put(event, push)
        elif _role(event):  # an approval of no known push settles none
            put(event, nowhere(event, authn))
    for event in answers:
        authn, challenge = named(event)
        if challenge is not None or _role(event) not in ("abandoned", "unanswered"):
            continue
        sent = [p for p in signins[authn] if p.time <= event.time] if authn is not None else []
        unsettled = [p for p in sent if not p.events]
        siblings = [place[e.uid] for e in answers if event.tx and e.tx == event.tx and e.uid in place]
        if unsettled:
            put(event, min(unsettled, key=lambda p: p.time))
        elif sent:
            put(event, max(sent, key=lambda p: p.time))
        else:
            put(event, siblings[0] if siblings and authn is None else nowhere(event, authn))

    known = {id(p) for pushes in signins.values() for p in pushes}
    attempts = []
    for push in {id(p): p for p in place.values()}.values():
        approved = any(_approves(e) for e in push.events)
        moments: dict[str, list[int]] = {}
        evidence = []
        for event in push.events:
            role = _role(event)
            if role is None:
                continue
            when = event.time
            if role != "rejected":
                sent_at = event.challenge if event.challenge is not None else push.time if id(push) in known else None
                if approved or (role == "unanswered" and _excused(event, sent_at, history)):
                    continue
                when = event.time if sent_at is None else sent_at
            moments.setdefault(role, []).append(when)
            evidence.append((event.uid, role))
        if evidence:
            kind = next(k for k in FAILED if k in moments)
            attempts.append(Attempt(kind, min(moments[kind]), tuple(evidence)))
    return sorted(attempts, key=lambda a: (a.time, a.events))


def _pushes(signin: list[Ev]) -> list[Push]:
    """The pushes of one sign-in, in order: from its sends, and from the challenge times its answers name."""
    times = [e.time for e in signin if e.type == SEND and e.result == "SUCCESS"]
    times += [e.challenge for e in signin if e.challenge is not None and e.factor == PUSH]
    pushes: list[Push] = []
    for time in sorted(times):
        if pushes and time - pushes[-1].latest < ONE_PUSH:
            pushes[-1].latest = time
        else:
            pushes.append(Push(time, time))
    return pushes


def _role(e: Ev) -> str | None:
    if e.type == DENY:
        return "rejected"
    is_push = e.factor == PUSH or (e.factor is None and e.is_answered) or e.reason == "User rejected Okta push verify"
    if e.type == MFA and e.result == "FAILURE" and is_push:
        return "rejected"
    if e.type == MFA and e.factor == PUSH and e.result in ("ABANDONED", "UNANSWERED"):
        return e.result.lower()
    return None


def _excused(event: Ev, sent_at: int | None, history: list[Ev]) -> bool:
    mine = [e for e in history if _same_signin(e, event)]
    for e in mine:
        if e.type == MFA and e.result == "SUCCESS" and e.factor not in (None, PUSH) and _for_signing_in(e):
            if e.factor not in KNOWLEDGE:
                if sent_at is None or e.time >= sent_at:
                    return True
            elif e.time >= (event.time if sent_at is None else sent_at):
                done = any(v.type == VERIFY and v.result == "SUCCESS" and v.time >= e.time for v in mine)
                if done and not any(_approves(p) and p.time >= e.time for p in mine):
                    return True
    return False


# logins


def _for_signing_in(e: Ev) -> bool:
    return "ENROLL" not in e.intent and "RECOVER" not in e.intent


def _approves(e: Ev) -> bool:
    return e.type == MFA and e.result == "SUCCESS" and e.factor == PUSH and _for_signing_in(e)


def _strong(e: Ev) -> bool:
    return e.type == MFA and e.result == "SUCCESS" and e.factor not in KNOWLEDGE and _for_signing_in(e)


def _same_signin(a: Ev, b: Ev) -> bool:
    if a.authn and b.authn:
        return a.authn == b.authn
    return (a.tx is not None and a.tx == b.tx) or (a.session is not None and a.session == b.session)


def _is_success(e: Ev, history: list[Ev]) -> bool:
    """A success event that is a login, but for sso whose session must be judged against the attempts."""
    if e.result != "SUCCESS":
        return False
    if e.type == SESSION_START:
        return not _is_password_step(e, history)
    return _strong(e) or e.type == VERIFY or (e.type == SSO and e.session is not None)


def _is_password_step(start: Ev, history: list[Ev]) -> bool:
    mine = [e for e in history if e is not start and _same_signin(e, start)]
    if any(_strong(e) and e.time <= start.time for e in mine):
        return False
    waiting = [
        e.time
        for e in mine
        if e.time >= start.time
        and (
            (e.type == SIGN_ON and e.result == "CHALLENGE")
            or e.type in (SEND, DENY)
            or (e.type == MFA and e.factor not in KNOWLEDGE and _for_signing_in(e))
        )
    ]
    done = [
        e.time
        for e in mine
        if e.time >= start.time
        and ((e.type == SIGN_ON and e.result == "ALLOW") or (e.type in (VERIFY, SSO) and e.result == "SUCCESS"))
    ]
    if waiting or done:
        return bool(waiting) and (not done or min(waiting) <= min(done))
    return any(e.type == MFA and e.result == "SUCCESS" and e.factor in KNOWLEDGE and e.time <= start.time for e in mine)


def _session_began(sso: Ev, history: list[Ev]) -> int:
    ids = {sso.session, sso.root} - {None}
    return min(e.time for e in history if e.session in ids or e.root in ids)


def _told_by(login: Ev, successes: list[Ev]) -> list[Ev]:
    """The login and the success events that follow in its sign-in."""
    told = [login]
    for known in told:
        for event in successes:
            if event in told or not login.time <= event.time <= login.time + SIGN_IN_LIFE:
                continue
            either = not (event.authn and known.authn)
            if (
                event.authn == known.authn is not None
                or (either and event.tx == known.tx is not None)
                or (
                    (event.type in (SESSION_START, SSO) or (event.type == VERIFY and either))
                    and known.session is not None
                    and known.session in (event.session, event.root)
                )
            ):
                told.append(event)
    return told


def _confidence(e: Ev) -> str:
    if _approves(e):
        return "high"
    return "medium" if e.type == VERIFY or (_strong(e) and e.factor is not None) else "low"


# extraction


def _event(raw: Mapping[str, Any]) -> Ev | None:
    actor, outcome = raw.get("actor") or {}, raw.get("outcome") or {}
    context, debug = raw.get("authenticationContext") or {}, (raw.get("debugContext") or {}).get("debugData") or {}
    targets = raw.get("target") or []
    user = actor.get("id") if str(actor.get("type")).lower() == "user" else None
    if not user:
        user = next((t.get("id") for t in targets if str(t.get("type")).lower() == "user"), None)
    uid, time = raw.get("uuid"), _ms(raw.get("published"))
    if not uid or time is None or not user or user == "unknown":
        return None
    factor = debug.get("factor") or None
    for target in targets:
        method = (target.get("detailEntry") or {}).get("methodTypeUsed")
        if factor is None and method and str(target.get("type")).startswith("Authenticator"):
            factor = METHODS.get(method.strip().lower(), method)
    return Ev(
        uid=uid,
        time=time,
        type=raw.get("eventType") or "",
        result=outcome.get("result") or "",
        reason=outcome.get("reason") or "",
        user=user,
        factor=factor,
        challenge=_ms(debug.get("authenticatorMethodChallengeTime")),
        intent=(debug.get("factorIntent") or "").upper(),
        session=context.get("externalSessionId") or None,
        root=context.get("rootSessionId") or None,
        tx=(raw.get("transaction") or {}).get("id") or None,
        authn=debug.get("authnRequestId") or None,
        client=json.dumps([raw.get("client"), raw.get("device")], sort_keys=True),
        is_answered=bool(debug.get("pushOnlyResponseType") or debug.get("pushWithNumberChallengeResponseType")),
    )


def _ms(text: str | None) -> int | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000
