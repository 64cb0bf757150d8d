"""Attacks on one person, as Okta writes them: to be merged into the log of a company (`company.merged`).

Each attack is a function of who is attacked, from where and when, and returns its timeline. They are told with the
methods of `SignIn`, so that the same story can be told of either kind of org where both can write it.
"""

from __future__ import annotations

from typing import TypeVar

from poller.demo.company import MINUTE, Timeline, timed
from poller.demo.okta_events import Client, Event, Ids, Network, Person, Phone, Software
from poller.demo.sign_ins import NEW_PLACE, ClassicSignIn, IdentityEngineSignIn, SignIn
from poller.demo.staff import APPS

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
