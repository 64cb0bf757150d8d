"""A believable company, as its Okta org's System Log shows it: some hundred people in six offices who sign in, open
apps all day, mistype their passwords, now and then deny a push, and the few who administer the org.

The same seed gives the same company and the same days, whichever part of them is asked for. Nothing that happens here
is an attack: no one leaves more than one push unapproved in a sign-in."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Iterator
from functools import cached_property
from operator import itemgetter

from poller.demo.administration import Administration
from poller.demo.okta_events import ADMIN_CONSOLE, Event, Ids
from poller.demo.okta_log import milliseconds
from poller.demo.sign_ins import IdentityEngineSignIn, SignIn
from poller.demo.staff import APPS, GROUPS, Employee, hire

Timeline = Iterator[tuple[int, Event]]
"""When each event was persisted (epoch ms, never decreasing), and the event."""

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
WEEKEND_STAFF = 0.2  # the share of people who work on a given day of a weekend
LATE = 0.003  # the share of events that Okta commits well after they happened


class Company:
    """So many people, and the log of any stretch of their days.

    Args:
        seed: which company it is.
        users: how many people.
        dialect: the kind of org: Identity Engine or Classic.
    """

    def __init__(self, seed: int = 1, users: int = 300, dialect: type[SignIn] = IdentityEngineSignIn) -> None:
        self.seed, self.users, self.dialect = seed, users, dialect

    @cached_property
    def staff(self) -> list[Employee]:
        chance = random.Random(f"{self.seed}/staff")
        return [hire(chance, number) for number in range(self.users)]

    def asleep(self, at: int) -> Employee:
        """Someone who signs in with a push and for whom it is night: some office has night at any time."""
        pushing = [employee for employee in self.staff if employee.method == "OKTA_VERIFY_PUSH"]
        return min(pushing, key=lambda employee: abs((at // HOUR + employee.utc_offset - 1 + 12) % 24 - 12))

    def events(self, since: int, until: int) -> Timeline:
        """Everything that happens in `[since, until)`, in the order in which Okta persists it."""
        lives = [self._life(employee, since, until) for employee in self.staff]
        happened = merged(*lives, self._record_keeping(since, until))
        within = ((time, event) for time, event in happened if since <= time < until)
        yield from delayed(within, random.Random(f"{self.seed}/late/{since}"))

    def _life(self, employee: Employee, since: int, until: int) -> Timeline:
        """What one person does on the days (of their own) that this time touches."""
        ahead = employee.utc_offset * HOUR
        for day in range((since + ahead) // DAY, (until + ahead) // DAY + 1):
            chance = random.Random(f"{self.seed}/{employee.person.uid}/{day}")
            if _is_weekday(day) or chance.random() < WEEKEND_STAFF:
                yield from self._work_day(employee, day * DAY - ahead, chance)

    def _work_day(self, employee: Employee, midnight: int, chance: random.Random) -> Timeline:
        """One working day of one person: a sign-in or two, and the apps opened in between."""
        ids = Ids(chance)
        time = midnight + int(chance.triangular(6.8, 10.5, 8.7) * HOUR)
        evening = midnight + int(chance.triangular(15.5, 19.5, 17.5) * HOUR)
        client = employee.at_office if chance.random() < 0.6 else employee.at_home
        break_at = midnight + 13 * HOUR if chance.random() < 0.3 else evening
        sign_in = self.dialect(ids, employee.person, client)
        for happened in self._signing_in(sign_in, employee, time, chance):
            time = happened[0]
            yield happened
        while (time := time + _gap(chance, 18 * MINUTE)) < evening:
            if time > break_at:
                break_at = evening
                sign_in = self.dialect(ids, employee.person, client)
                for happened in self._signing_in(sign_in, employee, time, chance):
                    time = happened[0]
                    yield happened
                continue
            if employee.is_admin and chance.random() < 0.3:
                yield from timed(sign_in.app_opened(time, ADMIN_CONSOLE))
                time += 30 * SECOND
                yield from self._administering(employee, sign_in, time, chance)
            else:
                yield from timed(sign_in.app_opened(time, chance.choice(APPS)))
            time += SECOND
        if chance.random() < 0.4:
            yield from timed(sign_in.ended(time))

    def _signing_in(self, sign_in: SignIn, employee: Employee, time: int, chance: random.Random) -> Timeline:
        """A sign-in that succeeds in the end."""
        if employee.method == "SIGNED_NONCE" and isinstance(sign_in, IdentityEngineSignIn):
            yield from timed(sign_in.passwordless(time))
            yield from timed(sign_in.completed(time + 400, ("SIGNED_NONCE",)))
            return
        while chance.random() < 0.05:
            yield from timed(sign_in.wrong_password(time))
            time += _gap(chance, 9 * SECOND)
        yield from timed(sign_in.password(time))
        time += SECOND + _gap(chance, 2 * SECOND)
        if employee.method != "OKTA_VERIFY_PUSH":
            yield from timed(sign_in.factor(time, employee.method))
        else:
            yield from timed(sign_in.push_sent(time))
            answered = time + 2 * SECOND + _gap(chance, 8 * SECOND)
            mood = chance.random()
            if mood < 0.004:  # the wrong button
                yield from timed(sign_in.push_denied(answered, employee.phone))
                time = answered + _gap(chance, 12 * SECOND)
                yield from timed(sign_in.push_sent(time))
            elif mood < 0.01 and isinstance(sign_in, IdentityEngineSignIn):  # the phone lies elsewhere
                time += 5 * MINUTE
                yield from timed(sign_in.push_abandoned(time))
                time += _gap(chance, 2 * MINUTE)
                yield from timed(sign_in.push_sent(time))
            time += 2 * SECOND + _gap(chance, 8 * SECOND)
            yield from timed(sign_in.push_approved(time, employee.phone))
        time += 300
        yield from timed(sign_in.completed(time, ("PASSWORD_AS_FACTOR", employee.method)))

    def _administering(self, employee: Employee, sign_in: SignIn, time: int, chance: random.Random) -> Timeline:
        console = Administration(sign_in.ids, employee.person, sign_in.client, sign_in.session)
        user = chance.choice(self.staff).person
        done = chance.random()
        if done < 0.35:
            yield from timed(console.group_joined(time, user, chance.choice(GROUPS)))
        elif done < 0.5:
            yield from timed(console.group_left(time, user, chance.choice(GROUPS)))
        elif done < 0.75:
            yield from timed(console.app_assigned(time, user, chance.choice(APPS)))
        elif done < 0.9:
            yield from timed(console.password_reset(time, user))
        elif done < 0.97:
            yield from timed(console.app_changed(time, chance.choice(APPS)))
        else:
            yield from timed(console.rule_changed(time))

    def _record_keeping(self, since: int, until: int) -> Timeline:
        """Every hour Okta takes over what changed in HR's records."""
        for hour in range(since // HOUR, until // HOUR + 1):
            chance = random.Random(f"{self.seed}/records/{hour}")
            okta = Administration(Ids(chance))
            time = hour * HOUR + 7 * MINUTE
            for _ in range(min(_gap(chance, 4), 40)):
                time += _gap(chance, 2 * SECOND)
                user = chance.choice(self.staff).person
                if chance.random() < 0.7:
                    yield from timed(okta.profile_updated(time, user))
                else:
                    yield from timed(okta.group_joined(time, user, chance.choice(GROUPS)))


def merged(*timelines: Timeline) -> Timeline:
    """Several timelines as one."""
    return heapq.merge(*timelines, key=itemgetter(0))


def delayed(timeline: Timeline, chance: random.Random, share: float = LATE) -> Timeline:
    """The timeline with some of its events persisted seconds to an hour late, and so out of order."""
    held: list[tuple[int, int, Event]] = []
    for number, (time, event) in enumerate(timeline):
        while held and held[0][0] <= time:
            persisted, _, late = heapq.heappop(held)
            yield persisted, late
        if chance.random() < share:
            heapq.heappush(held, (time + min(5 * SECOND + _gap(chance, 3 * MINUTE), HOUR), number, event))
        else:
            yield time, event
    while held:
        persisted, _, late = heapq.heappop(held)
        yield persisted, late


def timed(events: Iterable[Event]) -> Timeline:
    """Events that Okta persists as they happen, in whatever order they are given."""
    return iter(sorted(((milliseconds(event["published"]), event) for event in events), key=itemgetter(0)))


def _gap(chance: random.Random, mean: float) -> int:
    """A waiting time of this mean, at least 1."""
    return 1 + int(-math.log(1 - chance.random()) * mean)


def _is_weekday(day: int) -> bool:
    """`day`: days since 1970-01-01, a Thursday."""
    return (day + 3) % 7 < 5
