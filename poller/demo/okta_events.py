"""Raw System Log events as Okta writes them: the people, apps and machines they name, and what all have in common.

Every event is a fresh dict in the wire shape of Okta's OpenAPI document. That document is stricter than Okta itself,
which writes null where the document wants the key left out: see `as_written`. What happens in a sign-in is in
`sign_ins`, what administrators do in `administration`.
Times are epoch milliseconds, UTC. Sources: OpenAPI `LogEvent`; the event type catalogue,
https://developer.okta.com/docs/reference/api/event-types/
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Any

from poller.demo.okta_log import iso

Event = dict[str, Any]

_BASE62 = string.digits + string.ascii_letters


class Ids:
    """Ids in Okta's shapes, from one source of chance: the same source gives the same ids."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def okta(self, prefix: str) -> str:
        """An object's id, such as 00uttidj01jqL21aM1d6."""
        return prefix + "".join(self._source.choices(_BASE62, k=20 - len(prefix)))

    def session(self, prefix: str) -> str:
        return prefix + "".join(self._source.choices(_BASE62, k=22))

    def hex(self) -> str:
        return f"{self._source.getrandbits(128):032x}"

    def uuid(self) -> str:
        digits = f"{self._source.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-11f0-{digits[16:20]}-{digits[20:]}"


@dataclass(frozen=True)
class Network:
    """Where requests come from: an address and what is known about it."""

    ip: str
    city: str
    state: str
    country: str
    postal_code: str
    latitude: float
    longitude: float
    as_number: int
    as_org: str
    domain: str
    is_proxy: bool = False
    zone: str = ""

    def place(self) -> dict[str, Any]:
        return {
            "city": self.city,
            "state": self.state,
            "country": self.country,
            "postalCode": self.postal_code,
            "geolocation": {"lat": self.latitude, "lon": self.longitude},
        }


@dataclass(frozen=True)
class Software:
    """What requests are made with. `device` is Okta's word: Computer, Mobile, Unknown."""

    user_agent: str
    os: str
    browser: str
    device: str


@dataclass(frozen=True)
class Client:
    """Some software on some network."""

    network: Network
    software: Software


@dataclass(frozen=True)
class Phone:
    """A phone with Okta Verify on it. `enrollment` is that of Okta Verify, `uid` that of the device."""

    uid: str
    enrollment: str
    name: str
    platform: str
    os_version: str
    client: Client


@dataclass(frozen=True)
class Person:
    """A user, or what else acts (`kind`). `uid` is the identity; name and login can change."""

    uid: str
    login: str
    name: str
    password: str  # the id of the password's enrolment, not a secret
    phones: tuple[Phone, ...] = ()
    kind: str = "User"

    def block(self) -> dict[str, Any]:
        """The person as an actor, or as a target."""
        return {"id": self.uid, "type": self.kind, "alternateId": self.login, "displayName": self.name}


@dataclass(frozen=True)
class App:
    """An app instance. `mode` is how it signs people on."""

    uid: str
    name: str
    mode: str = "SAML_2_0"

    def target(self) -> dict[str, Any]:
        return {
            "id": self.uid,
            "type": "AppInstance",
            "alternateId": self.name,
            "displayName": self.name,
            "detailEntry": {"signOnModeType": self.mode},
        }


DASHBOARD = App("0oa1f2k0d4Hq7TzSx5d7", "Okta Dashboard", "OPENID_CONNECT")
ADMIN_CONSOLE = App("0oa1f2k0e9Jw3BvNc5d7", "Okta Admin Console", "OPENID_CONNECT")
SYSTEM = Person("00u1f2k0System0Az5d7", "system@okta.com", "Okta System", "", kind="SystemPrincipal")


def event(
    ids: Ids,
    time: int,
    event_type: str,
    message: str,
    actor: dict[str, Any],
    *,
    client: Client | None = None,
    result: str = "SUCCESS",
    reason: str = "",
    legacy: str = "",
    severity: str = "INFO",
    session: str = "",
    transaction: str = "",
    debug: dict[str, str] | None = None,
    targets: list[dict[str, Any]] | None = None,
    authentication: dict[str, Any] | None = None,
    security: dict[str, Any] | None = None,
    device: dict[str, Any] | None = None,
) -> Event:
    """One event; without a client it is a job of Okta's own. What is not given is left out, as the document asks."""
    transaction = transaction or ids.hex()
    context = {**(authentication or {}), "authenticationStep": 0}
    if session:
        context |= {"rootSessionId": session, "externalSessionId": session}
    written: Event = {
        "actor": actor,
        "client": _client(client) if client else {},
        "device": device,
        "authenticationContext": context,
        "displayMessage": message,
        "eventType": event_type,
        "outcome": {"result": result, "reason": reason} if reason else {"result": result},
        "published": iso(time),
        "securityContext": {**_security(client), **(security or {})},
        "severity": severity,
        "debugContext": {"debugData": {"requestId": transaction, **(debug or {})}},
        "legacyEventType": legacy or None,
        "transaction": {"type": "WEB" if client else "JOB", "id": transaction, "detail": {}},
        "uuid": ids.uuid(),
        "version": "0",
        "request": {"ipChain": [_hop(client.network)] if client else []},
        "target": targets,
    }
    return {key: value for key, value in written.items() if value is not None}


def _client(client: Client) -> dict[str, Any]:
    network, software = client.network, client.software
    return {
        "userAgent": {"rawUserAgent": software.user_agent, "os": software.os, "browser": software.browser},
        **({"zone": network.zone} if network.zone else {}),
        "device": software.device,
        "ipAddress": network.ip,
        "geographicalContext": network.place(),
    }


def _security(client: Client | None) -> dict[str, Any]:
    if client is None:
        return {"asNumber": None, "asOrg": None, "isp": None, "domain": None, "isProxy": None}
    network = client.network
    known = {"asNumber": network.as_number, "asOrg": network.as_org, "isp": network.as_org, "domain": network.domain}
    return {**known, "isProxy": network.is_proxy, "ipDetails": known}


def _hop(network: Network) -> dict[str, Any]:
    return {"ip": network.ip, "geographicalContext": network.place(), "version": "V6" if ":" in network.ip else "V4"}


def as_written(event: Event) -> Event:
    """The event with nulls where Okta writes them, against its own document, in which little may be null."""
    written = {**dict.fromkeys(_TOP_LEVEL), **event}
    written["actor"] = {**event["actor"], "detailEntry": None}
    client = {
        **dict.fromkeys(("userAgent", "zone", "device", "id", "ipAddress", "geographicalContext")),
        **event["client"],
    }
    context = {**dict.fromkeys(_AUTHENTICATION), **event["authenticationContext"]}
    written["client"], written["authenticationContext"] = client, context
    written["outcome"] = {"result": event["outcome"]["result"], "reason": event["outcome"].get("reason")}
    written["request"] = {"ipChain": [{**hop, "source": None} for hop in event["request"]["ipChain"]]}
    if "target" in event:
        written["target"] = [{**target, "detailEntry": target.get("detailEntry")} for target in event["target"]]
    return written


_TOP_LEVEL = (
    *("actor", "client", "device", "authenticationContext", "displayMessage", "eventType", "outcome", "published"),
    *("securityContext", "severity", "debugContext", "legacyEventType", "transaction", "uuid", "version", "request"),
    "target",
)
_AUTHENTICATION = (
    *("authenticationProvider", "credentialProvider", "credentialType", "issuer", "interface", "authenticationStep"),
    *("rootSessionId", "externalSessionId"),
)


def named(uid: str, kind: str, name: str, alternate: str = "unknown", **detail: str) -> dict[str, Any]:
    """A target other than a user or an app: a policy, a group, a token."""
    target = {"id": uid, "type": kind, "alternateId": alternate, "displayName": name}
    return {**target, "detailEntry": detail} if detail else target
