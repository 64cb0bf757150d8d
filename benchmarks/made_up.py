"""What the benchmarks measure with: a simulated Okta in a process of its own, events by the million, one flood."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection

import msgspec

from poller.demo.attacks import push_fatigue
from poller.demo.company import DAY, HOUR, SECOND, Company, merged
from poller.demo.okta import SimulatedOkta
from poller.demo.okta_events import Ids, as_written
from poller.demo.sign_ins import IdentityEngineSignIn
from poller.normalize import Event
from poller.store import read_records

USERS = 825  # they make some 55,000 events a working day
ATTACKS = 4  # a day
_MONDAY = 1_795_392_000_000

Stored = tuple[Event, bytes]  # an event and its raw record, compressed


def working_day(start: int, seed: int = 1) -> Iterator[bytes]:
    """The records of 24 hours from `start` (epoch ms) on, written as Okta writes them, in its order."""
    company = Company(seed, USERS)
    attacks = [
        push_fatigue(Ids(random.Random(f"{seed}/{start}/{number}")), company.asleep(at).person, at)
        for number, at in enumerate(range(start + HOUR, start + DAY, DAY // ATTACKS))
    ]
    for _, event in merged(company.events(start, start + DAY), *attacks):
        yield msgspec.json.encode(as_written(event))


def serve(events: int, pipe: Connection) -> None:
    """A simulated Okta with the last so many events up to now, until the pipe says to stop.

    Sends (URL, token), and in the end when the first request came (epoch seconds).
    """
    now = int(time.time() * 1000)
    days = -(-events // 40_000) + 2  # weekends are quieter
    records = [record for day in range(days, 0, -1) for record in working_day(now - day * DAY)][-events:]
    with SimulatedOkta(records, rate_limit=10**9) as okta:
        pipe.send((okta.url, okta.token))
        pipe.recv()
        pipe.send(okta.requests[0].time)


class History:
    """One working day, normalized and compressed once, to be told again as any day of the last three months."""

    def __init__(self) -> None:
        self.day = read_records(working_day(_MONDAY)).events

    def told(self, day: int) -> list[Stored]:
        """That day again, `day` days later, with ids of its own: it shares users with the others, but no sign-ins."""
        later, tag = day * DAY, f"{day + 500:03x}"
        return [(_retold(event, later, tag), raw) for event, raw in self.day]

    def pages(self, day: int, count: int, size: int = 1000) -> list[list[Stored]]:
        """Pages from spread-out hours of that day."""
        told = iter(self.told(day))
        gap = max(0, (len(self.day) - count * size) // count)
        return [list(islice(told, gap, gap + size)) for _ in range(count)]


def _retold(event: Event, later: int, tag: str) -> Event:
    """Ids end in `tag` instead of what they ended in, so that they lie as scattered in an index as Okta's do."""

    def own(uid: str | None) -> str | None:
        return uid and uid[:-3] + tag

    return event._replace(
        uid=event.uid[:-3] + tag,
        time=event.time + later,
        challenge_time=None if event.challenge_time is None else event.challenge_time + later,
        session_uid=own(event.session_uid),
        root_session_uid=own(event.root_session_uid),
        transaction_uid=own(event.transaction_uid),
        authn_request_uid=own(event.authn_request_uid),
    )


def flood(start: int, pushes: int = 5000) -> Sequence[Stored]:
    """One user who is sent so many pushes within three hours, and denies them all but the last."""
    victim = next(e.person for e in Company(users=50).staff if e.method == "OKTA_VERIFY_PUSH")
    phone, ids, gap = victim.phones[0], Ids(random.Random("flood")), 3 * HOUR // pushes
    sign_in = IdentityEngineSignIn(ids, victim, phone.client)
    events = sign_in.password(start - SECOND)
    for number in range(pushes):
        time = start + number * gap
        if number % 20 == 19:
            sign_in = IdentityEngineSignIn(ids, victim, phone.client)
        events += sign_in.push_sent(time)
        answer = sign_in.push_denied if number < pushes - 1 else sign_in.push_approved
        events += answer(time + gap // 2, phone)
    events += sign_in.completed(start + pushes * gap, ("PASSWORD_AS_FACTOR", "OKTA_VERIFY_PUSH"))
    return read_records(msgspec.json.encode(as_written(event)) for event in events).events
