"""The tabletop: an attack played into an org of its own, through the simulated Okta and the real line, against a clock.

Such an org is named `simulated-…`, all its pages come from a loopback address, no process ever held a lease on it, and
each of its events says that it was simulated. Whatever is not all of this is left alone.
"""

from __future__ import annotations

import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import SecretStr

from poller import cycle
from poller.demo.attacks import ATTACKER, Attack
from poller.demo.okta import LOGS_PATH, Answer, Request, SimulatedOkta
from poller.demo.okta_events import Client, Event, Ids, Person
from poller.demo.okta_log import milliseconds
from poller.demo.staff import hire
from poller.errors import UsageError
from poller.exceptions import matches
from poller.findings import Finding, moment
from poller.ledger import Turn
from poller.raw import decompress
from poller.reading import Wanted, reading
from poller.rules import Rule
from poller.schema import events, exceptions, finding_history, findings, metadata, orgs, pages
from poller.settings import OrgSettings, Settings
from poller.store import Batch, Store, Stored
from poller.system_log import Page, SystemLog

if TYPE_CHECKING:
    from poller.leases import Lease

PREFIX = "simulated-"
MARK = {"simulatedBy": "poller simulate"}  # in the debugData of each event, beside the name of the org
_MARK_IN_RAW = b'"simulatedBy":"poller simulate"'
_LOOPBACK = "http://127.0.0.1:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LOOKBACK = timedelta(days=7)  # more than any story is long


@dataclass(frozen=True)
class Hop:
    """One step of a page: when it was done, and how long after the step before it, in milliseconds."""

    page: int
    step: str
    time: datetime
    delay: float
    events: int
    findings: int | None  # made by then; None where none can be


@dataclass(frozen=True)
class Played:
    """What came of it. `findings` are those that were not there before, as `poller findings` lists them; `excepted`
    are the exceptions that would have suppressed one of them: (number, uid of the finding)."""

    org: str
    attack: Attack
    user: str
    events: int
    hops: Sequence[Hop]
    findings: Sequence[dict[str, Any]]
    excepted: Sequence[tuple[int, str]]

    @property
    def has_fired(self) -> bool:
        return any(found["rule"] == self.attack.rule for found in self.findings)

    @property
    def total(self) -> float:
        """Milliseconds from the last event to where all was visible."""
        return (self.hops[-1].time - self.hops[0].time) / timedelta(milliseconds=1)


def org_name(store: Store, given: str, attack: str, now: datetime, configured: Collection[str]) -> str:
    """The name of the org to play into, from what was asked for, if anything. Raises UsageError: a name that can't be,
    or that of a real org."""
    with store.reading() as connection:
        is_polled = connection.execute(sa.select(orgs.c.org).where(orgs.c.org == given)).first() is not None
    if given in configured or (is_polled and not given.startswith(PREFIX)):
        raise UsageError(f"{given} is a real org. Give another name, or none. Nothing was touched.")
    name = given.removeprefix(PREFIX) if given else f"{attack}-{now:%Y%m%d-%H%M%S}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{given!r} can't be the name of a simulated org. Use letters, digits and . _ - (80 at most).")
    return PREFIX + name


def configured(settings: Settings) -> set[str]:
    """The names of the orgs in the settings, usable or not."""
    names = {org.name for org in settings.orgs}
    host = urlsplit(settings.okta_org_url or "").hostname
    return names | {name for name in (settings.okta_org_name, host) if name}


def check(connection: sa.Connection, org: str, configured: Collection[str], will_delete: bool = False) -> bool:
    """Whether there is a simulated org of this name. Raises UsageError: it is, or may be, a real one."""
    if not org.startswith(PREFIX):
        raise UsageError(f"{org} is no simulated org: their names start with {PREFIX}. Nothing was touched.")
    if org in configured:
        raise UsageError(f"{org} is an org of the settings, and no simulated one. Nothing was touched.")
    query = sa.select(orgs).where(orgs.c.org == org)
    state = connection.execute(query.with_for_update() if will_delete else query).first()
    if not (_is_untouched(connection, org) if state is None else _is_ours(connection, org, state)):
        raise UsageError(f"{org} holds what no simulation brought: it may be a real org. Nothing was touched.")
    return state is not None


def play(settings: Settings, org: str, attack: Attack, user: str, rules: Sequence[Rule]) -> Played:
    """Play an attack on `user` into the org, with the last event dated now. The settings give the database, which has
    its schema, and the names of the real orgs. Raises UsageError, before anything is written; DatabaseError."""
    clock = _Clock()
    with ExitStack() as stack:
        store = _TimedStore(settings.database_url, clock)
        stack.enter_context(store)
        with store.reading() as connection:
            check(connection, org, configured(settings))
        cursor = store.cursor(org)
        okta = stack.enter_context(SimulatedOkta())
        while cursor is not None and cursor.startswith(f"{okta.url}/"):  # the port of an earlier play: another log
            okta = stack.enter_context(SimulatedOkta())
        okta.intercept = _served(okta, clock)
        log = _TimedLog(OrgSettings(name=org, org_url=okta.url, api_token=SecretStr(okta.token)), clock)
        before = {found["uid"] for found in _findings(settings.database_url, org)}
        published = clock.start()
        told = [marked(event, org) for event in _story(attack, user, published)]
        okta.append(told, persisted=published)
        done = cycle.poll(store, log, org, rules, _LOOKBACK)
        worked_off = clock()
        found = [one for one in _findings(settings.database_url, org) if one["uid"] not in before]
        hops = list(_hops(clock, len(told), done.stored.found, worked_off, clock()))
    return Played(org, attack, user, len(told), hops, found, store.excepted)


def remove(store: Store, org: str, configured: Collection[str]) -> dict[str, int]:
    """Delete every row of a simulated org; how many of each table. Raises UsageError: there is none of this name."""
    deleted: dict[str, int] = {}
    with store.writing() as connection:
        if not check(connection, org, configured, will_delete=True):
            raise UsageError(f"there is no simulated org {org}. poller status lists what there is.")
        of_org = sa.select(findings.c.uid).where(findings.c.org == org)
        history = sa.delete(finding_history).where(finding_history.c.finding_uid.in_(of_org))
        deleted[finding_history.name] = connection.execute(history).rowcount
        for table in reversed(metadata.sorted_tables):
            if "org" in table.c:
                deleted[table.name] = connection.execute(sa.delete(table).where(table.c.org == org)).rowcount
    return {name: count for name, count in deleted.items() if count}


def marked(event: Event, org: str) -> Event:
    """The event with the words by which a reader, and `remove`, know a simulated one."""
    debug = {**event["debugContext"]["debugData"], **MARK, "simulatedOrg": org}
    return {**event, "debugContext": {"debugData": debug}}


def _story(attack: Attack, user: str, until: int) -> list[Event]:
    """The attack with its last event at `until` (epoch ms). Each play has ids, a user id and an address of its own."""
    seed = secrets.token_hex(16)

    def told(start: int) -> list[tuple[int, Event]]:
        chance = random.Random(seed)
        network = replace(ATTACKER.network, ip=f"198.51.100.{chance.randrange(1, 255)}")
        attacker = Client(network, ATTACKER.software)
        return list(attack.timeline(Ids(chance), _victim(chance, user), start, attacker))

    tried = told(until)
    return [event for _, event in told(2 * until - milliseconds(tried[-1][1]["published"]))]


def _victim(chance: random.Random, user: str) -> Person:
    person = hire(chance, 4).person
    return replace(person, login=user, name=user, phones=person.phones[:1])


def _is_untouched(connection: sa.Connection, org: str) -> bool:
    """Nothing of it is there but exceptions, which may be made for an org before it is polled."""
    tables = [table for table in metadata.sorted_tables if "org" in table.c and table.name != "exceptions"]
    return not any(connection.execute(sa.select(1).where(table.c.org == org).limit(1)).first() for table in tables)


def _is_ours(connection: sa.Connection, org: str, state: Any) -> bool:
    foreign = (pages.c.org == org) & ~pages.c.link_in.startswith(_LOOPBACK, autoescape=True)
    if (
        state.lease_epoch != 0
        or not (state.next_link or _LOOPBACK).startswith(_LOOPBACK)
        or connection.execute(sa.select(1).where(foreign).limit(1)).first()
    ):
        return False
    raws = connection.execute(sa.select(events.c.raw).where(events.c.org == org).execution_options(yield_per=500))
    return all(_MARK_IN_RAW in decompress(bytes(row.raw)) for row in raws)


def _findings(url: str, org: str) -> list[dict[str, Any]]:
    with reading(url, auto_migrate=False) as opened:
        return [found for found in opened.findings(Wanted(org=org)) if found["superseded_time"] is None]


@dataclass
class _Clock:
    """When each page came to each step: seconds since `start`, with the events or the findings of the page."""

    published: int = 0  # epoch ms
    served: list[float] = field(default_factory=list)
    fetched: list[tuple[float, int]] = field(default_factory=list)
    committed: list[tuple[float, int]] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    _began: float = 0

    def start(self) -> int:
        """Now, epoch ms."""
        self.published, self._began = int(time.time() * 1000), time.perf_counter()
        return self.published

    def __call__(self) -> float:
        return time.perf_counter() - self._began


def _served(okta: SimulatedOkta, clock: _Clock) -> Callable[[Request], Answer]:
    def serve(request: Request) -> Answer:
        answer = okta.answer(request)
        if request.path == LOGS_PATH and answer.status == 200:
            clock.served.append(clock())
        return answer

    return serve


class _TimedLog(SystemLog):
    def __init__(self, org: OrgSettings, clock: _Clock) -> None:
        super().__init__(org, 1.0, threading.Event())
        self._clock = clock

    def pages(self, link: str, *, bounded: bool = False) -> Generator[Page]:
        with closing(super().pages(link, bounded=bounded)) as pages:
            for page in pages:
                self._clock.fetched.append((self._clock(), len(page.records)))
                yield page


class _TimedStore(Store):
    """The store, which notes when a page was committed and when another connection could read its findings.

    Exceptions belong to real orgs too, and count their hits: here they are only asked what they would do.
    """

    def __init__(self, url: str, clock: _Clock) -> None:
        super().__init__(url)
        self._clock = clock
        self._address = url
        self.excepted: list[tuple[int, str]] = []

    def commit_poll(
        self, org: str, batch: Batch, turn: Turn, rules: Sequence[Rule], now: datetime, lease: Lease | None = None
    ) -> Stored:
        stored = super().commit_poll(org, batch, turn, rules, now, lease)
        self._clock.committed.append((self._clock(), stored.found))
        _findings(self._address, org)
        self._clock.visible.append(self._clock())
        return stored

    def _suppress(self, connection: sa.Connection, finding: Finding, now: datetime, is_new: bool) -> None:
        known = sa.select(exceptions).where(exceptions.c.end_time > now).order_by(exceptions.c.id)
        for row in connection.execute(known):
            if matches(row, finding) and (row.id, finding.uid) not in self.excepted:
                self.excepted.append((row.id, finding.uid))


def _hops(clock: _Clock, count: int, found: int, worked_off: float, end: float) -> Iterator[Hop]:
    """The steps of each page with events; then the rules that a page does not wait for, where they found something."""
    last = 0.0

    def hop(page: int, step: str, at: float, events: int, findings: int | None = None) -> Hop:
        nonlocal last
        delay, last = (at - last) * 1000, at
        time = moment(clock.published) + timedelta(seconds=at)
        return Hop(page, step, time, round(delay, 1), events, findings)

    yield hop(1, "published", 0, count)
    for number, (served, fetched, committed, visible) in enumerate(
        zip(clock.served, clock.fetched, clock.committed, clock.visible, strict=False), 1
    ):
        events = fetched[1]
        if events:
            yield hop(number, "served", served, events)
            yield hop(number, "fetched", fetched[0], events)
            yield hop(number, "committed", committed[0], events, committed[1])
            yield hop(number, "visible", visible, events, committed[1])
    later = found - sum(made for _, made in clock.committed)
    if later > 0:
        yield hop(len(clock.fetched), "rules worked off", worked_off, count, later)
        yield hop(len(clock.fetched), "visible", end, count, later)
