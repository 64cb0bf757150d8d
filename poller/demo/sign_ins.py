"""Sign-ins: what happens in one, and the raw events that Okta writes about it.

A `SignIn` is one attempt to sign in, by one person (or someone with their password) from one browser. Each method is
something that happens in it, and returns the events of it. `IdentityEngineSignIn` and `ClassicSignIn` have the same
methods, so that a story told with them can be told in either kind of org.
Times are epoch milliseconds, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from poller.demo.okta_events import DASHBOARD, App, Client, Event, Ids, Person, Phone, event, named
from poller.demo.okta_log import iso

_BEHAVIOR_IDS = {
    "New Geo-Location": "bhv2f7k0aPq8cYwE45d7",
    "New Device": "bhv2f7k0bRt1dXzF45d7",
    "New IP": "bhv2f7k0cSu2eWyG45d7",
    "New State": "bhv2f7k0dTv3fVxH45d7",
    "New Country": "bhv2f7k0eUw4gUwJ45d7",
    "Velocity": "bhv2f7k0fVx5hTvK45d7",
    "New City": "bhv2f7k0gWy6iSuL45d7",
}
BEHAVIORS = tuple(_BEHAVIOR_IDS)
NEW_PLACE = frozenset({"New Geo-Location", "New Device", "New IP", "New State", "New Country", "New City"})

# How Okta names a factor in debugData, and the same method in the target of the enrolment.
_METHODS = {
    "PASSWORD_AS_FACTOR": ("Password", "Password", "[KNOWLEDGE]"),
    "OKTA_VERIFY_PUSH": ("Okta Verify", "Get a push notification", "[USER_PRESENCE]"),
    "SIGNED_NONCE": ("Okta Verify", "Use Okta FastPass", "[DEVICE_BOUND, HARDWARE_PROTECTED, USER_PRESENCE]"),
    "OKTA_SOFT_TOKEN": ("Okta Verify", "Enter a code", "[POSSESSION]"),
    "FIDO_WEBAUTHN": ("Security Key or Biometric", "Security Key or Biometric", "[DEVICE_BOUND, PHISHING_RESISTANT]"),
    "SMS_FACTOR": ("Phone", "SMS", "[POSSESSION]"),
    "EMAIL_FACTOR": ("Email", "Email", "[POSSESSION]"),
    "SECURITY_QUESTION": ("Security Question", "Security Question", "[KNOWLEDGE]"),
}


@dataclass
class SignIn:
    """One attempt to sign in, and the session that comes of it.

    Args:
        client: where it is attempted from; who answers a push does so from a phone.
        new: the behaviours that Okta finds new for this person (of `BEHAVIORS`).
        risk: LOW, MEDIUM, HIGH.
    """

    ids: Ids
    person: Person
    client: Client
    app: App = DASHBOARD
    new: frozenset[str] = frozenset()
    risk: str = "LOW"
    session: str = field(default="", init=False)
    request: str = field(default="", init=False)
    browser: str = field(default="", init=False)
    pushed: int = field(default=0, init=False)
    """When the last push was sent."""

    session_prefix: ClassVar[str] = ""
    answer_path: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.session = self.ids.session(self.session_prefix)
        self.request = self.ids.hex()
        self.browser = self.ids.hex() + self.ids.hex()

    def wrong_password(self, time: int) -> list[Event]:
        raise NotImplementedError

    def password(self, time: int) -> list[Event]:
        """The right password: a session begins, and the policy asks for one more factor."""
        raise NotImplementedError

    def push_denied(self, time: int, phone: Phone) -> list[Event]:
        raise NotImplementedError

    def completed(self, time: int, factors: tuple[str, ...]) -> list[Event]:
        """The policy is satisfied and the app opens."""
        raise NotImplementedError

    def app_opened(self, time: int, app: App) -> list[Event]:
        """An app is opened in the session, which is a request of its own."""
        raise NotImplementedError

    def push_sent(self, time: int) -> list[Event]:
        """A push, or one more: to every phone of the person."""
        self.pushed = time
        transaction = self.ids.hex()
        return [
            self._event(
                time + 4 * n,
                "system.push.send_factor_verify_push",
                "Send push message",
                transaction=transaction,
                debug={**self._debug("/idp/idx/challenge"), "deviceId": phone.uid},
                targets=[self._enrollment("OKTA_VERIFY_PUSH", phone), self.person.block()],
            )
            for n, phone in enumerate(self.person.phones)
        ]

    def push_approved(self, time: int, phone: Phone) -> list[Event]:
        return [self._mfa(time, "OKTA_VERIFY_PUSH", phone=phone, debug=self._push_answer("APPROVE"))]

    def factor(self, time: int, factor: str, result: str = "SUCCESS", reason: str = "") -> list[Event]:
        """Any factor that is used in the browser itself: a code, a security key."""
        return [self._mfa(time, factor, result, reason)]

    def ended(self, time: int) -> list[Event]:
        """The person signs out."""
        message, legacy = "User logout from Okta", "core.user_auth.logout_success"
        return [self._event(time, "user.session.end", message, legacy=legacy, debug=self._debug("/login/signout"))]

    def factor_enrolled(self, time: int, factor: str) -> list[Event]:
        """A new factor is set up, by whoever holds the session."""
        return [
            self._event(
                time,
                "user.mfa.factor.activate",
                "Activate factor or authenticator enrollment for user",
                reason=f"User set up {factor} factor",
                legacy="core.user.factor.activate",
                debug={**self._debug("/idp/idx/credential/enroll"), "factor": factor},
                targets=[self.person.block(), self._enrollment(factor)],
            )
        ]

    def fastpass_refused(self, time: int) -> list[Event]:
        """FastPass is asked by a page that is not the org's, and does not answer it."""
        return [self._mfa(time, "SIGNED_NONCE", "FAILURE", "FastPass declined phishing attempt")]

    def activity_disowned(self, time: int) -> list[Event]:
        """The person answers a mail of Okta's about a sign-in: that was not me."""
        return [
            self._event(
                time,
                "user.account.report_suspicious_activity_by_enduser",
                "User report suspicious activity",
                severity="WARN",
                debug=self._debug("/user/notifications/report-suspicious-activity"),
                targets=[self.person.block()],
            )
        ]

    def refresh_token_reused(self, time: int, app: App) -> list[Event]:
        """The app's refresh token of this person is used a second time. It is the app that acts."""
        return [
            event(
                self.ids,
                time,
                "app.oauth2.as.token.detect_reuse",
                "One-time refresh token is reused",
                {"id": app.uid, "type": "PublicClientApp", "alternateId": app.uid, "displayName": app.name},
                client=self.client,
                severity="WARN",
                debug={"requestUri": "/oauth2/default/v1/token", "url": "/oauth2/default/v1/token?"},
                targets=[self.person.block()],
            )
        ]

    def stolen(self, client: Client, with_device: bool) -> None:
        """From here on somebody else uses the session as well, with its cookie; `with_device`: with all cookies, that
        by which Okta knows the browser included."""
        self.client, self.new, self.risk = client, NEW_PLACE, "HIGH"
        if not with_device:
            self.browser = self.ids.hex() + self.ids.hex()

    def _mfa(
        self,
        time: int,
        factor: str,
        result: str = "SUCCESS",
        reason: str = "",
        phone: Phone | None = None,
        debug: dict[str, str] | None = None,
        transaction: str = "",
    ) -> Event:
        return self._event(
            time,
            "user.authentication.auth_via_mfa",
            "Authentication of user via MFA",
            phone=phone,
            result=result,
            reason=reason,
            legacy="core.user.factor.attempt_success" if result == "SUCCESS" else "core.user.factor.attempt_fail",
            severity="INFO" if result == "SUCCESS" else "WARN",
            transaction=transaction,
            debug={
                **self._debug(self.answer_path),
                "factor": factor,
                "factorIntent": "AUTHENTICATION",
                **(debug or {}),
            },
            targets=[self._enrollment(factor, phone), self.app.target()],
            authentication={
                "authenticationProvider": "FACTOR_PROVIDER",
                "credentialProvider": "OKTA_CREDENTIAL_PROVIDER",
                **({"credentialType": "PASSWORD"} if factor == "PASSWORD_AS_FACTOR" else {}),
            },
        )

    def _sign_on_policy(self, time: int, result: str, reason: str, app: App) -> Event:
        return self._event(
            time,
            "policy.evaluate_sign_on",
            "Evaluation of sign-on policy",
            result=result,
            reason=reason,
            debug=self._debug("/idp/idx/identify") | {"behaviors": self._behaviors(), "risk": f"{{level={self.risk}}}"},
            targets=[
                named("rst1f2k0aQw9ErTy5d7z", "PolicyEntity", "Any two factors", policyType="ACCESS_POLICY"),
                named("rul1f2k0bPl8OkIj5d7z", "PolicyRule", "Staff", alternate="rst1f2k0aQw9ErTy5d7z"),
                app.target(),
            ],
        )

    def _sso(self, time: int, app: App, transaction: str = "") -> Event:
        app_user = {
            "id": f"0ua{self.person.uid[3:12]}{app.uid[12:]}",
            "type": "AppUser",
            "alternateId": self.person.login,
            "displayName": self.person.name,
        }
        return self._event(
            time,
            "user.authentication.sso",
            "User single sign on to app",
            legacy="app.auth.sso",
            transaction=transaction,
            debug={
                **self._debug(f"/app/{app.name.lower().replace(' ', '_')}/{app.uid}/sso/saml"),
                "initiationType": "IDP_INITIATED",
                "signOnMode": app.mode.replace("_", " ").title(),
            },
            targets=[app.target(), app_user],
        )

    def _session_start(self, time: int, result: str = "SUCCESS", reason: str = "", transaction: str = "") -> Event:
        return self._event(
            time,
            "user.session.start",
            "User login to Okta",
            result=result,
            reason=reason,
            legacy="core.user_auth.login_success" if result == "SUCCESS" else "core.user_auth.login_failed",
            severity="INFO" if result == "SUCCESS" else "WARN",
            transaction=transaction,
            debug=self._debug("/idp/idx/identify") | {"behaviors": self._behaviors(), "risk": f"{{level={self.risk}}}"},
            targets=[self._enrollment("PASSWORD_AS_FACTOR"), self.app.target()],
            authentication={"authenticationProvider": "OKTA_AUTHENTICATION_PROVIDER", "credentialType": "PASSWORD"},
        )

    def _event(
        self,
        time: int,
        event_type: str,
        message: str,
        *,
        phone: Phone | None = None,
        session: str | None = None,
        **more: Any,
    ) -> Event:
        return event(
            self.ids,
            time,
            event_type,
            message,
            self.person.block(),
            client=self.client if phone is None else phone.client,
            session=self.session if session is None else session,
            security={
                "risk": {"level": self.risk, "reasons": [f"Anomalous {name[4:]}" for name in sorted(self.new)]},
                "userBehaviors": [
                    {"id": uid, "name": name, "result": "POSITIVE" if name in self.new else "NEGATIVE"}
                    for name, uid in _BEHAVIOR_IDS.items()
                ],
            },
            device=None if phone is None else _device(phone),
            **more,
        )

    def _debug(self, path: str) -> dict[str, str]:
        return {
            "authnRequestId": self.request,
            "dtHash": self.browser,
            "requestUri": path,
            "url": f"{path}?",
            "threatSuspected": "true" if self.risk == "HIGH" else "false",
        }

    def _push_answer(self, answer: str, number: str = "") -> dict[str, str]:
        raise NotImplementedError

    def _behaviors(self) -> str:
        found = (f"{name}={'POSITIVE' if name in self.new else 'NEGATIVE'}" for name in BEHAVIORS)
        return "{" + ", ".join(found) + "}"

    def _enrollment(self, factor: str, phone: Phone | None = None) -> dict[str, Any]:
        authenticator, method, properties = _METHODS[factor]
        if phone is None and self.person.phones and authenticator == "Okta Verify":
            phone = self.person.phones[0]
        return {
            "id": phone.enrollment if phone else self.person.password,
            "type": "AuthenticatorEnrollment",
            "alternateId": "unknown",
            "displayName": authenticator,
            "detailEntry": {"methodTypeUsed": method, "methodUsedVerifiedProperties": properties},
        }


class IdentityEngineSignIn(SignIn):
    """As Okta Identity Engine writes it."""

    session_prefix = "idx"
    answer_path = "/idp/idx/authenticators/poll"

    def wrong_password(self, time: int) -> list[Event]:
        transaction = self.ids.hex()
        return [
            self._mfa(time, "PASSWORD_AS_FACTOR", "FAILURE", "INVALID_CREDENTIALS", transaction=transaction),
            self._session_start(time + 3, "FAILURE", "INVALID_CREDENTIALS", transaction),
        ]

    def password(self, time: int) -> list[Event]:
        transaction = self.ids.hex()
        return [
            self._mfa(time, "PASSWORD_AS_FACTOR", transaction=transaction),
            self._session_start(time + 5, transaction=transaction),
            self._policy(time + 31, "CHALLENGE"),
        ]

    def passwordless(self, time: int) -> list[Event]:
        """FastPass instead of a password: it comes before the session."""
        return [self._mfa(time, "SIGNED_NONCE"), self._session_start(time + 6)]

    def push_denied(self, time: int, phone: Phone) -> list[Event]:
        answer = self._push_answer("DENY")
        return [self._mfa(time, "OKTA_VERIFY_PUSH", "FAILURE", "INVALID_CREDENTIALS", phone, answer)]

    def wrong_number(self, time: int, phone: Phone) -> list[Event]:
        """The number that the person chose on the phone is not the one that the browser shows."""
        answer = self._push_answer("APPROVE", "OV_WITH_CHALLENGE_RESPONSE_INVALID")
        return [self._mfa(time, "OKTA_VERIFY_PUSH", "FAILURE", "INVALID_CREDENTIALS", phone, answer)]

    def push_abandoned(self, time: int) -> list[Event]:
        """Nobody answered the last push. Okta writes it when the push expires, five minutes after it was sent."""
        return [self._mfa(time, "OKTA_VERIFY_PUSH", "ABANDONED", debug=self._challenged())]

    def push_unanswered(self, time: int) -> list[Event]:
        """The last push was ignored, and the person signs in by another factor."""
        return [self._mfa(time, "OKTA_VERIFY_PUSH", "UNANSWERED", debug=self._challenged())]

    def completed(self, time: int, factors: tuple[str, ...]) -> list[Event]:
        transaction = self.ids.hex()
        verified = self._event(
            time + 12,
            "user.authentication.verify",
            "Verify user identity",
            transaction=transaction,
            debug=self._debug("/login/token/redirect") | {"behaviors": self._behaviors()},
            targets=[*(self._enrollment(factor) for factor in factors), self.app.target()],
        )
        return [self._policy(time, "ALLOW"), verified, self._sso(time + 140, self.app, transaction)]

    def app_opened(self, time: int, app: App) -> list[Event]:
        self.request = self.ids.hex()
        return [self._policy(time, "ALLOW", app), self._sso(time + 90, app)]

    def _policy(self, time: int, result: str, app: App | None = None) -> Event:
        reason = f"Sign-on policy evaluation resulted in {'AUTHENTICATED' if result == 'ALLOW' else result}"
        return self._sign_on_policy(time, result, reason, app or self.app)

    def _challenged(self) -> dict[str, str]:
        return {"authenticatorMethodChallengeTime": iso(self.pushed)}

    def _push_answer(self, answer: str, number: str = "") -> dict[str, str]:
        given = {"pushOnlyResponseType": f"OV_RESPONSE_{answer}", **self._challenged()}
        return {**given, "pushWithNumberChallengeResponseType": number} if number else given


class ClassicSignIn(SignIn):
    """As the Classic Engine writes it."""

    session_prefix = "102"
    answer_path = "/api/v1/authn/factors/verify"

    def wrong_password(self, time: int) -> list[Event]:
        return [self._session_start(time, "FAILURE", "INVALID_CREDENTIALS")]

    def password(self, time: int) -> list[Event]:
        reason = "Sign-on policy evaluation resulted in CHALLENGE"
        return [self._session_start(time), self._sign_on_policy(time + 20, "CHALLENGE", reason, self.app)]

    def push_denied(self, time: int, phone: Phone) -> list[Event]:
        """Classic writes one denial twice, in one transaction."""
        transaction = self.ids.hex()
        denied = event(
            self.ids,
            time,
            "user.mfa.okta_verify.deny_push",
            "User rejected Okta Verify push",
            self.person.block(),
            client=phone.client,
            transaction=transaction,
            session=self.session,
        )
        reason = "User rejected Okta push verify"
        failed = self._mfa(time + 2, "OKTA_VERIFY_PUSH", "FAILURE", reason, phone, transaction=transaction)
        return [denied, failed]

    def completed(self, time: int, factors: tuple[str, ...]) -> list[Event]:
        return self.app_opened(time, self.app)

    def app_opened(self, time: int, app: App) -> list[Event]:
        return [self._sso(time, app)]

    def _push_answer(self, answer: str, number: str = "") -> dict[str, str]:
        return {}


def _device(phone: Phone) -> dict[str, Any]:
    return {
        "id": phone.uid,
        "name": phone.name,
        "os_platform": phone.platform,
        "os_version": phone.os_version,
        "managed": False,
        "registered": True,
        "device_integrator": None,
        "disk_encryption_type": "FULL",
        "screen_lock_type": "BIOMETRIC",
        "jailbreak": False,
        "secure_hardware_present": True,
    }
