"""Random System Logs of a few users over an hour or two, dense in what `push_fatigue` has to get right.

`random_stream(seed)` and the Hypothesis strategy `streams()` give raw Okta records in the order Okta would persist
them: late ones come late, some come twice, `published` goes backwards at times. Scripts (sign-ins with their pushes and
answers, old sessions, near misses) are laid out so that logins fall on, one millisecond before and one after the edges
of other scripts' windows. Ids are realistic: an authnRequestId, a session and a challenge belong to one user and one
sign-in; what Okta leaves out now and then is left out here too.

`clear=True` keeps, as far as scripts that happen to overlap allow, to what the words of the rule settle; without it,
streams also hold cases that can be read in two ways (`(?)` in oracle.py).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WINDOW = 600_000
MINUTE = 60_000
LIFE = 5 * MINUTE  # of a push
# The first two differ by case alone: two people.
USERS = (("00u1Alice", "alice@example.com"), ("00u1alice", "Alice@example.com"), ("00u2bob", "bob@example.com"))
PUSH = "OKTA_VERIFY_PUSH"
MFA = "user.authentication.auth_via_mfa"
DENY = "user.mfa.okta_verify.deny_push"
SEND = "system.push.send_factor_verify_push"
REJECTED = "User rejected Okta push verify"
CHALLENGE_TIME = "authenticatorMethodChallengeTime"
Record = dict[str, Any]
Timed = tuple[int, int, Record]  # published (ms), persisted after (ms), record


def random_stream(seed: int, *, clear: bool = False, users: int = 3, scripts: int = 14) -> list[Record]:
    """A stream in persistence order; the same seed gives the same stream."""
    return Author(random.Random(seed), clear).stream(users, scripts)


def streams(*, clear: bool = False, users: int = 2, scripts: int = 7) -> st.SearchStrategy[list[Record]]:
    """The same streams, drawn by Hypothesis, so that they shrink."""
    return st.randoms(use_true_random=False).map(lambda rng: Author(rng, clear).stream(users, scripts))


def iso(ms: int, digits: int = 3, offset: int | None = None) -> str:
    """START plus `ms`, as Okta may write it."""
    moment = START + timedelta(milliseconds=ms)
    if offset is not None:
        moment += timedelta(hours=offset)
    fraction = f"{moment.microsecond // 1000:03d}{'0' * (digits - 3)}"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}" + ("Z" if offset is None else f"{offset:+03d}:00")


class Author:
    """Writes scripts of one stream. A script is a list of records timed from its own zero."""

    def __init__(self, rng: random.Random, clear: bool) -> None:
        self.rng, self.clear, self.count = rng, clear, 0
        self.user = USERS[0]

    # what is drawn

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def odd(self, percent: int) -> bool:
        """A case that can be read in two ways: never in a clear stream."""
        return not self.clear and self.chance(percent)

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.randrange(len(choices))]

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.rng.randrange(16**6):06x}{self.count:04d}"

    def stream(self, users: int, scripts: int) -> list[Record]:
        timed: list[Timed] = []
        landmarks: dict[str, list[int]] = {}  # per user: instants of failed attempts and logins
        for _ in range(self.rng.randrange(2, scripts + 1)):
            # Most of it befalls the first user, so that scripts meet.
            self.user = USERS[0] if self.chance(70) else self.pick(*USERS[:users])
            script = self.script()
            marks = [at for at, _, record in script if _is_landmark(record)] or [0]
            seen = landmarks.setdefault(self.user[0], [])
            if seen and self.chance(40):
                # Put an instant of this script on an edge of another's window, or on the same millisecond.
                shift = self.pick(*seen[-6:]) - self.pick(*marks)
                shift += self.pick(WINDOW, WINDOW, 0, -WINDOW) + self.pick(-1, 0, 0, 1)
            elif seen and self.chance(60):
                shift = max(seen[-1], 0) + self.pick(1, 700, 5_000, 40_000, 3 * MINUTE) + self.rng.randrange(30_000)
            else:
                shift = self.rng.randrange(90) * MINUTE + self.rng.randrange(MINUTE)
            for at, late, record in script:
                debug = (record["debugContext"] or {}).get("debugData") or {}
                if CHALLENGE_TIME in debug:
                    debug[CHALLENGE_TIME] += shift
                timed.append((at + shift, late, record))
            seen += [at + shift for at in marks]

        persisted: list[tuple[int, int, Record]] = []
        for number, (at, late, record) in enumerate(timed):
            _date(record, at, self.pick(3, 3, 3, 6, 9), self.pick(None, None, None, 2, -5))
            if self.chance(6):
                late += self.pick(1, 3_000, 2 * MINUTE, 11 * MINUTE, 30 * MINUTE)
            persisted.append((at + late, number, record))
            if self.chance(5):
                persisted.append((at + late + self.pick(0, 1, 20 * MINUTE), number, copy.deepcopy(record)))
        return [record for _, _, record in sorted(persisted, key=lambda p: p[:2])]

    def script(self) -> list[Timed]:
        kinds: list[tuple[int, Callable[[], list[Timed]]]] = [
            (38, self.identity_engine),
            (24, self.classic),
            (6, self.lone_denials),
            (8, self.lone_success),
            (8, self.old_session),
            (6, self.new_session),
            (6, self.near_miss),
            (4, self.not_signing_in),
        ]
        number = self.rng.randrange(sum(weight for weight, _ in kinds))
        for weight, kind in kinds:
            number -= weight
            if number < 0:
                return kind()
        raise AssertionError

    # scripts

    def identity_engine(self) -> list[Timed]:
        """Password (or not), pushes and their answers, perhaps resent, perhaps a success at the end."""
        session, authn = self.new("102"), self.new("R")
        passwordless = self.chance(25)
        says_challenge = self.chance(65)
        has_sends = says_challenge or not self.odd(15)
        ids: Record = {"authn": authn, "session": session, "tx": None}
        if has_sends and self.odd(6):
            ids["authn"] = None
        if self.chance(10):
            ids["session"] = None  # null on failed sign-ins
        out: list[Timed] = []
        now = 0

        def add(event_type: str, outcome: str, late: int = 0, at: int | None = None, **more: Any) -> None:
            out.append((now if at is None else at, late, self.record(event_type, outcome, **{**ids, **more})))

        def request() -> None:
            ids["tx"] = self.new("T") if self.chance(92) else None

        request()
        if not passwordless:
            if self.chance(20):
                add(MFA, "FAILURE", reason="INVALID_CREDENTIALS", factor="PASSWORD_AS_FACTOR")
                add("user.session.start", "FAILURE", at=now + 3, reason="INVALID_CREDENTIALS")
                now += 4_000
                request()
            add(MFA, "SUCCESS", factor="PASSWORD_AS_FACTOR")
            now += self.pick(1, 2, 60)
            add("user.session.start", "SUCCESS")
            now += self.pick(1, 3)
            if not self.odd(8):
                add("policy.evaluate_sign_on", "CHALLENGE")
            now += 200

        final = self.pick("push", "push", "push", "totp", "webauthn", "question", None, None)
        if self.clear and final == "question" and passwordless:
            final = "totp"
        answers = [self.answer() for _ in range(self.pick(0, 1, 1, 1, 2, 2, 3))]
        pushes: list[str] = [*answers, "approved"] if final == "push" else answers
        written_late: list[tuple[int, str, int]] = []  # pushes that expire
        ignored: list[int] = []
        for push in pushes:
            request()
            sent = now
            devices = 1 if self.clear and not says_challenge else self.pick(1, 1, 1, 2, 3)
            for device in range(devices if has_sends else 0):
                add(SEND, "SUCCESS", at=sent + device * self.pick(1, 2, 7))
            challenge = {"challenge": sent + self.pick(0, 0, 1)} if says_challenge else {}
            now += self.pick(900, 5_000, 12_345, 40_000) + 2 * devices
            request()
            answer: Record = {"factor": PUSH, **challenge}
            if self.chance(15):
                answer |= {"factor": None, "method": self.pick("Get a push notification", "push")}
            if self.odd(4) and push == "approved":
                answer["factor"] = None
            if push == "approved":
                add(MFA, "SUCCESS", push="OV_RESPONSE_APPROVE", **answer)
                if self.odd(8):
                    written_late.append((sent, "ABANDONED", sent + LIFE))
            elif push in ("denied", "wrong number", "error", "both phones", "denied and expired"):
                add(MFA, "FAILURE", **answer, **_response(push))
                if push == "both phones":
                    now += 0 if self.clear else self.pick(0, 3, 2_000)
                    if not says_challenge or self.chance(50):
                        request()
                    add(MFA, "FAILURE", **answer, **_response("denied"))
                if push == "denied and expired":
                    written_late.append((sent, "ABANDONED", sent + LIFE))
            elif push == "abandoned":
                written_late.append((sent, "ABANDONED", sent + LIFE))
            elif push == "unanswered":
                ignored.append(sent)
            now += self.pick(1, 800, 4_000, 30_000)

        if not says_challenge and self.clear and len(pushes) > 1:
            # Which of several pushes an expiry is of is not settled by its ids.
            written_late, ignored = [], []
        for sent, outcome, expiry in written_late:
            challenge = {"challenge": sent} if says_challenge else {}
            late = self.pick(0, 0, 90_000)
            request()
            add(MFA, outcome, late, expiry + self.pick(0, 37), factor=PUSH, **challenge)

        request()
        if final in ("totp", "webauthn", "question"):
            factor = {"totp": "OKTA_SOFT_TOKEN", "webauthn": "FIDO_WEBAUTHN", "question": "SECURITY_QUESTION"}[final]
            add(MFA, "SUCCESS", factor=factor, intent=self.pick(None, "LOGIN"))
        for sent in ignored:
            known = says_challenge or has_sends
            at = now + (self.pick(-1, 0, 2) if known or not self.clear else 2)
            challenge = {"challenge": sent} if says_challenge else {}
            add(MFA, "UNANSWERED", 0, at, factor=PUSH, **challenge)
        if final is None or (final == "question" and self.clear and ignored):
            return out
        if self.odd(6):  # the factor's own event was lost
            out = [e for e in out if e[2]["outcome"]["result"] != "SUCCESS" or not _is_strong(e[2])]
        ids["session"] = session
        gaps = (1, 3) if self.clear else (0, 1, 3)
        if passwordless:
            now += self.pick(*gaps)
            add("user.session.start", "SUCCESS")
        now += self.pick(*gaps)
        add("policy.evaluate_sign_on", "ALLOW")
        if not self.chance(10):
            now += self.pick(*gaps)
            add("user.authentication.verify", "SUCCESS")
        now += self.pick(*gaps)
        out += self.apps(now, session, authn)
        return out

    def classic(self) -> list[Timed]:
        """`deny_push`, often twice written, then perhaps an approval and a session."""
        session = self.new("102")
        authn = self.new("R") if self.chance(50) else None
        out: list[Timed] = []
        now = 0

        def add(event_type: str, outcome: str, at: int | None = None, **more: Any) -> None:
            out.append((now if at is None else at, 0, self.record(event_type, outcome, **more)))

        final = self.pick("push", "push", "sms", "no second factor", None, None)
        answers: list[str] = [self.pick("denied", "denied", "old", "ignored") for _ in range(self.pick(0, 1, 1, 2, 3))]
        if final == "push":
            answers.append("approved")
        if final != "no second factor" and self.chance(60):
            add("policy.evaluate_sign_on", "CHALLENGE", authn=authn, tx=self.new("T"))
        for push in answers:
            tx = self.new("T")
            now += 300
            for device in range(self.pick(1, 1, 2)):
                add(SEND, "SUCCESS", at=now + device * 3, authn=authn, tx=tx)
            now += self.pick(2_000, 9_000, 33_333)
            answer_tx = self.new("T")
            if self.odd(8):
                answer_tx = ""
            known = authn or self.new("R") if self.clear else None  # what Okta leaves out of `deny_push`
            if push == "denied":
                outcome = self.pick("SUCCESS", "FAILURE", "DENY", None)
                add(DENY, outcome, tx=answer_tx or None, authn=known, victim=self.chance(8))
                if self.chance(45):
                    at, again = now + (0 if self.clear else self.pick(0, 0, 4)), known or self.pick(authn, None)
                    add(MFA, "FAILURE", at, tx=answer_tx or None, authn=again, factor=PUSH, reason=REJECTED)
                elif self.odd(12):  # the second phone
                    now += self.pick(1_000, 4_000)
                    add(DENY, outcome, tx=self.new("T"))
            elif push == "old":
                factor = self.pick(PUSH, PUSH, None)
                add(MFA, "FAILURE", tx=answer_tx or None, authn=known or authn, factor=factor, reason=REJECTED)
            elif push == "approved":
                factor = None if self.odd(6) else PUSH
                add(MFA, "SUCCESS", tx=answer_tx or None, authn=authn, factor=factor)
            now += self.pick(1, 5_000, 20_000)
        if final is None:
            return out
        tx = self.new("T")
        if final == "sms":
            add(MFA, "SUCCESS", tx=tx, authn=authn, factor="SMS_FACTOR")
            now += 1
        add("user.session.start", "SUCCESS", authn=authn, session=session, tx=tx)
        now += self.pick(1, 2)
        add("policy.evaluate_sign_on", "ALLOW", authn=authn, session=session, tx=tx)
        out += self.apps(now + 1, session, authn)
        return out

    def lone_denials(self) -> list[Timed]:
        """Denials of which nothing is known but the user, seconds or minutes apart."""
        out, now = [], 0
        for _ in range(self.pick(1, 2, 3)):
            kind = self.pick(DENY, MFA)
            more: Record = {"factor": PUSH} if kind.endswith("mfa") else {}
            tx = self.new("T") if self.chance(60) else None
            more |= {"authn": self.new("R")} if self.clear else {}
            out.append((now, 0, self.record(kind, "FAILURE", tx=tx, victim=self.chance(15), **more)))
            now += self.pick(1_500, 20_000, 4 * MINUTE, WINDOW)
        return out

    def lone_success(self) -> list[Timed]:
        """One success event with few ids."""
        kind = self.pick("verify", "session", "push", "totp", "password", "unknown")
        ids: Record = {
            "tx": self.new("T") if self.chance(50) else None,
            "session": self.new("102") if self.chance(50) else None,
        }
        if kind == "verify":
            return [(0, 0, self.record("user.authentication.verify", "SUCCESS", authn=self.new("R"), **ids))]
        if kind == "session":
            return [(0, 0, self.record("user.session.start", "SUCCESS", **ids))]
        factor = {"push": PUSH, "totp": "SOFT_TOKEN", "password": "PASSWORD_AS_FACTOR", "unknown": None}[kind]
        if kind == "unknown" and self.clear:
            factor = "FIDO_WEBAUTHN"
        if factor == "PASSWORD_AS_FACTOR" and self.chance(50):
            ids |= {"method": "Password"}
            factor = None
        return [(0, 0, self.record(MFA, "SUCCESS", factor=factor, **ids))]

    def old_session(self) -> list[Timed]:
        """A session begun long before (or not so long), which opens apps for an hour."""
        session, authn = self.new("102"), self.new("R")
        start = -self.pick(5, 15, 60, 120) * MINUTE
        first = self.record("user.session.start", "SUCCESS", authn=authn, session=session, tx=self.new("T"))
        out = [(start, 0, first)]
        for _ in range(self.pick(2, 4, 6)):
            at = self.rng.randrange(60) * MINUTE + self.rng.randrange(MINUTE)
            out.append((at, 0, self.record("policy.evaluate_sign_on", "ALLOW", session=session, authn=self.new("R"))))
            out.append((at + 2, 0, self.app(session, self.pick(None, self.new("R")))))
        return out

    def new_session(self) -> list[Timed]:
        """A session of which only its apps are seen."""
        session = self.new("102")
        out = self.apps(0, session, self.new("R"))
        if self.clear:
            out.insert(0, (-1, 0, self.record("user.session.start", "SUCCESS", session=session)))
        if self.odd(20):
            out.append((0, 0, self.app(None, None)))
        if self.odd(20):
            out[0][2]["authenticationContext"]["rootSessionId"] = self.pick(session, self.new("102"))
        return out

    def near_miss(self) -> list[Timed]:
        """What looks like a failed push or a login and is neither."""
        authn, tx = self.new("R"), self.new("T")
        event_type, outcome, more = self.pick(
            ("user.mfa.okta_verify.deny_push_upgrade_needed", "FAILURE", {}),
            (MFA, "FAILURE", {"factor": "PASSWORD_AS_FACTOR", "reason": "INVALID_CREDENTIALS"}),
            (MFA, "FAILURE", {"factor": "SIGNED_NONCE", "reason": "INVALID_CREDENTIALS", "push": "OV_RESPONSE_DENY"}),
            (MFA, "FAILURE", {"factor": "OKTA_SOFT_TOKEN", "reason": "INVALID_CREDENTIALS"}),
            (MFA, "ABANDONED", {"factor": "SIGNED_NONCE"}),
            (MFA, "UNANSWERED", {"factor": "FIDO_WEBAUTHN"}),
            (MFA, "CHALLENGE", {"factor": PUSH}),
            (MFA, "SKIPPED", {"factor": PUSH}),
            (MFA, "FAILURE", {"method": "Use Okta FastPass"}),
            (MFA, "SUCCESS", {"factor": "SECURITY_QUESTION"}),
            (MFA, "SUCCESS", {"method": "Security Question"}),
            ("user.authentication.verify", "FAILURE", {}),
            ("user.session.start", "FAILURE", {"session": self.new("102")}),
            ("user.authentication.sso", "FAILURE", {"session": self.new("102")}),
            (SEND, "SUCCESS", {}),
        )
        if self.chance(70) or event_type.startswith("system.push"):
            more = {**more, "authn": authn}
        times = self.pick(1, 2, 3)
        return [(n * 2_500, 0, self.record(event_type, outcome, tx=tx, **more)) for n in range(times)]

    def not_signing_in(self) -> list[Timed]:
        """A push approved (or another factor passed) while enrolling or recovering; a user who does not exist."""
        ids: Record = {"authn": self.new("R"), "tx": self.new("T")}
        if self.odd(20):
            self.user = ("unknown", self.user[1])
            out = self.lone_denials()
            out.append((out[-1][0] + 5_000, 0, self.record("user.authentication.verify", "SUCCESS", **ids)))
            return out
        intent = self.pick("CREDENTIAL_ENROLLMENT", "CREDENTIAL_RECOVERY")
        factor = self.pick(PUSH, "SMS_FACTOR")
        outcome = "FAILURE" if factor == PUSH and self.odd(25) else "SUCCESS"
        return [(0, 0, self.record(MFA, outcome, factor=factor, intent=intent, **ids))]

    def answer(self) -> str:
        answer: str = self.pick(
            "denied",
            "denied",
            "wrong number",
            "error",
            "both phones",
            "denied and expired",
            "abandoned",
            "abandoned",
            "unanswered",
            "nothing",
        )
        return answer

    def apps(self, now: int, session: str, authn: str | None) -> list[Timed]:
        """The apps a new session opens: at once, and later."""
        out = []
        own = authn
        for _ in range(self.pick(0, 1, 1, 2, 3)):
            out.append((now, 0, self.app(session, own)))
            own = self.pick(authn, None, self.new("R"))
            now += self.pick(1, 400) if self.clear else self.pick(1, 400, 9_000, 4 * MINUTE, 11 * MINUTE)
        return out or [(now, 0, self.app(session, authn))]

    def app(self, session: str | None, authn: str | None) -> Record:
        return self.record("user.authentication.sso", "SUCCESS", session=session, authn=authn, tx=self.new("T"))

    # records

    def record(
        self,
        event_type: str,
        outcome: str | None,
        *,
        reason: str | None = None,
        factor: str | None = None,
        method: str | None = None,
        push: str | None = None,
        number: str | None = None,
        challenge: int | None = None,
        intent: str | None = None,
        session: str | None = None,
        authn: str | None = None,
        tx: str | None = None,
        victim: bool = False,
    ) -> Record:
        """One record of `self.user`, still undated: `challenge` is on the clock of its script."""
        uid, name = self.user
        debug = {
            "factor": factor,
            "factorIntent": intent,
            "pushOnlyResponseType": push,
            "pushWithNumberChallengeResponseType": number,
            CHALLENGE_TIME: challenge,
            "authnRequestId": authn,
        }
        on_phone = event_type.endswith("deny_push") or (factor == PUSH and outcome in ("SUCCESS", "FAILURE"))
        person = {"id": uid, "type": "User", "alternateId": name, "displayName": name, "detailEntry": None}
        targets: list[Record] = []
        if method is not None:
            targets.append({"id": "pfd1", "type": "AuthenticatorEnrollment", "detailEntry": {"methodTypeUsed": method}})
        if victim:
            targets.append(person)
            person = {
                "id": "0oa1app",
                "type": "SystemPrincipal",
                "alternateId": "system@okta.com",
                "displayName": "Okta",
            }
        kept = {key: value for key, value in debug.items() if value is not None}
        return {
            "uuid": self.new("e-"),
            "published": None,
            "eventType": event_type,
            "version": "0",
            "severity": "INFO",
            "displayMessage": event_type,
            "outcome": {"result": outcome, "reason": reason},
            "actor": person,
            "target": targets or self.pick(None, []),
            "client": {
                "ipAddress": "198.51.100.7" if on_phone else "203.0.113.9",
                "userAgent": {"rawUserAgent": "Okta Verify" if on_phone else "Mozilla/5.0"},
            },
            "authenticationContext": {"externalSessionId": session},
            "debugContext": {"debugData": kept} if kept or self.chance(80) else self.pick({"debugData": {}}, None),
            "transaction": {"id": tx, "type": "WEB"} if tx else self.pick(None, {"id": None, "type": "WEB"}),
        }


def _date(record: Record, at: int, digits: int, offset: int | None) -> None:
    record["published"] = iso(at, digits, offset)
    debug = (record["debugContext"] or {}).get("debugData") or {}
    if CHALLENGE_TIME in debug:
        debug[CHALLENGE_TIME] = iso(debug[CHALLENGE_TIME], digits, offset)


def _response(push: str) -> Record:
    return {
        "denied": {"reason": "INVALID_CREDENTIALS", "push": "OV_RESPONSE_DENY"},
        "both phones": {"reason": "INVALID_CREDENTIALS", "push": "OV_RESPONSE_DENY"},
        "denied and expired": {"reason": "INVALID_CREDENTIALS", "push": "OV_RESPONSE_DENY"},
        "wrong number": {"reason": "INVALID_CREDENTIALS", "number": "OV_WITH_CHALLENGE_RESPONSE_INVALID"},
        "error": {"push": "OV_RESPONSE_APPROVE", "number": "OV_WITH_CHALLENGE_RESPONSE_ERROR"},
    }[push]


def _is_strong(record: Record) -> bool:
    factor = ((record["debugContext"] or {}).get("debugData") or {}).get("factor")
    return record["eventType"] == MFA and factor not in ("PASSWORD_AS_FACTOR", "SECURITY_QUESTION")


def _is_landmark(record: Record) -> bool:
    result = record["outcome"]["result"]
    return record["eventType"].endswith(("deny_push", "verify", "session.start")) or (
        record["eventType"].endswith(("auth_via_mfa", "send_factor_verify_push")) and result in ("FAILURE", "SUCCESS")
    )
