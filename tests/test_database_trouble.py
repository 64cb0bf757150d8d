"""Trouble with the database while the daemon runs: it lives through it, says so once, recovers by itself, and in the
end every event is stored once."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from poller import migrate, schema
from poller.demo.okta import Answer, Request, SimulatedOkta
from poller.store import Store
from tests.command_line import CommandLine
from tests.kills.scenario import START, event, small_pages
from tests.kills.servers import Proxy, Server

WHILE_IT_LASTS = 2.0  # seconds of trouble, in which it would poll twenty times
MEGABYTE = 2**20


class Daemon:
    """`poller run`, a process, and what it says."""

    def __init__(self, folder: Path, url: str, okta: SimulatedOkta) -> None:
        self._said = folder / "said"
        settings = {
            "POLLER_DATABASE_URL": url,
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_ORG_NAME": "acme",
            "POLLER_OKTA_API_TOKEN": okta.token,
            "POLLER_RATE_LIMIT_SHARE": "1",
            "POLLER_POLL_INTERVAL": "100ms",
            "POLLER_LOG_FORMAT": "json",
            "POLLER_HEALTH_ADDRESS": "off",
        }
        poller = CommandLine(folder, settings)
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                poller.command("run"), cwd=folder, env=poller.environment, stdout=said, stderr=said
            )

    def lines(self) -> list[dict]:
        *whole, _ = self._said.read_text("utf-8").split("\n")
        return [json.loads(line) for line in whole]

    def said(self) -> Counter[str]:
        return Counter(line["event"] for line in self.lines())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta(rate_limit=10**9) as server:
        yield server


@pytest.fixture
def daemon(tmp_path: Path, okta: SimulatedOkta) -> Iterator[Callable[[str], Daemon]]:
    """Start it on a database, which is made; it is killed when the test is over."""
    started: list[Daemon] = []

    def start(url: str) -> Daemon:
        with Store(url) as store:
            migrate.upgrade(store)
        started.append(Daemon(tmp_path, url, okta))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as one:
        yield one


def some(first: int, count: int, size: int = 0) -> list[dict]:
    """Events with names of their own, each of so many bytes at the least, and not to be compressed."""
    return [
        event(f"event-{number}", START + timedelta(seconds=number), displayMessage=os.urandom(size // 2).hex())
        for number in range(first, first + count)
    ]


def stored(url: str) -> list[str]:
    with Store(url) as store, store.reading() as connection:
        return sorted(connection.scalars(sa.select(schema.events.c.uid)))


def names(count: int) -> list[str]:
    return sorted(f"event-{number}" for number in range(count))


def until(condition: Callable[[], object], daemon: Daemon) -> None:
    """Wait for what has to come; a minute and a half is for a machine that is busy."""
    end = time.monotonic() + 90
    while not condition():
        assert daemon.process.poll() is None, daemon.lines()
        assert time.monotonic() < end, daemon.lines()
        time.sleep(0.05)


def it_recovers(daemon: Daemon, url: str, count: int) -> None:
    """Everything is stored, once, and it has told of trouble as often as of the end of it, in one line each."""
    until(lambda: daemon.said()["database.recovered"] == daemon.said()["database.failed"], daemon)
    until(lambda: len(stored(url)) >= count, daemon)
    assert daemon.end() == 0
    assert stored(url) == names(count)
    assert [line for line in daemon.lines() if "exception" in line] == []


def it_said_so_once(daemon: Daemon) -> None:
    errors = [line["event"] for line in daemon.lines() if line["level"] == "error"]
    assert (errors, daemon.said()["database.recovered"]) == (["database.failed"], 1)


# ---- Postgres ----


def sessions(server: Server, query: str) -> list[int]:
    """The sessions of poller that are at a query."""
    with psycopg.connect(server.url()) as connection:
        sql = "select pid from pg_stat_activity where application_name = 'poller' and query ilike %s"
        return [pid for (pid,) in connection.execute(sql, (query,))]


def new_database(server: Server) -> str:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("create database poller")
    return server.url("poller")


def test_a_postgres_that_is_stopped_in_the_middle_of_a_copy_and_started_again(server, daemon, okta):
    url = new_database(server)
    one = daemon(url)
    okta.append(some(0, 10))
    until(lambda: stored(url) == names(10), one)
    with contextlib.closing(psycopg.connect(url)) as another:
        another.execute("lock table events in share mode")  # now a copy has to wait
        okta.append(some(10, 2000))
        until(lambda: sessions(server, "copy events%"), one)
        server.stop_at_once()
    until(lambda: one.said()["database.failed"], one)
    time.sleep(WHILE_IT_LASTS)
    server.start()
    it_recovers(one, url, 2010)
    it_said_so_once(one)


def test_connections_that_are_killed_again_and_again(server, daemon, okta):
    url = new_database(server)
    one = daemon(url)
    okta.intercept = small_pages(okta)
    until(lambda: okta.requests, one)
    for number in range(20):
        okta.append(some(20 * number, 20))
        time.sleep(0.1)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            sql = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'poller'"
            connection.execute(sql)
    it_recovers(one, url, 400)


def test_a_failover_to_a_copy_that_is_behind(server, daemon, okta):
    """In the middle of a run of pages the database is one that has not got the last of them, and never will."""
    new_database(server)
    with Proxy(server.socket) as proxy, contextlib.ExitStack() as stack:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/poller"
        one = daemon(url)
        okta.append(some(0, 10))
        until(lambda: stored(url) == names(10), one)
        small = small_pages(okta)

        def fail_over(request: Request) -> Answer:
            if "after" in request.query and request.query["after"].endswith("_25"):
                okta.intercept = small
                copy = stack.enter_context(behind)
                proxy.lead_to(copy.socket)
                server.stop_at_once()
            return small(request)

        behind = server.copy()
        okta.intercept = fail_over
        okta.append(some(10, 40))
        until(lambda: okta.intercept is small, one)
        it_recovers(one, url, 50)


# ---- SQLite ----


@contextlib.contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    """Another process is in the middle of writing."""
    hold = (
        "import sys; from poller.sqlite import driver; connection = driver.connect(sys.argv[1], isolation_level=None);"
        "connection.execute('begin immediate'); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()


long = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="takes minutes: set LONG_TESTS=1")


@pytest.mark.parametrize("seconds", [WHILE_IT_LASTS, pytest.param(75, marks=long)])
def test_an_sqlite_file_that_another_process_has_locked(daemon, okta, tmp_path, seconds):
    url = f"sqlite:///{tmp_path}/poller.db"
    one = daemon(url)
    okta.append(some(0, 10))
    until(lambda: stored(url) == names(10), one)
    with locked_by_another_process(tmp_path / "poller.db"):
        okta.append(some(10, 10))
        time.sleep(seconds)
        assert stored(url) == names(10)
    it_recovers(one, url, 20)
    assert one.said()["database.failed"] == (1 if seconds > 60 else 0)  # for a minute it just waits


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full(daemon, okta, tmp_path):
    with small_disk(tmp_path / "disk", "size=3m") as disk:
        url = f"sqlite:///{disk}/poller.db"
        one = daemon(url)
        okta.append(some(0, 10))
        until(lambda: stored(url) == names(10), one)
        okta.append(some(10, 200, size=40_000))
        until(lambda: one.said()["database.failed"], one)
        time.sleep(WHILE_IT_LASTS)
        [failed] = [line for line in one.lines() if line["event"] == "database.failed"]
        assert failed["error"].endswith("Make room on its disk.")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        it_recovers(one, url, 210)
        it_said_so_once(one)


def test_a_file_that_may_not_grow(daemon, okta, tmp_path):
    """What a quota does, and what can be tested without being root."""
    url = f"sqlite:///{tmp_path}/poller.db"
    one = daemon(url)
    okta.append(some(0, 10))
    until(lambda: stored(url) == names(10), one)
    _, most = resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (2 * MEGABYTE, most))
    okta.append(some(10, 200, size=40_000))
    until(lambda: one.said()["database.failed"], one)
    time.sleep(WHILE_IT_LASTS)
    resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (most, most))
    it_recovers(one, url, 210)
    it_said_so_once(one)


def test_a_file_system_that_became_read_only(daemon, okta, tmp_path):
    """As ext4 does after an error. It has to be taken down to be mended, and so has the daemon."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(24 * MEGABYTE)
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True)
    mount = ["mount", "-o", "loop", str(image), str(disk)]
    if made.returncode or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("there are no loop devices here, or no ext4")
    url = f"sqlite:///{disk}/poller.db"
    try:
        one = daemon(url)
        okta.append(some(0, 10))
        until(lambda: stored(url) == names(10), one)
        subprocess.run(["mount", "-o", "remount,abort", str(disk)], check=True)
        okta.append(some(10, 10))
        until(lambda: one.said()["database.failed"], one)
        time.sleep(WHILE_IT_LASTS)
        assert one.end() == 0
        assert [line["event"] for line in one.lines() if line["level"] == "error"] == ["database.failed"]
        subprocess.run(["umount", str(disk)], check=True)
        subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True)
        subprocess.run(mount, check=True)
        it_recovers(daemon(url), url, 20)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
