"""Names for the moments between two side effects of the real `poller`, and what may happen at one of them.

Nothing in poller/ knows of this. What it reaches the world through is wrapped from outside: the calls of SQLAlchemy's
dialects, psycopg's COPY (which passes them by), aiohttp's sessions, and files that are made.
A point is a name and a number: `commit:3` is the moment before the third commit, `committed:3` the one after it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import psycopg
from sqlalchemy.engine.default import DefaultDialect

Failure = Literal["refused", "unanswered", "ended"]
NOT_CALLS = ("http", "committed", "rollback", "connect", "create file")  # how the other points begin
FAILED = "failed"  # stands in the list of points when a call has failed


@dataclass(frozen=True)
class Plan:
    """What is to happen to a victim.

    `list_to`: a file that takes the points as they are passed, one a line. `kill_at`: the point at which it gets a
    signal, SIGKILL unless `number` is another one. `fail_call`: the number of the database call that fails. `failure`,
    how: it is `refused` and does not happen; it happens but stays `unanswered`; or its connection is `ended` by the
    server just before (Postgres).
    """

    list_to: str | None = None
    kill_at: str | None = None
    number: int = signal.SIGKILL
    fail_call: int | None = None
    failure: Failure = "refused"


class _Watch:
    """Counts what passes, and does at its time what was planned."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._passed: Counter[str] = Counter()
        self._calls = 0
        self._lock = threading.Lock()
        self._list = None
        if plan.list_to is not None:
            self._list = os.open(plan.list_to, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def passed(self, name: str) -> None:
        with self._lock:
            self._passed[name] += 1
            point = f"{name}:{self._passed[name]}"
            self._say(point)
            if point == self._plan.kill_at:
                os.kill(os.getpid(), self._plan.number)

    def call(self, name: str, connection: Any, driver: Any, do: Callable[[], Any]) -> Any:
        """A database call: something between two points that can fail."""
        self.passed(name)
        with self._lock:
            self._calls += 1
            failure = self._plan.failure if self._calls == self._plan.fail_call else None
            if failure is not None:
                self._say(FAILED)
        if failure == "refused":
            raise driver.OperationalError(f"made to fail: {name}")
        if failure == "ended":
            _end(connection)
        done = do()
        if failure == "unanswered":
            raise driver.OperationalError(f"made to seem failed: {name}")
        return done

    def _say(self, line: str) -> None:
        if self._list is not None:
            os.write(self._list, f"{line}\n".encode())


def _end(connection: Any) -> None:
    """End this connection, psycopg's or SQLAlchemy's around it, as an administrator would."""
    connection = getattr(connection, "driver_connection", connection)
    pid = connection.info.backend_pid
    with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", (pid,))


def watch(plan: Plan) -> None:
    """From here on this process passes named points."""
    seen = _Watch(plan)
    _watch_files(seen)
    _watch_dialects(seen)
    _watch_copy(seen)
    _watch_http(seen)


def _watch_files(seen: _Watch) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & os.O_CREAT and str(arguments[0]).endswith(".db"):
            seen.passed("create file")

    sys.addaudithook(hook)


def _watch_dialects(seen: _Watch) -> None:
    def executing(method: Any) -> Any:
        def execute(self: Any, cursor: Any, statement: str, *arguments: Any, **more: Any) -> Any:
            return seen.call(
                name_of(statement),
                cursor.connection,
                self.loaded_dbapi,
                lambda: method(self, cursor, statement, *arguments, **more),
            )

        return execute

    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        setattr(DefaultDialect, name, executing(getattr(DefaultDialect, name)))

    commit, rollback, connect = DefaultDialect.do_commit, DefaultDialect.do_rollback, DefaultDialect.connect

    def do_commit(self: Any, connection: Any) -> None:
        seen.call("commit", connection, self.loaded_dbapi, lambda: commit(self, connection))
        seen.passed("committed")

    def do_rollback(self: Any, connection: Any) -> None:
        seen.passed("rollback")
        rollback(self, connection)

    def do_connect(self: Any, *arguments: Any, **more: Any) -> Any:
        seen.passed("connect")
        return connect(self, *arguments, **more)

    DefaultDialect.do_commit, DefaultDialect.do_rollback, DefaultDialect.connect = do_commit, do_rollback, do_connect


def _watch_copy(seen: _Watch) -> None:
    write_row, finish = psycopg.Copy.write_row, psycopg.Copy.finish

    def watched_write_row(self: Any, row: Any) -> None:
        seen.call("copy a row", self.connection, psycopg, lambda: write_row(self, row))

    def watched_finish(self: Any, error: BaseException | None) -> None:
        if error is None:
            try:
                seen.call("end a copy", self.connection, psycopg, lambda: finish(self, error))
            except psycopg.OperationalError as failure:
                if not self._finished:
                    finish(self, failure)  # else the connection would wait for more rows
                raise
        else:
            finish(self, error)

    psycopg.Copy.write_row, psycopg.Copy.finish = watched_write_row, watched_finish


def _watch_http(seen: _Watch) -> None:
    trace = aiohttp.TraceConfig()

    def passing(name: str) -> Any:
        async def passed(*_: Any) -> None:
            seen.passed(name)

        return passed

    trace.on_request_start.append(passing("http request"))
    trace.on_request_headers_sent.append(passing("http sent"))
    trace.on_request_end.append(passing("http answer"))
    trace.freeze()
    begin, read = aiohttp.ClientSession.__init__, aiohttp.StreamReader.readany

    def __init__(self: Any, *arguments: Any, trace_configs: list[Any] | None = None, **more: Any) -> None:
        begin(self, *arguments, trace_configs=[*(trace_configs or ()), trace], **more)

    async def readany(self: Any) -> bytes:
        seen.passed("http body")
        return await read(self)

    aiohttp.ClientSession.__init__ = __init__
    aiohttp.StreamReader.readany = readany


_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_WRITES = (
    (re.compile(r"insert into (\w+)"), "insert {}"),
    (re.compile(r"(update|delete from|lock table|pragma) (\w+)"), "{} {}"),
    (re.compile(r"(create|drop)(?: unique| temporary| temp)* (table|index|view|trigger)"), "{} {}"),
    (re.compile(r"(alter table|analyze|begin|savepoint|release|vacuum|set)"), "{}"),
)
_READS = re.compile(r"\bfrom (\w+)")


def name_of(statement: str) -> str:
    """`insert events`, `create view`, `read orgs`: what a statement does, in two words."""
    words = " ".join(_COMMENT.sub(" ", statement).lower().split())
    for pattern, name in _WRITES:
        if match := pattern.match(words):
            return name.format(*match.groups())
    match = _READS.search(words)
    return f"read {match[1]}" if match else "read"
