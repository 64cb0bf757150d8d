"""A line of a timeline to one System Log record in Okta's wire shape, as `normalize` reads it.

    09:05:00  alice  mfa_succeeded  factor=FIDO_WEBAUTHN ip=198.51.100.7 country=Romania

The format is described in docs/rules.md. An activity's defaults are its view's: the first event type and outcome that
it names. What a view can't tell is in `DEFAULTS`.
"""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from poller.activities import activity_views

DAY = datetime(2026, 3, 10, tzinfo=UTC)  # of every timeline
DOMAIN = "@example.com"
NOBODY = "-"  # instead of a user
# fmt: off
KEYS = (
    "outcome", "reason", "ip", "country", "city", "lat", "lon", "asn", "network", "proxy", "agent", "os", "device",
    "token", "factor", "response", "number", "intent", "session", "root", "transaction", "sign_in", "challenge",
    "app", "target", "target_type", "user", "role", "uri", "behaviors", "risk", "threat", "threats", "message",
    "severity", "actor_type", "name", "uuid",
)
# fmt: on
_TIME = re.compile(r"(?:-(\d{1,4})d)?([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{3}))?)?", re.ASCII)
_WHO = re.compile(r"\??[A-Za-z0-9][\w.+-]*", re.ASCII)
_MFA = "user.authentication.auth_via_mfa"
_SIGN_ON = "policy.evaluate_sign_on"
_BEHAVIORS = ("New Geo-Location", "New Device", "New IP", "New State", "New Country", "Velocity", "New City")
_ABOUT_USERS = ("user.authentication.auth_via_", "user.mfa.", "user.account.", "user.lifecycle.", "user.credential.")

_SYSTEM = {"id": "SystemPrincipal-Okta-System", "alternateId": "system@okta.com", "displayName": "Okta System"}

# Where an event is from unless its line says so. Of each group, one key that is given replaces all.
_PLACE = {"country": "United Kingdom", "city": "Leeds", "lat": "53.7965", "lon": "-1.5478"}
_NETWORK = {"asn": "64496", "network": "example broadband ltd"}
_BROWSER = {
    "agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "os": "Linux",
    "device": "Computer",
}

_PUSH = {"type": _MFA, "factor": "OKTA_VERIFY_PUSH", "intent": "AUTHENTICATION"}
_PASSWORD = {"type": _MFA, "factor": "PASSWORD_AS_FACTOR", "intent": "AUTHENTICATION"}
_REFUSED = {"outcome": "FAILURE", "reason": "INVALID_CREDENTIALS"}
_CLASSIC = {"sign_in": "", "session": "", "outcome": "FAILURE"}
_EVALUATED = "Sign-on policy evaluation resulted in "

_NAMED_BY_VIEWS = {
    "type": "event_type",
    "outcome": "outcome",
    "reason": "outcome_reason",
    "factor": "factor",
    "app": "app_name",
}
# What an activity's view does not say; a few names are no view, but a way to be in one, or close to it.
DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "push_sent": {"type": "system.push.send_factor_verify_push"},
    "push_rejected": {**_PUSH, **_REFUSED, "response": "OV_RESPONSE_DENY"},
    "push_rejected_classic": {"type": "user.mfa.okta_verify.deny_push", **_CLASSIC},
    "push_wrong_number": {
        **_PUSH,
        **_REFUSED,
        "response": "OV_RESPONSE_APPROVE",
        "number": "OV_WITH_CHALLENGE_RESPONSE_INVALID",
    },
    "push_abandoned": {**_PUSH, "outcome": "ABANDONED"},
    "push_unanswered": {**_PUSH, "outcome": "UNANSWERED"},
    "app_too_old": {"type": "user.mfa.okta_verify.deny_push_upgrade_needed", **_CLASSIC},
    "mfa_succeeded": _PUSH,
    "password_succeeded": _PASSWORD,
    "password_refused": {**_PASSWORD, **_REFUSED},
    "factor_challenged": {"type": _SIGN_ON, "outcome": "CHALLENGE", "reason": f"{_EVALUATED}CHALLENGE"},
    "sign_on_allowed": {"type": _SIGN_ON, "outcome": "ALLOW", "reason": f"{_EVALUATED}ALLOW"},
    "sign_in_verified": {"type": "user.authentication.verify"},
    "session_started": {"type": "user.session.start"},
    "app_opened": {"type": "user.authentication.sso", "app": "Example CRM"},
    "phishing_refused": {"factor": "SIGNED_NONCE", "intent": "AUTHENTICATION"},
    "account_locked": {"outcome": "FAILURE", "reason": "LOCKED_OUT"},
    "app_access_refused": {"outcome": "FAILURE", "app": "Example CRM"},
    "threat_detected": {"outcome": "DENY"},
    "anonymized_sign_in": {"proxy": "true"},
    "admin_console_asked": {"outcome": "ALLOW"},
}


@cache
def activities() -> Mapping[str, Mapping[str, str]]:
    """{activity: what its events have}: `type` is the eventType, the rest are keys of a line."""
    found: dict[str, dict[str, str]] = {}
    for name, view in activity_views().items():
        named = {key: _first(column, view) for key, column in _NAMED_BY_VIEWS.items()}
        found[name] = {key: value for key, value in named.items() if value}
    del found["activities"]
    for name, defaults in DEFAULTS.items():
        if name in found or "type" in defaults:
            found[name] = {**found.get(name, {}), **defaults}
    return found


def _first(column: str, view: str) -> str:
    """The first value that a view asks of a column, '' where it names none."""
    match = re.search(rf"\b{column}\s*(?:=|in\s*\()\s*'([^']+)'", view)
    return match[1] if match else ""


def clock(text: str) -> int:
    """`09:05`, `09:05:00.250` or `-20d09:05` as milliseconds after the beginning of `DAY`. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no time such as 09:05, 09:05:00.250 or -20d09:05")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds - days * 86_400_000


def written(time: datetime) -> str:
    """A point in time as timelines write it: `09:05:00`, `09:05:00.250`, `-20d09:05:00`."""
    days = (time - DAY) // timedelta(days=1)
    text = f"{time.astimezone(UTC):%H:%M:%S.%f}"[:-3].removesuffix(".000")
    return (f"{days:+d}d" if days else "") + text


def event_of(line: str, number: int, people: dict[str, int]) -> bytes:
    """One record, as bytes of JSON.

    Args:
        number: of the event in its timeline; with the line it makes the `uuid`.
        people: the users of the timeline so far, with the last number of their address; new ones are added.
    Raises ValueError: what is wrong with the line.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"the quotes do not match ({error})") from None
    if len(words) < 3:
        raise ValueError("a line is TIME WHO ACTIVITY [key=value …]")
    time, who, activity, *pairs = words
    if who != NOBODY and not _WHO.fullmatch(who):
        raise ValueError(f"{who!r} is no user: a name such as alice, ?alice for a name that nobody has, or - for none")
    if activity in activities():
        defaults = dict(activities()[activity])
    elif "." in activity:
        defaults = {"type": activity}
    else:
        raise ValueError(f"there is no activity {activity!r}; an eventType of Okta's has a dot")
    given = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not key=value")
        if key not in KEYS:
            raise ValueError(f"there is no key {key!r}; there are: {', '.join(sorted(KEYS))}")
        if key in given:
            raise ValueError(f"{key} is given twice")
        given[key] = value
    given.setdefault("uuid", f"{number} {' '.join(words)}")
    facts = _facts(defaults, given, who, number, people)
    return json.dumps(_record(clock(time), who, facts)).encode("ascii")


def _facts(
    defaults: Mapping[str, str], given: Mapping[str, str], who: str, number: int, people: dict[str, int]
) -> dict[str, str]:
    """All that an event has, by key; '' is nothing, and stays away."""
    facts = {
        "outcome": "SUCCESS",
        "sign_in": f"sign-in-{number}",
        "transaction": f"transaction-{_uuid(given['uuid'])[:13]}",
        "actor_type": "SystemPrincipal" if who == NOBODY else "User",
    }
    if who != NOBODY:
        address = people.setdefault(who, len(people) + 1)
        facts |= {"ip": f"192.0.{2 + address // 250}.{address % 250}", "token": f"token-{who}", "proxy": "false"}
        for group in (_PLACE, _NETWORK, _BROWSER):
            facts |= {} if given.keys() & group.keys() else group
        if defaults["type"].startswith(_ABOUT_USERS):
            facts["user"] = who
    facts |= {**defaults, **given}
    if facts["sign_in"]:
        facts.setdefault("session", f"idx{facts['sign_in']}")
    facts.setdefault("root", facts.get("session", ""))
    facts.setdefault("severity", "WARN" if facts["outcome"] == "FAILURE" else "INFO")
    return {key: value for key, value in facts.items() if value != ""}


def _record(time: int, who: str, facts: Mapping[str, str]) -> dict[str, Any]:
    get = facts.get
    place = {
        "city": get("city"),
        "country": get("country"),
        "geolocation": {"lat": _number(facts, "lat", 90), "lon": _number(facts, "lon", 180)},
    }
    actor = {**_SYSTEM} if who == NOBODY else _person(who)
    actor["alternateId"] = get("name", actor["alternateId"])
    return {
        "uuid": _uuid(facts["uuid"]),
        "published": _instant(time),
        "eventType": facts["type"],
        "version": "0",
        "severity": get("severity"),
        "displayMessage": get("message"),
        "actor": {**actor, "type": get("actor_type")},
        "client": {
            "userAgent": {"rawUserAgent": get("agent"), "os": get("os"), "browser": "UNKNOWN"},
            "zone": "null",
            "device": get("device"),
            "id": None,
            "ipAddress": get("ip"),
            "geographicalContext": place,
        },
        "device": None,
        "authenticationContext": {
            "authenticationStep": 0,
            "externalSessionId": get("session"),
            "rootSessionId": get("root"),
        },
        "outcome": {"result": get("outcome"), "reason": get("reason")},
        "securityContext": {
            "asNumber": _whole(facts, "asn"),
            "asOrg": get("network"),
            "isp": get("network"),
            "isProxy": _flag(facts, "proxy"),
        },
        "debugContext": {"debugData": _debug_data(facts)},
        "transaction": {"type": "WEB", "id": get("transaction"), "detail": {}},
        "request": {"ipChain": [{"ip": get("ip"), "geographicalContext": place, "version": "V4", "source": None}]},
        "target": _targets(facts) or None,
    }


def _debug_data(facts: Mapping[str, str]) -> dict[str, str]:
    """Okta's keys; their values are text."""
    get = facts.get
    threat = _flag(facts, "threat")
    is_taken = facts["type"].endswith((".revoke", ".delete"))
    role = None if facts["type"].startswith("iam.") else get("role")
    data = {
        "authnRequestId": get("sign_in"),
        "authenticatorMethodChallengeTime": _instant(clock(facts["challenge"])) if "challenge" in facts else None,
        "behaviors": _behaviors(facts["behaviors"]) if "behaviors" in facts else None,
        "dtHash": get("token"),
        "factor": get("factor"),
        "factorIntent": get("intent"),
        "privilegeRevoked" if is_taken else "privilegeGranted": role,
        "pushOnlyResponseType": get("response"),
        "pushWithNumberChallengeResponseType": get("number"),
        "requestUri": get("uri"),
        "risk": f"{{level={facts['risk']}}}" if "risk" in facts else None,
        "threatDetections": get("threats"),
        "threatSuspected": None if threat is None else str(threat).lower(),
    }
    return {key: value for key, value in data.items() if value is not None}


def _behaviors(named: str) -> str:
    """Okta says of every behavior whether it is new for the user."""
    positive = [name.strip() for name in named.split(",")]
    known = [*_BEHAVIORS, *(name for name in positive if name not in _BEHAVIORS)]
    return "{" + ", ".join(f"{name}={'POSITIVE' if name in positive else 'NEGATIVE'}" for name in known) + "}"


def _targets(facts: Mapping[str, str]) -> list[dict[str, Any]]:
    found = []
    if "user" in facts:
        if not _WHO.fullmatch(facts["user"]):
            raise ValueError(f"user={facts['user']} is no user: a name such as bob")
        found.append(_person(facts["user"]))
    if "app" in facts:
        found.append(_thing("AppInstance", facts["app"]))
    if "role" in facts and facts["type"].startswith("iam."):
        found.append(_thing("ROLE", facts["role"]))
    if "target" in facts:
        found.append(_thing(facts.get("target_type", "Entity"), facts["target"]))
    elif "target_type" in facts:
        raise ValueError("target_type is given without a target")
    return found


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://example.com/timelines/{name}"))


def _person(name: str) -> dict[str, Any]:
    plain = name.removeprefix("?")
    uid = "unknown" if name.startswith("?") else f"00u{plain}"
    return {"id": uid, "type": "User", "alternateId": f"{plain}{DOMAIN}", "displayName": plain.title()}


def _thing(kind: str, name: str) -> dict[str, Any]:
    uid = re.sub(r"\W+", "-", f"{kind} {name}")
    return {"id": uid, "type": kind, "alternateId": name, "displayName": name}


def _instant(time: int) -> str:
    return (DAY + timedelta(milliseconds=time)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(facts: Mapping[str, str], key: str, most: int) -> float | None:
    if key not in facts:
        return None
    try:
        number = float(facts[key])
    except ValueError:
        number = float("nan")
    if not abs(number) <= most:
        raise ValueError(f"{key}={facts[key]} is no number of degrees up to {most}")
    return number


def _whole(facts: Mapping[str, str], key: str) -> int | None:
    if key not in facts:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", facts[key]):
        raise ValueError(f"{key}={facts[key]} is no whole number")
    return int(facts[key])


def _flag(facts: Mapping[str, str], key: str) -> bool | None:
    if key not in facts:
        return None
    if facts[key] not in ("true", "false"):
        raise ValueError(f"{key}={facts[key]} is neither true nor false")
    return facts[key] == "true"
