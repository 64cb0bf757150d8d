"""A simulated Okta org with a believable company in it, for demonstrations and tests."""

from __future__ import annotations

import random
import time
from datetime import datetime

from poller.demo.attacks import push_fatigue
from poller.demo.company import HOUR, MINUTE, Company, merged
from poller.demo.okta import SimulatedOkta
from poller.demo.okta_events import Ids

HISTORY = 24 * HOUR
ATTACKED_BEFORE = 75 * MINUTE


def start(now: datetime | None = None) -> SimulatedOkta:
    """A simulated Okta, listening, with the 24 hours before `now` in its log; call `stop` on it in the end.

    Some 250 people work, fewer at weekends. What is to be found: one finding of `push_fatigue`, confidence high.
    75 minutes before `now`, someone at 198.51.100.23 in Bucharest has the password of an employee for whom it is
    night, and sends pushes: two are denied, one is answered with the wrong number, one is left alone (which Okta writes
    down only later), and the next one, seven minutes after the first try, is approved.
    """
    until = int(now.timestamp() * 1000) if now else int(time.time() * 1000)
    ahead = until / 1000 - time.time()
    company = Company(users=250)
    attacked = until - ATTACKED_BEFORE
    attack = push_fatigue(Ids(random.Random("attack")), company.asleep(attacked).person, attacked)
    log = merged(company.events(until - HISTORY, until), attack)
    okta = SimulatedOkta((event for _, event in log), clock=lambda: time.time() + ahead)
    okta.start()
    return okta
