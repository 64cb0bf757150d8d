"""Attacks on one person, as Okta writes them: to be merged into the log of a company (`company.merged`).

Each attack is a function of who is attacked, from where and when, and returns its timeline. They are told with the
methods of `SignIn`, so that the same story can be told of either kind of org where both can write it. `ATTACKS` names
them; each has the name of the rule that is to find it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from poller.demo.company import DAY, HOUR, MINUTE, SECOND, Timeline, merged, timed
from poller.demo.okta_events import Client, Event, Ids, Network, Person, Phone, Software
from poller.demo.sign_ins import NEW_PLACE, ClassicSignIn, IdentityEngineSignIn, SignIn
from poller.demo.staff import APPS, COMPUTERS, hire

_Dialect = TypeVar("_Dialect", bound=SignIn)

_HOSTING = Network(
    *("198.51.100.23", "Bucharest", "București", "Romania", "030167", 44.4325, 26.1039, 64510, "Example Hosting"),
    domain="example.org",
    is_proxy=True,
)
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"
ATTACKER = Client(
    _HOSTING, Software(f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME}", "Windows 10", "CHROME", "Computer")
)


def push_fatigue(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """Someone with the password sends pushes until the victim gives in (T1621), in an Identity Engine org.

    Two denials and a wrong number in one sign-in, a push that nobody answers in the next, then an approval seven
    minutes after the start. The attacker opens four apps and enrols a factor. Okta writes the abandonment only when
    that push expires, two minutes after the approval.
    """
    phone = victim.phones[0]
    first, second, last = (_attempt(IdentityEngineSignIn, ids, victim, attacker) for _ in range(3))
    return timed(
        [
            *first.wrong_password(start),
            *first.password(start + 19_482),
            *first.push_sent(start + 21_847),
            *first.push_denied(start + 41_318, phone),
            *first.push_sent(start + 59_650),
            *first.push_denied(start + 72_094, phone),
            *first.push_sent(start + 95_271),
            *first.wrong_number(start + 118_733, phone),
            *second.password(start + 4 * MINUTE),
            *second.push_sent(start + 4 * MINUTE + 2_316),
            *second.push_abandoned(start + 9 * MINUTE + 2_401),
            *_approved(last, start + 7 * MINUTE, phone),
            *_inside(last, start + 8 * MINUTE + 264),
        ]
    )


def push_fatigue_classic(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """The same in a Classic org: three denials in one sign-in, each written twice, and an approval in the next."""
    phone = victim.phones[0]
    first, last = (_attempt(ClassicSignIn, ids, victim, attacker) for _ in range(2))
    return timed(
        [
            *first.password(start),
            *first.push_sent(start + 2_209),
            *first.push_denied(start + 20_567, phone),
            *first.push_sent(start + 44_931),
            *first.push_denied(start + 61_178, phone),
            *first.push_sent(start + 90_046),
            *first.push_denied(start + 99_385, phone),
            *_approved(last, start + 5 * MINUTE, phone),
            *_inside(last, start + 6 * MINUTE + 491),
        ]
    )


def push_denials(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """Someone has the password; the victim denies two pushes and leaves the third alone. Nobody gets in."""
    phone = victim.phones[0]
    first, second = (_attempt(IdentityEngineSignIn, ids, victim, attacker) for _ in range(2))
    return timed(
        [
            *first.password(start),
            *first.push_sent(start + 2_316),
            *first.push_denied(start + 17_840, phone),
            *first.push_sent(start + 41_022),
            *first.push_denied(start + 55_391, phone),
            *second.password(start + 3 * MINUTE),
            *second.push_sent(start + 3 * MINUTE + 2_207),
            *second.push_abandoned(start + 8 * MINUTE + 2_264),
        ]
    )


def push_flood(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """Push after push in a Classic org, which writes nothing when one runs out; the fifth is approved."""
    sign_in = _attempt(ClassicSignIn, ids, victim, attacker)
    sent = [event for n in range(5) for event in sign_in.push_sent(start + 2_209 + n * 75_318)]
    approved = start + 2_209 + 4 * 75_318 + 9_127
    return timed(
        [
            *sign_in.password(start),
            *sent,
            *sign_in.push_approved(approved, victim.phones[0]),
            *sign_in.completed(approved + 1_127, ("PASSWORD_AS_FACTOR", "OKTA_VERIFY_PUSH")),
        ]
    )


def number_challenge_stopped(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """The victim approves a push that somebody else asked for, but can't know the number: the near miss."""
    sign_in = _attempt(IdentityEngineSignIn, ids, victim, attacker)
    return timed(
        [
            *sign_in.password(start),
            *sign_in.push_sent(start + 2_316),
            *sign_in.wrong_number(start + 21_504, victim.phones[0]),
        ]
    )


def push_answered_elsewhere(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """One push, which the victim approves at once: nothing tells but where it was asked for and answered."""
    sign_in = _attempt(IdentityEngineSignIn, ids, victim, attacker)
    return timed(
        [*_approved(sign_in, start + 30 * SECOND, victim.phones[0]), *sign_in.app_opened(start + MINUTE, APPS[0])]
    )


def push_abandoned_many_users(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """Somebody tries a list of passwords: pushes go to four colleagues and then to the victim, and nobody answers."""
    events: list[Event] = []
    for n, person in enumerate([*_colleagues(ids, 4), victim]):
        sign_in = _attempt(IdentityEngineSignIn, ids, person, attacker)
        at = start + n * 48_219
        events += [*sign_in.password(at), *sign_in.push_sent(at + 2_316), *sign_in.push_abandoned(at + 302_377)]
    return timed(events)


def session_moved(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """All cookies of the victim's browser are stolen: the session goes on in another country, with another browser."""
    return _session_stolen(ids, victim, start, attacker, with_device=True)


def session_many_devices(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """The session's cookie alone is stolen, and used behind the victim's own provider with the same kind of browser:
    only the address and Okta's device token are others."""
    home = _at_home(victim)
    thief = replace(home, network=replace(home.network, ip=attacker.network.ip))
    return _session_stolen(ids, victim, start, thief, with_device=False)


def device_token_moved(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """The cookies of the victim's browser are copied, but for the session: with the password, the thief gets one on
    what Okta takes for the victim's browser, and is asked for no second factor."""
    home = IdentityEngineSignIn(ids, victim, _at_home(victim))
    thief = IdentityEngineSignIn(ids, victim, attacker)
    thief.browser = home.browser
    return timed(
        [
            *_approved(home, start, victim.phones[0]),
            *home.app_opened(start + 20 * MINUTE, APPS[0]),
            *thief.password(start + HOUR),
            *thief.completed(start + HOUR + 1_384, ("PASSWORD_AS_FACTOR",)),
            *thief.app_opened(start + HOUR + 49_873, APPS[3]),
        ]
    )


def device_token_many_users(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """One browser signs in with the passwords of four colleagues and then of the victim."""
    browser = ids.hex() + ids.hex()
    events: list[Event] = []
    for n, person in enumerate([*_colleagues(ids, 4), victim]):
        sign_in = _attempt(IdentityEngineSignIn, ids, person, attacker)
        sign_in.browser = browser
        events += sign_in.password(start + n * 97_441)
    return timed(events)


def fastpass_phishing_refused(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """The victim types the password on a phishing page that passes it on; FastPass on the victim's device refuses."""
    passed_on = _attempt(IdentityEngineSignIn, ids, victim, attacker)
    asked = IdentityEngineSignIn(ids, victim, _at_home(victim))
    return timed(
        [
            *passed_on.password(start),
            *asked.fastpass_refused(start + 3_871),
            *asked.fastpass_refused(start + 24_118),
        ]
    )


def refresh_token_reused(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """An app's refresh token was copied: the one who comes second with it is noticed."""
    thief = IdentityEngineSignIn(ids, victim, attacker)
    return timed(thief.refresh_token_reused(start, APPS[2]))


def suspicious_activity_reported(ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
    """Somebody signs in with the password and a code by text message; the victim gets a mail, and says: not me."""
    sign_in = _attempt(IdentityEngineSignIn, ids, victim, attacker)
    victims_own = IdentityEngineSignIn(ids, victim, _at_home(victim))
    return timed(
        [
            *sign_in.password(start),
            *sign_in.factor(start + 31_206, "SMS_FACTOR"),
            *sign_in.completed(start + 32_018, ("PASSWORD_AS_FACTOR", "SMS_FACTOR")),
            *victims_own.activity_disowned(start + 6 * MINUTE),
        ]
    )


@dataclass(frozen=True)
class Attack:
    """An attack that can be played, and a line that tells it."""

    story: Callable[[Ids, Person, int, Client], Timeline]
    told: str
    dialect: type[SignIn] = IdentityEngineSignIn

    @property
    def name(self) -> str:
        return self.story.__name__

    @property
    def rule(self) -> str:
        """The rule that is to find it."""
        return self.name.removesuffix("_classic")

    def timeline(self, ids: Ids, victim: Person, start: int, attacker: Client = ATTACKER) -> Timeline:
        """The attack at `start`, after three days on which the victim signed in at home."""
        return merged(_usual_days(self.dialect, ids, victim, start), self.story(ids, victim, start, attacker))


ATTACKS = {
    attack.name: attack
    for attack in (
        Attack(push_fatigue, "pushes denied and ignored, one approved"),
        Attack(push_fatigue_classic, "the same in a Classic org", ClassicSignIn),
        Attack(push_denials, "pushes denied and ignored, no login"),
        Attack(push_flood, "five pushes, the last approved (Classic)", ClassicSignIn),
        Attack(number_challenge_stopped, "a push approved with the wrong number"),
        Attack(push_answered_elsewhere, "asked for abroad, approved at home"),
        Attack(push_abandoned_many_users, "pushes of five users from one address"),
        Attack(session_moved, "a session in another network and browser"),
        Attack(session_many_devices, "a session's cookie on a second device"),
        Attack(device_token_moved, "a browser's cookies, used by another"),
        Attack(device_token_many_users, "one browser with five users' passwords"),
        Attack(fastpass_phishing_refused, "FastPass refuses a phishing page"),
        Attack(refresh_token_reused, "a refresh token used a second time"),
        Attack(suspicious_activity_reported, "a user tells Okta: that was not me"),
    )
}


def _session_stolen(ids: Ids, victim: Person, start: int, thief: Client, with_device: bool) -> Timeline:
    """The victim signs in at home and works; an hour later somebody else opens apps in the same session."""
    sign_in = IdentityEngineSignIn(ids, victim, _at_home(victim))
    events = [*_approved(sign_in, start, victim.phones[0]), *sign_in.app_opened(start + 20 * MINUTE, APPS[0])]
    sign_in.stolen(thief, with_device)
    opened = [event for n, app in enumerate(APPS[3:6]) for event in sign_in.app_opened(start + HOUR + n * 49_873, app)]
    return timed([*events, *opened])


def _usual_days(dialect: type[SignIn], ids: Ids, victim: Person, until: int) -> Timeline:
    events: list[Event] = []
    for day in (3, 2, 1):
        time = until - day * DAY + 17 * MINUTE
        sign_in = dialect(ids, victim, _at_home(victim))
        events += _approved(sign_in, time, victim.phones[0])
        events += [event for n, app in enumerate(APPS[:3]) for event in sign_in.app_opened(time + (n + 1) * HOUR, app)]
        events += sign_in.ended(time + 7 * HOUR)
    return timed(events)


def _at_home(person: Person) -> Client:
    return Client(person.phones[0].client.network, COMPUTERS[1])


def _colleagues(ids: Ids, count: int) -> list[Person]:
    return [hire(random.Random(ids.hex()), number).person for number in range(4, 4 + count)]


def _attempt(dialect: type[_Dialect], ids: Ids, victim: Person, attacker: Client) -> _Dialect:
    return dialect(ids, victim, attacker, new=NEW_PLACE, risk="HIGH")


def _approved(sign_in: SignIn, time: int, phone: Phone) -> list[Event]:
    """The push that the victim approves, at `time`, and the half minute before it."""
    return [
        *sign_in.password(time - 29_715),
        *sign_in.push_sent(time - 27_562),
        *sign_in.push_approved(time, phone),
        *sign_in.completed(time + 1_127, ("PASSWORD_AS_FACTOR", "OKTA_VERIFY_PUSH")),
    ]


def _inside(sign_in: SignIn, time: int) -> list[Event]:
    """What the attacker does once in: look around, and make sure to get in again."""
    opened = [event for n, app in enumerate(APPS[:4]) for event in sign_in.app_opened(time + n * 49_873, app)]
    return [*opened, *sign_in.factor_enrolled(time + 4 * MINUTE + 308, "OKTA_SOFT_TOKEN")]
