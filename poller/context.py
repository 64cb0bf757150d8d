"""What lies around a finding, a user or an address: read from the events as they are at the moment of asking.

The context of a finding grows for 24 hours after it fired, as events come in, and then stands still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from poller.normalize import epoch_ms
from poller.reading import Reading, at

AFTER = 86_400_000  # ms that the context of a finding looks ahead, and around
BEFORE = 90 * AFTER  # and back: had the user ever been there?
MOST_ADDRESSES = 5
MOST_NAMES = 10
PHONE_ROLES = ("rejected",)  # roles whose address is that of the phone which answered, not of who asked

# What a session may have done that an analyst has to undo: kind, event types.
NEXT = {
    "apps opened": ("user.authentication.sso",),
    "admin console": ("user.session.access_admin_app",),
    "factors enrolled": ("user.mfa.factor.activate", "device.enrollment.create"),
    "factors removed": ("user.mfa.factor.deactivate", "user.mfa.factor.reset_all", "user.mfa.factor.suspend"),
    "passwords changed": ("user.account.update_password", "user.account.reset_password"),
    "API tokens created": ("system.api_token.create",),
    "tokens granted": ("app.oauth2.token.grant.access_token", "app.oauth2.as.token.grant.access_token"),
    "admin roles granted": ("user.account.privilege.grant", "group.privilege.grant", "iam.resourceset.bindings.add"),
    "policies changed": (
        "policy.lifecycle.update",
        "policy.rule.update",
        "policy.rule.deactivate",
        "policy.rule.delete",
    ),
    "apps changed": ("application.lifecycle.update", "application.lifecycle.create", "application.lifecycle.delete"),
    "identity providers changed": ("system.idp.lifecycle.create", "system.idp.lifecycle.update"),
}
_KIND = {event_type: kind for kind, types in NEXT.items() for event_type in types}

_COLUMNS = (
    "time, uid, event_type, outcome, outcome_reason, user_uid, user_name, actor_name, src_ip, src_country, src_city,"
    " src_as_org, is_proxy, user_agent, device, device_token, factor, app_name, target_type, target_name,"
    " target_user_name, privilege, session_uid, root_session_uid"
)

_OF_USER = f"""
select {_COLUMNS} from events
where org = :org and user_uid = :user and time >= :since and time < :until
order by time, uid
"""

# What others did to a user: by the types that do such things, since that is what an index knows.
_TO_USER = f"""
select {_COLUMNS} from events
where org = :org and time >= :since and time < :until and target_user_uid = :user
  and (user_uid is null or user_uid <> :user)
  and event_type in ('user.mfa.factor.activate', 'user.mfa.factor.deactivate', 'user.mfa.factor.reset_all',
                     'user.mfa.factor.suspend', 'user.mfa.factor.update', 'user.account.reset_password',
                     'user.account.update_password', 'user.account.unlock', 'user.account.privilege.grant',
                     'user.account.privilege.revoke', 'user.lifecycle.create', 'user.lifecycle.activate',
                     'user.lifecycle.suspend', 'user.lifecycle.unsuspend', 'user.lifecycle.deactivate',
                     'user.session.clear', 'user.session.impersonation.initiate', 'group.user_membership.add',
                     'group.user_membership.remove', 'application.user_membership.add')
order by time, uid
"""

_AT_ADDRESS = f"""
select {_COLUMNS} from events
where org = :org and src_ip = :ip and time >= :since and time < :until
order by time, uid
"""

_EARLIER = """
select count(*) as events, min(time) as first, max(time) as last from events
where org = :org and user_uid = :user and time >= :since and time < :until and src_ip = :ip
"""

_EARLIER_NETWORK = """
select count(*) as events, min(time) as first, max(time) as last from events
where org = :org and user_uid = :user and time >= :since and time < :until and src_as_org = :network
"""

_KNOWN = """
select min(time) as first from events
where org = :org and user_uid = :user and time >= :since and time < :until
"""

_NAMED = """
select distinct user_uid from events
where org = :org and time >= :since and time < :until and lower(user_name) = lower(:user) and user_uid is not null
  and event_type in ('user.session.start', 'user.authentication.auth_via_mfa', 'user.authentication.sso',
                     'policy.evaluate_sign_on')
"""

_NAMED_ANYWHERE = """
select distinct user_uid from events
where org = :org and time >= :since and time < :until and lower(user_name) = lower(:user) and user_uid is not null
"""

_ORGS = "select org from orgs order by org"


def of_finding(database: Reading, finding: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The context of one finding.

    Returns `until` (how far it looks), `next` (what the session did after the trigger: kind, count, first time, names),
    `addresses` (for each source address: other users that it touched within a day, and whether this user had been
    there, or in that network, between 90 days and one day before).
    """
    trigger = epoch_ms(finding["last_seen_time"]) or 0
    first = epoch_ms(finding["first_seen_time"]) or trigger
    org, user = finding["org"], finding["user_uid"]
    sessions = {uid for item in evidence for uid in _sessions(item) if item["role"] not in PHONE_ROLES}
    return {
        "until": at(trigger + AFTER),
        "next": _next(database, org, user, sessions, trigger) if user else [],
        "addresses": [
            _address(database, org, user, address, first, trigger) for address in finding["src_ips"][:MOST_ADDRESSES]
        ],
    }


def _sessions(event: Mapping[str, Any]) -> Iterable[str]:
    for name in ("session_uid", "root_session_uid"):
        uid = event.get(name)
        if uid and uid != "unknown":
            yield uid


def _next(database: Reading, org: str, user: str, sessions: set[str], trigger: int) -> list[dict[str, Any]]:
    """Where the finding knows of no session, that of the user whatever the session."""
    told: dict[str, dict[str, Any]] = {}
    for event in database.rows(_OF_USER, org=org, user=user, since=trigger, until=trigger + AFTER):
        kind = _KIND.get(event["event_type"])
        if kind is None or event["outcome"] not in (None, "SUCCESS", "ALLOW"):
            continue
        if sessions and not sessions.intersection(_sessions(event)):
            continue
        if event["app_name"] == "Okta Admin Console":
            kind = "admin console"
        entry = told.setdefault(kind, {"what": kind, "count": 0, "first_time": at(event["time"]), "names": []})
        entry["count"] += 1
        name = event["app_name"] or event["privilege"] or event["target_name"] or event["factor"]
        if name and name not in entry["names"] and len(entry["names"]) < MOST_NAMES:
            entry["names"].append(name)
    return list(told.values())


def _address(database: Reading, org: str, user: str | None, address: str, first: int, trigger: int) -> dict[str, Any]:
    others: dict[str, dict[str, Any]] = {}
    network = None
    for event in database.rows(_AT_ADDRESS, org=org, ip=address, since=trigger - AFTER, until=trigger + AFTER):
        network = network or event["src_as_org"]
        if not event["user_uid"] or event["user_uid"] == user:
            continue
        key = event["user_uid"] if event["user_uid"] != "unknown" else event["user_name"] or "unknown"
        entry = others.setdefault(key, {"user": event["user_name"] or key, "events": 0, "failed": 0, "succeeded": 0})
        entry["events"] += 1
        entry["failed"] += event["outcome"] in ("FAILURE", "DENY", "ABANDONED", "UNANSWERED")
        entry["succeeded"] += event["outcome"] in ("SUCCESS", "ALLOW")
    told = {"ip": address, "network": network, "other_users": len(others), "users": list(others.values())[:MOST_NAMES]}
    if user is None:
        return told
    span: dict[str, Any] = {"org": org, "user": user, "since": first - BEFORE, "until": first - AFTER}
    [here] = database.rows(_EARLIER, ip=address, **span)
    [known] = database.rows(_KNOWN, **span)
    told["user_known_since"] = at(known["first"])  # what is stored from before; None: nothing, so all is new
    told["user_was_here_before"] = here["events"]
    told["user_was_here_first"], told["user_was_here_last"] = at(here["first"]), at(here["last"])
    if network is not None:
        [there] = database.rows(_EARLIER_NETWORK, network=network, **span)
        told["user_was_in_network_before"] = there["events"]
    return told


def users_named(database: Reading, name: str, org: str, since: int, until: int) -> list[tuple[str, str]]:
    """(org, user uid) of the users who are called so, by name in any case or by uid."""
    found = []
    for org_name in _orgs(database, org):
        span: dict[str, Any] = {"org": org_name, "since": since, "until": until}
        if any(True for _ in database.rows(_OF_USER + "limit 1", user=name, **span)):
            found.append((org_name, name))
            continue
        rows = list(database.rows(_NAMED, user=name, **span)) or list(database.rows(_NAMED_ANYWHERE, user=name, **span))
        found += [(org_name, row["user_uid"]) for row in rows]
    return found


def of_user(database: Reading, org: str, user: str, since: int, until: int) -> dict[str, Any]:
    """What a user did, and what others did to them, in `[since, until)` epoch ms."""
    span: dict[str, Any] = {"org": org, "user": user, "since": since, "until": until}
    events = [*database.rows(_OF_USER, **span), *database.rows(_TO_USER, **span)]
    events.sort(key=lambda event: (event["time"], event["uid"]))
    return _told(events) | {"org": org, "user_uid": user}


def of_address(database: Reading, address: str, org: str, since: int, until: int) -> list[dict[str, Any]]:
    """What came from an address, by org, where anything did."""
    found = []
    for name in _orgs(database, org):
        events = list(database.rows(_AT_ADDRESS, org=name, ip=address, since=since, until=until))
        if events:
            found.append(_told(events) | {"org": name, "ip": address})
    return found


def _orgs(database: Reading, org: str) -> list[str]:
    return [org] if org else [row["org"] for row in database.rows(_ORGS)]


def _told(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """First and last, and by what: each a list of {name, events, first_time, last_time}, the most frequent first."""
    return {
        "events": len(events),
        "first_seen_time": at(events[0]["time"]) if events else None,
        "last_seen_time": at(events[-1]["time"]) if events else None,
        "outcomes": _counted(events, "outcome"),
        "users": _counted(events, "user_name"),
        "addresses": _counted(events, "src_ip"),
        "countries": _counted(events, "src_country"),
        "networks": _counted(events, "src_as_org"),
        "browsers": _counted(events, "user_agent"),
        "factors": _counted(events, "factor"),
        "apps": _counted(events, "app_name"),
        "event_types": _counted(events, "event_type"),
        "timeline": [dict(event) | {"time": at(event["time"])} for event in events],
    }


def _counted(events: Sequence[Mapping[str, Any]], column: str) -> list[dict[str, Any]]:
    counts = Counter(event[column] for event in events if event[column] is not None)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for event in events:
        if event[column] is not None:
            first.setdefault(event[column], event["time"])
            last[event[column]] = event["time"]
    return [
        {"name": name, "events": count, "first_time": at(first[name]), "last_time": at(last[name])}
        for name, count in counts.most_common()
    ]
