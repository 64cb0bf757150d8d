"""Findings that are known to be harmless before they are made: a penetration test, a scanner, a kiosk.

Such a finding is made all the same, with status `suppressed` and a line in its history that names the exception. An
exception has a reason, an owner and an end, a year away at most.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.errors import UsageError
from poller.findings import Finding
from poller.schema import exceptions, finding_history

if TYPE_CHECKING:
    from poller.store import Store

LONGEST = timedelta(days=366)


@dataclass(frozen=True)
class Wanted:
    """An exception to be made. At least one of the first four is given: what it applies to."""

    rule: str | None
    org: str | None
    user: str | None
    network: str | None
    reason: str
    owner: str
    end: datetime


def add(store: Store, wanted: Wanted, now: datetime) -> int:
    """Returns its number. Raises UsageError: it applies to everything, or has no sound address or end."""
    if not (wanted.rule or wanted.org or wanted.user or wanted.network):
        raise UsageError("an exception for everything hides everything. Name a rule, a user, an address or an org.")
    if not wanted.reason.strip() or not wanted.owner.strip():
        raise UsageError("an exception needs a reason and an owner: who is asked about it a year from now?")
    if not now < wanted.end <= now + LONGEST:
        raise UsageError(f"an exception ends after now and within {LONGEST.days} days. Give another --until.")
    values = {
        "rule": wanted.rule,
        "org": wanted.org,
        "user_name": wanted.user,
        "network": _network(wanted.network),
        "reason": wanted.reason.strip(),
        "owner": wanted.owner.strip(),
        "created_time": now,
        "end_time": wanted.end,
    }
    with store.writing() as connection:
        row = connection.execute(sa.insert(exceptions).values(values).returning(exceptions.c.id)).one()
    return int(row.id)


def expire(store: Store, number: int, now: datetime) -> None:
    """End an exception now. Raises UsageError: there is none of this number, or it has ended."""
    with store.writing() as connection:
        known = connection.execute(sa.select(exceptions).where(exceptions.c.id == number)).first()
        if known is None:
            raise UsageError(f"there is no exception {number}. poller exceptions list shows them.")
        if known.end_time <= now:
            raise UsageError(f"exception {number} has ended already.")
        connection.execute(sa.update(exceptions).where(exceptions.c.id == number).values(end_time=now))


def apply(connection: sa.Connection, finding: Finding, now: datetime, is_new: bool = True) -> str | None:
    """The status that exceptions give to a finding that no person has touched; None: that which it has. Writes the line
    of its history."""
    last = None
    if not is_new:
        mine = finding_history.c.finding_uid == finding.uid
        said = connection.execute(sa.select(finding_history).where(mine).order_by(finding_history.c.id)).all()
        if any(row.exception_id is None for row in said):
            return None
        last = said[-1].exception_id if said else None
    holding = [
        row
        for row in connection.execute(sa.select(exceptions).order_by(exceptions.c.id))
        if (row.end_time > now or row.id == last) and matches(row, finding)
    ]
    match = next((row for row in holding if row.id == last), holding[0] if holding else None)
    if match is None:
        if last is not None:
            connection.execute(sa.delete(finding_history).where(finding_history.c.finding_uid == finding.uid))
            return "new"
        return None
    if match.id != last:
        connection.execute(
            sa.insert(finding_history).values(
                finding_uid=finding.uid,
                time=now,
                status="suppressed",
                reason="other",
                comment=f"exception {match.id} of {match.owner}: {match.reason}",
                exception_id=match.id,
            )
        )
    return "suppressed"


def matches(row: Any, finding: Finding) -> bool:
    """Whether an exception holds for a finding: everything that it names does. An address has to hold for every source
    address of the finding, so that one more address is something new."""
    if row.rule not in (None, finding.rule) or row.org not in (None, finding.org):
        return False
    name = finding.user_name or ""
    if row.user_name not in (None, finding.user_uid) and row.user_name.casefold() != name.casefold():
        return False
    return row.network is None or _holds(row.network, finding.src_ips)


def _holds(network: str, addresses: Iterable[str]) -> bool:
    block = ipaddress.ip_network(network)
    inside = []
    for address in addresses:
        try:
            inside.append(ipaddress.ip_address(address) in block)
        except ValueError:
            return False
    return bool(inside) and all(inside)


def _network(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise UsageError(f"{text!r} is no address and no network such as 203.0.113.0/24.") from None
