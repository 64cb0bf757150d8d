"""Trouble with the database while the daemon runs: it lives through it, says so once, recovers by itself, and in the
end every event is stored once."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPConnection
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

    def __init__(self, folder: Path, url: str, okta: SimulatedOkta, *more: str) -> None:
        self._said = folder / "said"
        settings = {
            "POLLER_DATABASE_URL": url,
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_ORG_NAME": "acme",
            "POLLER_OKTA_API_TOKEN": okta.token,
            "POLLER_RATE_LIMIT_SHARE": "1",
            "POLLER_POLL_INTERVAL": "100ms",
            "POLLER_LOG_FORMAT": "json",
            "POLLER_HEALTH_ADDRESS": "127.0.0.1:0",
        }
        poller = CommandLine(folder, settings)
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                poller.command("run", *more), cwd=folder, env=poller.environment, stdout=said, stderr=said
            )

    def lines(self) -> list[dict]:
        *whole, _ = self._said.read_text("utf-8").split("\n")
        return [json.loads(line) for line in whole]

    def ended_with(self) -> str:
        """All that it wrote, log lines and the sentence of an error."""
        return self._said.read_text("utf-8")

    def said(self) -> Counter[str]:
        return Counter(line["event"] for line in self.lines())

    def health(self, path: str) -> tuple[int, str]:
        """What it answers to who asks how it is: a status and a line."""
        [started] = [line for line in self.lines() if line["event"] == "health.started"]
        with contextlib.closing(HTTPConnection(started["address"], timeout=30)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta(rate_limit=10**9) as server:
        yield server


@pytest.fixture
def daemon(tmp_path: Path, okta: SimulatedOkta) -> Iterator[Callable[..., Daemon]]:
    """Start it on a database, which is made unless it `is_away`; it is killed when the test is over."""
    started: list[Daemon] = []

    def start(url: str, *more: str, is_away: bool = False) -> Daemon:
        if not is_away:
            make(url)
        started.append(Daemon(tmp_path, url, okta, *more))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as one:
        yield one


def make(url: str) -> None:
    with Store(url) as store:
        migrate.upgrade(store)


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


def poller_database(server: Server) -> str:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("create database poller")
    return server.url("poller")


def test_a_postgres_that_is_stopped_in_the_middle_of_a_copy_and_started_again(server, daemon, okta):
    url = poller_database(server)
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
    url = poller_database(server)
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
    poller_database(server)
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


# ---- a start without a database ----


def test_a_daemon_that_is_started_before_its_postgres_waits_for_it(server, daemon, okta):
    url = poller_database(server)
    make(url)
    server.stop_at_once()
    okta.append(some(0, 10))
    one = daemon(url, is_away=True)
    until(lambda: one.said()["database.failed"], one)
    time.sleep(WHILE_IT_LASTS)
    [failed] = [line for line in one.lines() if line["event"] == "database.failed"]
    assert one.health("/livez") == (200, "ok")
    assert one.health("/readyz") == (503, failed["error"])
    assert okta.requests == []
    server.start()
    until(lambda: one.said()["database.recovered"], one)
    assert one.health("/readyz") == (200, "ok")
    it_recovers(one, url, 10)
    it_said_so_once(one)


def test_a_daemon_waits_for_the_disk_of_its_sqlite_file(daemon, okta, tmp_path):
    """Not mounted yet: the file is a link that leads nowhere."""
    url = f"sqlite:///{tmp_path}/poller.db"
    (tmp_path / "disk").mkdir()
    (tmp_path / "poller.db").symlink_to("disk/poller.db")
    make(f"sqlite:///{tmp_path}/disk/poller.db")
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    okta.append(some(0, 10))
    one = daemon(url, is_away=True)
    until(lambda: one.said()["database.failed"], one)
    time.sleep(WHILE_IT_LASTS)
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    it_recovers(one, url, 10)
    it_said_so_once(one)


class Pretender:
    """Looks like a Postgres. It answers each connection with one error, or with nothing at all."""

    def __init__(self, state: str = "", says: str = "") -> None:
        fields = b"".join(key + text.encode() + b"\0" for key, text in ((b"S", "FATAL"), (b"C", state), (b"M", says)))
        self._error = b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0" if says else b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://poller@127.0.0.1:{self._listener.getsockname()[1]}/poller?sslmode=disable"
        self._silent: list[socket.socket] = []
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if not self._error:
                    self._silent.append(connection)
                    continue
                with connection:
                    connection.recv(1024)
                    connection.sendall(self._error)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._silent):
            end.close()


@pytest.fixture
def pretender() -> Iterator[Callable[..., Pretender]]:
    with contextlib.ExitStack() as stack:
        yield lambda *words: stack.enter_context(contextlib.closing(Pretender(*words)))


STARTING = ("57P03", "the database system is starting up")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [STARTING, ()], ids=["between two tries", "in the middle of a try"])
def test_a_daemon_that_waits_for_its_database_stops_at_once(daemon, pretender, words, number):
    one = daemon(pretender(*words).url, is_away=True)
    until(lambda: one.said()["database.failed" if words else "health.started"], one)
    time.sleep(1)
    began = time.monotonic()
    one.process.send_signal(number)
    assert one.process.wait(timeout=60) == 0
    assert time.monotonic() - began < 5  # 2, on a machine that has the time; a try takes 10
    assert one.lines()[-1]["event"] == "daemon.stopped"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("28P01", 'password authentication failed for user "poller"'),
        ("28000", 'role "poller" does not exist'),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "poller", database "poller", no encryption'),
        ("3D000", 'database "poller" does not exist'),
        ("42501", 'permission denied for database "poller"'),
    ],
    ids=["password", "role", "address", "database", "right"],
)
def test_a_daemon_does_not_wait_for_what_only_a_person_can_mend(daemon, pretender, state, says):
    one = daemon(pretender(state, says).url, is_away=True)
    assert one.process.wait(timeout=60) == 1
    assert one.ended_with().count(says) == 1
    assert "database.failed" not in one.ended_with()


@pytest.mark.parametrize("revision", [None, "9999"], ids=["none", "newer"])
def test_a_daemon_does_not_wait_for_another_schema(daemon, new_database, revision):
    url = new_database("postgres")
    with Store(url) as store, store.writing() as connection:
        connection.execute(sa.text("delete from alembic_version"))
        if revision:
            connection.execute(sa.text(f"insert into alembic_version values ('{revision}')"))
    one = daemon(url, is_away=True)
    assert one.process.wait(timeout=60) == 1
    assert ("Install the newer poller" if revision else "Run poller migrate") in one.ended_with()


def test_who_is_called_from_cron_does_not_wait(daemon, pretender):
    one = daemon(pretender(*STARTING).url, "--once", is_away=True)
    assert one.process.wait(timeout=60) == 1
    assert STARTING[1] in one.ended_with()


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
