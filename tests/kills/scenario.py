"""What victims do, and what must come of it however they are killed: commands, each from a kept state of a database.

The log they read has several pages of a few events: an attack that makes a finding, records that are no events, a
repeat, and a late page that undoes that finding and makes another. Okta's clock stands still, so that what a page says
about time is the same in every run.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from poller import migrate, schema
from poller.demo.okta import Answer, Request, SimulatedOkta
from poller.revision import migrations_folder
from poller.store import Store
from tests.few_rules import few_rules
from tests.kills.databases import Content, Databases, State, content, difference
from tests.kills.points import FAILED, NOT_CALLS, Failure, Plan
from tests.kills.zygote import Ended, Zygote

ORG = "acme"
PAGE = 5  # events in a page, whatever is asked for
MOST_KILLS = 3  # of one step in a row
PATIENCE = 60  # seconds for any one process
NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(hours=6)
LONG_AGO = NOW.replace(minute=0, second=0) - timedelta(days=20)


def event(uid: str, time: datetime, **fields: Any) -> dict[str, Any]:
    return {
        "uuid": uid,
        "published": time.isoformat(),
        "eventType": "user.session.end",
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
        "outcome": {"result": "SUCCESS"},
        "transaction": {"id": f"transaction-{uid}"},
        **fields,
    }


def denied(uid: str, time: datetime, **fields: Any) -> dict[str, Any]:
    return event(uid, time, eventType="user.mfa.okta_verify.deny_push", **fields)


def approved(uid: str, time: datetime, **fields: Any) -> dict[str, Any]:
    push = {"debugContext": {"debugData": {"factor": "OKTA_VERIFY_PUSH"}}}
    return event(uid, time, eventType="user.authentication.auth_via_mfa", **push, **fields)


def log() -> list[dict[str, Any] | bytes]:
    """In the order in which Okta commits it: three weeks ago, then today."""

    def at(seconds: int, since: datetime = START) -> datetime:
        return since + timedelta(seconds=seconds)

    bob = {"actor": {"id": "00u2", "type": "User", "alternateId": "bob@acme.example"}}
    return [
        *(event(f"old-{number}", at(number, LONG_AGO)) for number in range(4)),
        denied("old-denied-1", at(60, LONG_AGO)),
        denied("old-denied-2", at(90, LONG_AGO)),
        approved("old-approved", at(120, LONG_AGO)),
        *(event(f"old-{number}", at(200 + number, LONG_AGO)) for number in range(4, 9)),
        # today: an attack over two pages, among events of others
        *(event(f"new-{number}", at(number), **bob) for number in range(3)),
        denied("denied-1", at(60)),
        denied("denied-2", at(90)),
        b'{"uuid": "no-time", "eventType": "user.session.start"}',
        approved("approved", at(180)),
        event("new-3", at(200), **bob),
        event("new-3", at(200), **bob),  # given twice
        b"[1, 2, 3]",
        *(event(f"new-{number}", at(300 + number), **bob) for number in range(4, 7)),
        b'{"uuid": "no-time", "eventType": "user.session.start"}',  # and so is what is no event
        json.dumps(event("new-7", at(400), displayMessage="nul \0 and lone \ud800")).encode(),
        # late: the push was approved before, and denied once more
        approved("approved-before", at(150)),
        denied("denied-3", at(120)),
        *(event(f"new-{number}", at(500 + number), **bob) for number in range(8, 14)),
    ]


def small_pages(okta: SimulatedOkta, and_then: Callable[[Answer], None] = lambda answer: None) -> Any:
    """Every answer holds a few events at most."""

    def smaller(request: Request) -> Answer:
        answer = okta.answer(replace(request, target=request.target.replace("limit=1000", f"limit={PAGE}")))
        and_then(answer)
        return answer

    return smaller


def settings_for(made: Databases, okta: SimulatedOkta, home: Path, **settings: str) -> dict[str, str]:
    """The environment of a victim."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "POLLER_DATABASE_URL": made.url,
        "POLLER_OKTA_ORG_URL": okta.url,
        "POLLER_OKTA_ORG_NAME": ORG,
        "POLLER_OKTA_API_TOKEN": okta.token,
        "POLLER_RATE_LIMIT_SHARE": "1",
        "POLLER_POLL_INTERVAL": "50ms",
        "POLLER_LOG_FORMAT": "json",
        "POLLER_HEALTH_ADDRESS": "off",
        "POLLER_VERIFY_AFTER": "1000d",
        **few_rules(home),
        **settings,
    }


@dataclass(frozen=True)
class Step:
    """A command, from a state of the database (None: there is none yet), and the content that it must leave behind.

    `expected` has that of one undisturbed run, of two in a row and so on: what is killed once everything is done can't
    tell, and does it again. `seconds`: what it took, undisturbed. `points`: those it passed, in order.
    """

    name: str
    arguments: tuple[str, ...]
    state: State | None
    expected: tuple[Content, ...]
    seconds: float
    points: tuple[str, ...]
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def is_daemon(self) -> bool:
        return self.arguments == ("run",)

    @property
    def calls(self) -> int:
        """Of the database, as it goes undisturbed."""
        return sum(not point.startswith(NOT_CALLS) for point in self.points)


@dataclass(frozen=True)
class Failed:
    """What came of a failure: how the command ended, and what is wrong once it was run again, if anything is."""

    ended: Ended
    wrong: str | None


class Scenario:
    """The steps on one kind of database, and a way to go through one of them while things happen."""

    def __init__(self, databases: Databases, zygote: Zygote, okta: SimulatedOkta, folder: Path) -> None:
        self.databases, self._zygote, self.okta, self._folder = databases, zygote, okta, folder
        self._empty_answers = 0
        okta.intercept = small_pages(okta, self._count)
        self.steps = {step.name: step for step in self._steps()}

    def _count(self, answer: Answer) -> None:
        self._empty_answers += answer.body == b"[]"

    def _steps(self) -> Iterator[Step]:
        databases, span = self.databases, timedelta(minutes=10)
        range_ = ("--since", LONG_AGO.isoformat(), "--until", (LONG_AGO + span).isoformat())
        is_postgres = databases.kind == "postgres"
        yield self._step("first", ("migrate",) if is_postgres else ("run", "--once"), None)
        yield self._step("upgrade", ("migrate",), self._first_release())
        databases.restore(None)
        with Store(databases.url) as store:
            migrate.upgrade(store)
        empty = databases.keep()
        yield self._step("once", ("run", "--once"), empty)
        followed = databases.keep()
        yield self._step("daemon", ("run",), empty)
        yield self._step("verify", ("completeness", *range_, "--verify"), followed)
        yield self._step("backfill", ("backfill", *range_), followed)
        self._an_hour_passes()
        yield self._step("retention", ("run", "--once"), databases.keep(), POLLER_RETENTION="10d")

    def _an_hour_passes(self) -> None:
        """Old events are deleted by the first run of an hour: one that failed is followed by another in the next."""
        with Store(self.databases.url) as store, store.writing() as connection:
            an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
            connection.execute(sa.update(schema.orgs).values(last_poll_time=an_hour_ago))

    def _first_release(self) -> State:
        """A database with the schema of the first release, and something in it."""
        self.databases.restore(None)
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        with Store(self.databases.url) as store, store.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            link = f"{self.okta.url}/api/v1/logs?after=1_1"
            values = {"org": ORG, "next_link": link, "caught_up_time": NOW, "last_event_time": 1}
            connection.execute(sa.insert(schema.orgs).values(values))
            span = {"since_time": LONG_AGO, "until_time": NOW, "started_time": NOW}
            connection.execute(sa.insert(schema.backfills).values(org=ORG, asked="7d .. now", events_stored=1, **span))
        return self.databases.keep()

    def _step(self, name: str, arguments: tuple[str, ...], state: State | None, **settings: str) -> Step:
        """The step as it goes when nothing happens."""
        points = self._folder / "points"
        points.unlink(missing_ok=True)
        step = Step(name, arguments, state, (), 0, (), tuple(settings.items()))
        self.databases.restore(state)
        began = time.monotonic()
        seconds = self._undisturbed(step, Plan(list_to=str(points))).time - began
        expected, left = [content(self.databases.url)], self.databases.keep()
        while len(expected) <= MOST_KILLS:
            self._undisturbed(step)
            again = content(self.databases.url)
            if again == expected[-1]:
                break
            expected.append(again)
        self.databases.restore(left)
        passed = tuple(points.read_text("utf-8").splitlines())
        return replace(step, expected=tuple(expected), seconds=seconds, points=passed)

    def _undisturbed(self, step: Step, plan: Plan = Plan()) -> Ended:  # noqa: B008
        ended = self.run(step, plan)
        if ended.code or unforeseen(ended.output):
            raise RuntimeError(f"{step.name} ends with {ended.code} even undisturbed: {ended.output}")
        return ended

    # ---- with something happening ----

    def kill_at(self, step: Step, point: str) -> tuple[bool, str | None]:
        """Kill the step at a point and run it again. Whether it was killed, and what is wrong in the end."""
        self.databases.restore(step.state)
        ended = self.run(step, Plan(kill_at=point))
        return ended.code == -signal.SIGKILL, self._wrong(step, ended)

    def stop_at(self, step: Step, point: str) -> tuple[int, str | None]:
        """Ask the step to end as it passes a point, and run it again. Its exit code, and what is wrong in the end."""
        self.databases.restore(step.state)
        ended = self.run(step, Plan(kill_at=point, number=signal.SIGTERM))
        return ended.code, self._wrong(step, ended)

    def kill_after(self, step: Step, moments: Sequence[float]) -> tuple[int, str | None]:
        """Kill the step again and again, each time after so many seconds, and then run it to its end."""
        self.databases.restore(step.state)
        killed = 0
        for seconds in moments:
            self._start(step)
            ended = self._zygote.wait(seconds)
            if ended is None:
                self._zygote.signal(signal.SIGKILL)
                ended = self._zygote.wait(PATIENCE)
            assert ended is not None
            killed += ended.code == -signal.SIGKILL
            if ended.code not in (0, -signal.SIGKILL):
                return killed, f"it ends with {ended.code}: {ended.output}"
        return killed, self._finished(step)

    def fail_call(self, step: Step, number: int, failure: Failure) -> Failed | None:
        """One database call of the step fails; then it is run again. None if it has no call of this number."""
        points = self._folder / "points"
        points.unlink(missing_ok=True)
        self.databases.restore(step.state)
        ended = self.run(step, Plan(list_to=str(points), fail_call=number, failure=failure))
        if FAILED not in points.read_text("utf-8").splitlines():
            return None
        return Failed(ended, self._wrong(step, ended))

    def fail_read(self, step: Step, number: int, how: Callable[[Request], Answer]) -> Failed | None:
        """One HTTP read of the step fails; then it is run again. None if it has no read of this number."""
        self.databases.restore(step.state)
        regular, reads = self.okta.intercept, 0
        assert regular is not None

        def failing(request: Request) -> Answer | None:
            nonlocal reads
            reads += 1
            return how(request) if reads == number else regular(request)

        self.okta.intercept = failing
        try:
            ended = self.run(step, Plan())
        finally:
            self.okta.intercept = regular
        return Failed(ended, self._wrong(step, ended)) if reads >= number else None

    def _wrong(self, step: Step, ended: Ended) -> str | None:
        if ended.code not in (0, 1, -signal.SIGKILL):
            return f"it ends with {ended.code}: {ended.output}"
        if unforeseen(ended.output):
            return f"it says what only a bug says: {ended.output}"
        return self._finished(step)

    def _finished(self, step: Step) -> str | None:
        """The step is run without a disturbance, and all is as if there had never been one."""
        if step.name == "retention":
            self._an_hour_passes()
        ended = self.run(step, Plan())
        if ended.code or unforeseen(ended.output):
            return f"run again, it ends with {ended.code}: {ended.output}"
        found = content(self.databases.url)
        differences = [difference(expected, found) for expected in step.expected]
        return None if None in differences else differences[0]

    def _start(self, step: Step, plan: Plan = Plan()) -> None:  # noqa: B008
        self.okta.requests.clear()
        settings = settings_for(self.databases, self.okta, self._folder, **dict(step.settings))
        self._zygote.start(step.arguments, settings, self._folder, plan)

    def run(self, step: Step, plan: Plan) -> Ended:
        """To its end. A daemon is asked to stop once it has been caught up and polls again."""
        self._empty_answers = 0
        self._start(step, plan)
        ended = None
        if step.is_daemon:
            end = time.monotonic() + PATIENCE
            while ended is None and self._empty_answers < 2 and time.monotonic() < end:
                ended = self._zygote.wait(0.005)
            if ended is None:
                self._zygote.signal(signal.SIGTERM)
        ended = ended or self._zygote.wait(PATIENCE)
        if ended is None:
            self._zygote.signal(signal.SIGKILL)
            ended = self._zygote.wait(PATIENCE)
            raise RuntimeError(f"{step.name} does not end: {ended and ended.output}")
        return ended


def unforeseen(output: str) -> bool:
    return any(words in output for words in ("Traceback", "a bug in poller", "poller: unexpected"))


@contextlib.contextmanager
def scenario(databases: Databases) -> Iterator[Scenario]:
    stands_still = time.time() - 10
    with (
        SimulatedOkta(log(), rate_limit=10**9, concurrency=10**6, clock=lambda: stands_still) as okta,
        Zygote() as zygote,
        TemporaryDirectory(prefix="poller-kills-") as folder,
    ):
        yield Scenario(databases, zygote, okta, Path(folder))
