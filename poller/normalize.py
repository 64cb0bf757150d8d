"""Raw System Log records, as Okta sent them, to normalized events. Pure and total.

This is the only module that knows Okta's field names. Attackers write `userAgent`, `displayName` and `alternateId`,
so nothing in a record but a missing `uuid` or an unusable `published` may keep it from becoming an event.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from poller.errors import MalformedEvent, MalformedPage

MAX_TEXT = 2048  # characters kept of free text (a real user agent has 50 to 300)
MAX_ID = 200  # characters kept of ids, types and names of results: they stand in indexes
CUT_MARK = "…[cut]"
MAX_DEPTH = 64  # deepest nesting that is read; what lies deeper is still in the raw record

PUSH = "OKTA_VERIFY_PUSH"
# `AuthenticatorEnrollment` targets name the method in the words of the sign-in page or of the policy API.
_FACTOR_OF_METHOD = {
    "get a push notification": PUSH,
    "push": PUSH,
    "password": "PASSWORD_AS_FACTOR",
    "security question": "SECURITY_QUESTION",
    "security_question": "SECURITY_QUESTION",
    "use okta fastpass": "SIGNED_NONCE",
    "signed_nonce": "SIGNED_NONCE",
    "webauthn": "FIDO_WEBAUTHN",
    "sms": "SMS_FACTOR",
    "voice": "CALL_FACTOR",
    "call": "CALL_FACTOR",
    "email": "EMAIL_FACTOR",
}
_KNOWLEDGE = ("PASSWORD_AS_FACTOR", "SECURITY_QUESTION")


class Event(NamedTuple):
    """One normalized System Log record: the columns of `events`, in their order, but for `org` and `raw`.

    `time` and `challenge_time` are epoch milliseconds, UTC. What Okta did not send is None, never ''. Text is verbatim,
    but that NUL and lone surrogates are U+FFFD and that oversized text ends in `CUT_MARK`.
    """

    uid: str
    time: int
    event_type: str | None
    outcome: str | None
    outcome_reason: str | None
    user_uid: str | None
    user_name: str | None
    actor_uid: str | None
    actor_name: str | None
    actor_type: str | None
    src_ip: str | None
    src_country: str | None
    src_city: str | None
    src_asn: int | None
    src_as_org: str | None
    is_proxy: bool | None
    user_agent: str | None
    device: str | None
    factor: str | None
    push_response: str | None
    number_challenge_response: str | None
    challenge_time: int | None
    factor_intent: str | None
    session_uid: str | None
    root_session_uid: str | None
    transaction_uid: str | None
    authn_request_uid: str | None
    behaviors: str | None
    threat_suspected: bool | None
    severity: str | None
    message: str | None
    device_token: str | None
    src_lat: float | None
    src_lon: float | None
    app_uid: str | None
    app_name: str | None
    target_uid: str | None
    target_type: str | None
    target_name: str | None
    target_user_uid: str | None
    target_user_name: str | None
    privilege: str | None
    request_uri: str | None
    risk_level: str | None
    threat_detections: str | None


def split_page(body: bytes) -> list[bytes]:
    """The records of one page, each as the very bytes Okta sent.

    Raises MalformedPage: the body is not one whole JSON array (a cut-off body, an HTML error page, an error object).
    """
    try:
        return [bytes(record) for record in _page_decoder.decode(body)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return list(_split_leniently(body))


def normalize(raw: bytes) -> Event:
    """One System Log record as an Event.

    Args:
        raw: the record as Okta sent it.
    Raises:
        MalformedEvent: it is not an object, or has no `uuid` or no usable `published`.
    Source: Okta System Log API, https://developer.okta.com/docs/api/openapi/okta-management/management/tag/SystemLog/
    """
    record = _decode(raw)
    if type(record) is not dict:
        raise MalformedEvent("not a JSON object")
    get = record.get
    uid = _id(get("uuid"))
    if uid is None or uid.isspace():
        raise MalformedEvent("no uuid")
    time = epoch_ms(get("published"))
    if time is None:
        raise MalformedEvent("no usable published time")

    actor = _dict(get("actor"))
    client = _dict(get("client"))
    outcome = _dict(get("outcome"))
    security = _dict(get("securityContext"))
    authentication = _dict(get("authenticationContext"))
    debug = _debug_data(get("debugContext"))
    place = _dict(client.get("geographicalContext"))
    targets = get("target")
    if type(targets) is not list:
        targets = [targets] if type(targets) is dict else []

    actor_type = _text(actor.get("type"), MAX_ID)
    actor_uid = _id(actor.get("id"))
    actor_name = _text(actor.get("alternateId")) or _text(actor.get("displayName"))
    if actor_type is not None and actor_type.lower() not in ("user", "systemprincipal"):
        actor_name = _text(actor.get("displayName")) or actor_name  # the alternateId of an app is "unknown", or its id
    app, role, thing, person = _targets(targets)
    target_user_uid = target_user_name = None
    if person is not None:
        target_user_uid = _id(person.get("id"))
        target_user_name = _text(person.get("alternateId")) or _text(person.get("displayName"))
    user_uid, user_name = actor_uid, actor_name
    if person is not None:
        if actor_uid in (None, "unknown") or actor_type is None or actor_type.lower() != "user":
            user_uid, user_name = target_user_uid, target_user_name
    elif actor_type is not None and (actor_uid is None or actor_type.lower() != "user"):
        user_uid = user_name = None

    src_ip = _text(client.get("ipAddress"), MAX_ID)
    details = _dict(security.get("ipDetails"))
    if src_ip is None:
        chain = _dict(get("request")).get("ipChain")
        first = _dict(chain[0]) if type(chain) is list and chain else _EMPTY
        src_ip = _text(first.get("ip"), MAX_ID)
        place = place or _dict(first.get("geographicalContext"))
        details = details or _dict(first.get("ipDetails"))
    asn, as_org = security.get("asNumber"), security.get("asOrg")

    agent = client.get("userAgent")
    geolocation = _dict(place.get("geolocation"))
    hidden = debug.get("logOnlySecurityData")
    hidden = _dict(hidden) or _dict(_json_inside(hidden))
    return Event(
        uid=uid,
        time=time,
        event_type=_text(get("eventType"), MAX_ID),
        outcome=_text(outcome.get("result"), MAX_ID),
        outcome_reason=_text(outcome.get("reason")),
        user_uid=user_uid,
        user_name=user_name,
        actor_uid=actor_uid,
        actor_name=actor_name,
        actor_type=actor_type,
        src_ip=src_ip,
        src_country=_text(place.get("country"), MAX_ID),
        src_city=_text(place.get("city"), MAX_ID),
        src_asn=_int(details.get("asNumber") if asn is None else asn),
        src_as_org=_text(details.get("asOrg") if as_org is None else as_org, MAX_ID),
        is_proxy=_is_anonymous(details, debug) or _bool(security.get("isProxy")),
        user_agent=_text(agent.get("rawUserAgent") if type(agent) is dict else agent),
        device=_text(client.get("device"), MAX_ID) or _text(_dict(get("device")).get("name"), MAX_ID),
        factor=_text(debug.get("factor"), MAX_ID) or _factor_of_target(targets),
        push_response=_text(debug.get("pushOnlyResponseType"), MAX_ID),
        number_challenge_response=_text(debug.get("pushWithNumberChallengeResponseType"), MAX_ID),
        challenge_time=epoch_ms(debug.get("authenticatorMethodChallengeTime")),
        factor_intent=_text(debug.get("factorIntent"), MAX_ID),
        session_uid=_id(authentication.get("externalSessionId")),
        root_session_uid=_id(authentication.get("rootSessionId")),
        transaction_uid=_id(_dict(get("transaction")).get("id")),
        authn_request_uid=_id(debug.get("authnRequestId")),
        behaviors=_behaviors(debug, security, hidden),
        threat_suspected=_bool(debug.get("threatSuspected")),
        severity=_text(get("severity"), MAX_ID),
        message=_text(get("displayMessage")),
        device_token=_token(debug.get("dtHash")) or _token(debug.get("deviceFingerprint")),
        src_lat=_degrees(geolocation.get("lat"), 90),
        src_lon=_degrees(geolocation.get("lon"), 180),
        app_uid=_id(app.get("id")),
        app_name=_text(app.get("displayName"), MAX_ID) or _text(app.get("alternateId"), MAX_ID),
        target_uid=_id(thing.get("id")),
        target_type=_text(thing.get("type"), MAX_ID),
        target_name=_text(thing.get("displayName")) or _text(thing.get("alternateId")),
        target_user_uid=target_user_uid,
        target_user_name=target_user_name,
        privilege=_text(debug.get("privilegeGranted"))
        or _text(debug.get("privilegeRevoked"))
        or _text(role.get("displayName")),
        request_uri=_text(debug.get("requestUri")),
        risk_level=_risk_level(debug, hidden),
        threat_detections=_text(debug.get("threatDetections")),
    )


_WITHIN = ("role", "resource_set", "resourceset")  # what an admin's rights are made of: they are given to the thing


def _targets(targets: list[Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """Of the targets the first app instance, the first role, the thing that was acted on, and the first user.

    The thing is the first policy rule, which is named beside its policy; else the first that is none of these and no
    person; else the app, the resource set or the role.
    """
    first: dict[str, dict[str, Any]] = {}
    thing = None
    for target in targets:
        if type(target) is not dict:
            continue
        kind = (_text(target.get("type")) or "").lower()
        first.setdefault(kind, target)
        if thing is None and kind not in ("user", "appuser", "appinstance", *_WITHIN):
            thing = target
    app, role = first.get("appinstance", _EMPTY), first.get("role", _EMPTY)
    within = first.get("resource_set") or first.get("resourceset")
    return app, role, first.get("policyrule") or thing or app or within or role, first.get("user")


def _token(value: object) -> str | None:
    token = _id(value)
    return None if token in ("-", "null", "unknown") else token  # which would make one device of many


def _is_anonymous(details: dict[str, Any], debug: dict[str, Any]) -> bool | None:
    """True where a service at the address hides who comes from it, as newer records say: VPN, proxy, Tor."""
    services, tunnels = details.get("ipServiceCategories"), debug.get("tunnels")
    if type(tunnels) is str:
        tunnels = _json_inside(tunnels)
    said = [_dict(service).get("isAnonymous") for service in (services if type(services) is list else ())]
    said += [_dict(tunnel).get("anonymous") for tunnel in (tunnels if type(tunnels) is list else ())]
    return True if any(_bool(value) for value in said) else None


_LEVEL = re.compile(r"\blevel=(\w+)")


def _risk_level(debug: dict[str, Any], hidden: dict[str, Any]) -> str | None:
    """`LOW` of `{reasons=..., level=LOW}`, or of an object of that shape."""
    for risk in (debug.get("risk"), hidden.get("risk")):
        if type(risk) is str and (match := _LEVEL.search(risk, 0, MAX_TEXT)):
            return _text(match[1], MAX_ID)
        inside = _dict(risk if type(risk) is dict else _json_inside(risk))
        if level := _text(inside.get("level"), MAX_ID):
            return level
    return None


def _degrees(value: object, most: int) -> float | None:
    """A coordinate, as a number or written as text; None if there is no such place."""
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = float(value)
        except ValueError:
            return None
    if type(value) not in (int, float) or not abs(value) <= most:  # type: ignore[arg-type]
        return None
    return float(value)  # type: ignore[arg-type]


_INSTANT = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d)?)?\s*",
    re.ASCII,
)


def epoch_ms(value: object) -> int | None:
    """An ISO 8601 instant as epoch milliseconds, UTC, finer digits dropped; None if it is not one.

    Okta writes 0, 2, 3, 6 or 9 fraction digits, with `Z` or an offset; an instant without either is taken as UTC.
    """
    if type(value) is not str or len(value) > 64 or not (match := _INSTANT.fullmatch(value)):
        return None
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups()
    if year < "1900":  # 0001-01-01 is how some libraries write that there is no time
        return None
    try:
        # A leap second has no number of its own in epoch time: it shares that of the second before it.
        whole = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second or 0), 59), tzinfo=UTC)
    except ValueError:
        return None
    milliseconds = (whole - _EPOCH) // _MILLISECOND + int(((fraction or "") + "000")[:3])
    if sign:
        offset = (int(offset_hours) * 60 + int(offset_minutes or 0)) * 60_000
        milliseconds += offset if sign == "-" else -offset
    return milliseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = datetime(1970, 1, 1, 0, 0, 0, 1000) - datetime(1970, 1, 1)
_EMPTY: dict[str, Any] = {}
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_page_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_record_decoder = msgspec.json.Decoder()


def _text(value: object, limit: int = MAX_TEXT) -> str | None:
    if type(value) is not str:
        if value is None or isinstance(value, (dict, list)):
            return None
        value = str(value).lower() if isinstance(value, bool) else str(value)
    if not value:
        return None
    if not value.isascii() or "\x00" in value:
        value = _NOT_TEXT.sub("\ufffd", value)
    if len(value) > limit:
        return value[: limit - len(CUT_MARK)] + CUT_MARK
    return value


def _id(value: object) -> str | None:
    """Like `_text`, but that two ids that differ stay different when they are cut."""
    text = _text(value, sys.maxsize)
    if text is not None and len(text) > MAX_ID:
        return text[:100] + CUT_MARK + hashlib.sha256(text.encode()).hexdigest()
    return text


def _dict(value: object) -> dict[str, Any]:
    return value if type(value) is dict else _EMPTY


def _int(value: object) -> int | None:
    """A number, or a number written as text, that fits a 64-bit column."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and len(value) <= 20 and value.strip().isdecimal():
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None


def _bool(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def _debug_data(context: object) -> dict[str, Any]:
    data = _dict(context).get("debugData")
    return _dict(_json_inside(data) if type(data) is str else data)


def _json_inside(value: object) -> Any:
    """Some debugData values are JSON inside a string, an object or a list; some only look like it: an empty object."""
    if type(value) is str and value.startswith(("{", "[")):
        try:
            return _decode(value.encode("utf-8", "replace"))
        except MalformedEvent:
            pass
    return _EMPTY


def _factor_of_target(targets: list[Any]) -> str | None:
    """The factor that the authenticators among the targets speak of: of several, the first that is not knowledge."""
    factors = []
    for target in targets:
        if type(target) is dict and (_text(target.get("type")) or "").startswith("Authenticator"):
            method = _text(_dict(target.get("detailEntry")).get("methodTypeUsed"), MAX_ID)
            if method:
                factors.append(_FACTOR_OF_METHOD.get(method.strip().lower(), method))
    return next((factor for factor in factors if factor not in _KNOWLEDGE), factors[0] if factors else None)


def _behaviors(debug: dict[str, Any], security: dict[str, Any], hidden: dict[str, Any]) -> str | None:
    """`{New IP=POSITIVE, New Device=NEGATIVE}`, as debugData writes it; newer shapes are brought to the same form."""
    written = debug.get("behaviors")
    pairs: dict[str, Any]
    if type(written) is str:
        return _text(written)
    if type(written) is list:  # ["New IP=POSITIVE", ...]
        return _text("{" + ", ".join(pair for pair in written if type(pair) is str) + "}")
    if type(written) is dict:
        pairs = written
    elif type(listed := security.get("userBehaviors")) is list:
        pairs = {_text(_dict(b).get("name")) or "": _dict(b).get("result") for b in listed}
    else:
        pairs = _dict(hidden.get("behaviors"))
    return _text("{" + ", ".join(f"{name}={_text(result)}" for name, result in pairs.items()) + "}") if pairs else None


def _decode(raw: bytes) -> object:
    """The record as Python objects. What a strict decoder refuses (lone surrogates, control characters, numbers
    out of range, broken UTF-8, nesting without end) is read leniently rather than lost."""
    try:
        return _record_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    text = raw.decode("utf-8", "replace")
    for candidate in (text, None):
        try:
            return json.loads(
                candidate or _prune(text), strict=False, parse_int=_integer, parse_float=_float, parse_constant=str
            )
        except RecursionError:
            continue
        except ValueError as error:
            raise MalformedEvent(f"not JSON: {error}") from None
    raise MalformedEvent("not JSON: nesting without end")


# A number that Python does not hold, such as 1e999, stays as it is written.
def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= 640 else digits


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


# Strings are passed over whole. One that is never closed goes on to the end, and no repetition gives back what it took:
# the time stays linear, whatever was cut off where.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_BRACKET = re.compile(_STRING + r"|[][{}]", re.DOTALL)
_BYTE_BRACKET = re.compile(_STRING.encode() + rb"|[][{},]", re.DOTALL)


def _prune(text: str) -> str:
    """`text` with every object and list deeper than MAX_DEPTH replaced by null."""
    kept: list[str] = []
    depth = start = 0
    for match in _BRACKET.finditer(text):
        bracket = match.group()
        if bracket in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(text[start : match.start()] + "null")
        elif bracket in "]}":
            if depth == MAX_DEPTH + 1:
                start = match.end()
            depth -= 1
    if depth <= MAX_DEPTH:
        kept.append(text[start:])
    return "".join(kept)


def _split_leniently(body: bytes) -> Iterator[bytes]:
    """The elements of the outermost array by counting brackets, so that one element that a decoder refuses
    costs nothing but itself."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not text.startswith(b"["):
        raise MalformedPage("the body is not a JSON array")
    depth, start = 0, 1
    for match in _BYTE_BRACKET.finditer(text):
        bracket = match.group()
        if bracket in b"[{":
            depth += 1
        elif bracket in b"]}":
            depth -= 1
            if depth == 0:
                if text[match.end() :].strip():
                    raise MalformedPage("there is text after the JSON array")
                last = text[start : match.start()].strip()
                if last:
                    yield last
                return
        elif bracket == b"," and depth == 1:
            yield text[start : match.start()].strip()
            start = match.end()
    raise MalformedPage("the body ends in the middle of the JSON array")
