"""Whatever goes wrong over HTTP, at the first, a middle or the last page: in the end every event is stored once, the
findings are those of a quiet day, and the token has been nowhere but at the org.

`python -m pytest tests/test_http_faults.py` runs the matrix: each fault × where it strikes × both databases. Of those
that last over two polls it leaves some out, which `LONG_TESTS=1` adds.
"""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import json
import os
import random
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from poller import schema
from poller.cycle import poll
from poller.demo.okta import LOGS_PATH, Answer, Request, SimulatedOkta, okta_error, too_many_requests
from poller.errors import LostCursor, OktaError
from poller.settings import OrgSettings
from poller.store import Store
from poller.system_log import SystemLog
from tests.command_line import CommandLine
from tests.delivery import found, push_fatigue

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(hours=6)
ORG = "acme"
PAGE, PAGES = 4, 3
PLACES = {"first": 0, "middle": 1, "last": 2}
TOKEN = "00aTokenThatNobodyElseMaySee0123456789abcd"


def event(number: int, event_type: str = "user.session.end", **fields) -> dict:
    return {
        "uuid": f"event-{number}",
        "published": (START + timedelta(seconds=number)).isoformat(),
        "eventType": event_type,
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
        "outcome": {"result": "SUCCESS"},
        "transaction": {"id": f"transaction-{number}"},
        **fields,
    }


DENIED = "user.mfa.okta_verify.deny_push"
APPROVED = {"debugContext": {"debugData": {"factor": "OKTA_VERIFY_PUSH"}}}
# An attack that lies across all three pages.
EVENTS = [
    event(0),
    event(60, DENIED),
    event(61),
    event(62),
    event(120, DENIED),
    event(121),
    event(122),
    event(123),
    event(180, "user.authentication.auth_via_mfa", **APPROVED),
    event(181),
    event(182),
    event(183),
]
EVIDENCE = ["event-120", "event-180", "event-60"]


class Nowhere:
    """An address that listens, and that nobody may connect to."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def nobody_came(self) -> bool:
        try:
            self._socket.accept()
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Moment:
    """A request that a fault strikes: the org, where else there is to go, and the answer that would have been right."""

    okta: SimulatedOkta
    nowhere: Nowhere
    request: Request
    regular: Answer

    def linking(self, *next_links: str) -> Answer:
        links = tuple(("Link", f'<{link}>; rel="next"') for link in next_links)
        return replace(self.regular, headers=(*self.regular.without("Link", "next"), *links))

    def packed(self, encoding: str, body: bytes | None = None) -> Answer:
        packed = gzip.compress(self.regular.body) if body is None else body
        return replace(self.regular, body=packed, headers=(*self.regular.headers, ("Content-Encoding", encoding)))

    def of_length(self, length: int) -> Answer:
        return replace(self.regular, headers=(*self.regular.headers, ("Content-Length", str(length))))

    def in_chunks(self, cut: int | None = None) -> Answer:
        half = len(self.regular.body) // 2
        parts = (self.regular.body[:half], self.regular.body[half:], b"")
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        return replace(
            self.regular, body=body, cut=cut, headers=(*self.regular.headers, ("Transfer-Encoding", "chunked"))
        )

    def holding(self, records: list) -> Answer:
        return replace(self.regular, body=json.dumps(records).encode())

    @property
    def records(self) -> list:
        return json.loads(self.regular.body)


Fault = Callable[[Moment], Answer | None]


def okta_says(status: int, code: str) -> Fault:
    return lambda at: okta_error(status, code, "No.")


def redirect(status: int) -> Fault:
    return lambda at: Answer(status, (("Location", f"http://{at.nowhere.address}{at.request.target}"),))


def leading_to(address: str) -> Fault:
    """`{okta}` and `{nowhere}` stand for host and port."""
    return lambda at: at.linking(
        address.format(okta=at.okta.url.removeprefix("http://"), nowhere=at.nowhere.address) + "?limit=1000&after=1_4"
    )


def first_page(at: Moment) -> str:
    return next(request.url for request in at.okta.requests if request.path == LOGS_PATH)


def html(status: int) -> Fault:
    return lambda at: Answer(status, (("Content-Type", "text/html"),), b"<html><body>Bad Gateway</body></html>")


# What fails, and the kind that it is told as (one of them).
FAULTS: dict[str, tuple[Fault, str]] = {
    "429 without reset": (lambda at: Answer(429), "rate_limit"),
    "429 with a reset long past": (lambda at: too_many_requests(at.okta.clock() - 3600), "rate_limit"),
    "429 with an absurd reset": (lambda at: too_many_requests(10**15), "rate_limit"),
    "429 of concurrency": (lambda at: too_many_requests(at.okta.clock() + 60, limit=0), "concurrency_limit"),
    "500": (okta_says(500, "E0000009"), "server_error"),
    "502 in HTML": (html(502), "server_error"),
    "503": (html(503), "server_error"),
    "504": (okta_says(504, "E0000009"), "server_error"),
    "a page in HTML": (html(200), "malformed_page"),
    "nothing at all": (lambda at: Answer(204), "malformed_page"),
    "truncated JSON": (lambda at: replace(at.regular, body=at.regular.body[:-20]), "malformed_page"),
    "a length too long": (lambda at: at.of_length(len(at.regular.body) + 10), "connection"),
    # What is left over comes as the begin of another answer, or too late for that.
    "a length too short": (lambda at: at.of_length(len(at.regular.body) - 10), "connection or malformed_page"),
    "a cut body": (lambda at: replace(at.regular, cut=50), "connection"),
    "a cut chunk": (lambda at: at.in_chunks(cut=len(at.regular.body) // 2 + 50), "connection"),
    "a reset within the body": (lambda at: replace(at.regular, cut=50, reset=True), "connection"),
    "a body that is not gzip": (lambda at: at.packed("gzip", b"not gzip"), "malformed_page"),
    "a body of cut gzip": (lambda at: at.packed("gzip", gzip.compress(at.regular.body)[:-9]), "malformed_page"),
    "brotli": (lambda at: at.packed("br"), "malformed_page"),
    "deflate": (lambda at: at.packed("deflate"), "malformed_page"),
    "zstd": (lambda at: at.packed("zstd"), "malformed_page"),
    "redirect 301": (redirect(301), "redirect"),
    "redirect 302": (redirect(302), "redirect"),
    "redirect 307": (redirect(307), "redirect"),
    "redirect 308": (redirect(308), "redirect"),
    "next to another host": (leading_to("http://{nowhere}/api/v1/logs"), "unsafe_link"),
    "next to another scheme": (leading_to("https://{okta}/api/v1/logs"), "unsafe_link"),
    "next to another path": (leading_to("http://{okta}/api/v1/users"), "unsafe_link"),
    "next with a path that climbs": (leading_to("http://{okta}/api/v1/logs/../users"), "unsafe_link"),
    "next without a scheme": (leading_to("//{nowhere}/api/v1/logs"), "unsafe_link"),
    "next with the org as a user": (leading_to("http://{okta}@{nowhere}/api/v1/logs"), "unsafe_link"),
    "next with a user": (leading_to("http://me@{okta}/api/v1/logs"), "unsafe_link"),
    "next with a backslash": (leading_to("http://{nowhere}\\@{okta}/api/v1/logs"), "unsafe_link"),
    "next with a fragment": (leading_to("http://{nowhere}#@{okta}/api/v1/logs"), "unsafe_link"),
    "next with another port": (leading_to("http://127.0.0.1:1/api/v1/logs"), "unsafe_link"),
    "next equal to itself": (lambda at: at.linking(at.request.url), "lost_cursor"),
    "next to the first page": (lambda at: at.linking(first_page(at)), "lost_cursor"),
    "no next": (lambda at: at.linking(), "lost_cursor"),
    "400": (okta_says(400, "E0000001"), "refused"),
    "401": (okta_says(401, "E0000011"), "credentials"),
    "403": (okta_says(403, "E0000006"), "credentials"),
    "410": (okta_says(410, "E0000001"), "refused"),
}


def late(at: Moment) -> None:
    at.okta.append([event(-3600, uuid="late")])


# What is no failure: the page is odd, and right.
ODDITIES: dict[str, Fault] = {
    "a shuffled page": lambda at: at.holding(random.Random(7).sample(at.records, len(at.records))),
    "a page with every event twice": lambda at: at.holding([*at.records, *at.records]),
    "a page with an event of before": lambda at: at.holding([EVENTS[0], *at.records]),
    "a late event": late,
    "good chunks": lambda at: at.in_chunks(),
    "good gzip": lambda at: at.packed("gzip"),
    "gzip in two parts": lambda at: at.packed(
        "X-GZip", gzip.compress(at.regular.body[:9]) + gzip.compress(at.regular.body[9:])
    ),
    "a body in many pieces": lambda at: replace(at.regular, pieces=50),
}


class Trouble:
    """An interceptor that lets a fault strike at a place, for as long as `lasts`."""

    def __init__(self, okta: SimulatedOkta, nowhere: Nowhere, fault: Fault, place: str, times: int | None) -> None:
        self.okta, self.nowhere, self.fault, self.place, self.times = okta, nowhere, fault, PLACES[place], times
        self.struck = 0

    def __call__(self, request: Request) -> Answer | None:
        _, _, position = request.query.get("after", "0_0").partition("_")
        if int(position or 0) // PAGE != self.place or (self.times is not None and self.struck >= self.times):
            return None
        self.struck += 1
        return self.fault(Moment(self.okta, self.nowhere, request, self.okta.answer(request)))


@pytest.fixture
def nowhere() -> Iterator[Nowhere]:
    with contextlib.closing(Nowhere()) as listener:
        yield listener


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta(EVENTS, page_limit=PAGE, rate_limit=10_000) as server:
        server.token = TOKEN
        yield server


def run_poll(store: Store, okta: SimulatedOkta, url: str | None = None, **more: float) -> OktaError | None:
    """One poll, as the daemon does it; what it failed with."""
    org = OrgSettings(name=ORG, org_url=url or okta.url, api_token=TOKEN)
    log = SystemLog(org, 1.0, threading.Event(), **{"backoff": 0.001, "answer_seconds": 1, **more})
    try:
        poll(store, log, ORG, push_fatigue(), timedelta(days=1))
    except OktaError as error:
        structlog.get_logger().error("org.failed", kind=error.kind, error=str(error))
        return error
    return None


SAID = ("request.failed", "org.failed")  # one that is sent again; one that is given up


def kinds_told(lines: list) -> list[str]:
    """Those of the log lines about failed requests, in their order."""
    return [line["kind"] for line in lines if line["event"] in SAID]


def check_all_is_there(store: Store, *more: str) -> None:
    with store.reading() as connection:
        uids = list(connection.scalars(sa.select(schema.events.c.uid)))
        quarantined = list(connection.execute(sa.select(schema.quarantine)))
    assert sorted(uids) == sorted([*(event["uuid"] for event in EVENTS), *more])
    assert quarantined == []
    (finding,) = [one for one in found(store) if one["rule"] == "push_fatigue"]  # a process has all the rules
    assert [uid for uid, _ in finding["evidence"]] == EVIDENCE


def poll_until_it_succeeds(store: Store, okta: SimulatedOkta, most: int = 4, **more: float) -> None:
    assert any(run_poll(store, okta, **more) is None for _ in range(most))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_costs_no_event(store, okta, nowhere, name, place):
    fault, kind = FAULTS[name]
    if name == "next to the first page" and place == "first":
        pytest.skip("this is the one equal to itself")
    okta.intercept = trouble = Trouble(okta, nowhere, fault, place, times=1)
    with capture_logs() as lines:
        poll_until_it_succeeds(store, okta, most=2)
    assert trouble.struck == 1
    (told,) = kinds_told(lines)
    assert told in kind.split(" or ")
    check_all_is_there(store)
    assert nowhere.nobody_came()


long = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="takes minutes: set LONG_TESTS=1")
ONE_OF_A_KIND = {kind: name for name, (_, kind) in reversed(FAULTS.items())}


# Every fault in the middle; at the first and the last page one of each kind, and the others where there is time.
LASTING = [
    pytest.param(name, place, marks=() if place == "middle" or name == ONE_OF_A_KIND[kind] else long)
    for name, (_, kind) in FAULTS.items()
    for place in PLACES
]


@pytest.mark.parametrize(("name", "place"), LASTING)
def test_a_fault_that_lasts_is_said_and_costs_no_event_once_it_is_over(store, okta, nowhere, name, place):
    fault, kind = FAULTS[name]
    okta.intercept = trouble = Trouble(okta, nowhere, fault, place, times=None)
    with capture_logs() as lines:
        errors = [run_poll(store, okta) for _ in range(2)]
    assert trouble.struck >= 2
    assert set(kinds_told(lines)) <= set(kind.split(" or "))
    if name == "no next":  # a page that is not full may be the last one
        assert errors == [None, None]
    elif kind == "lost_cursor" and place == "first":  # however it is opened, it breaks
        assert all(isinstance(error, LostCursor) for error in errors), errors
    elif kind == "lost_cursor":  # passed by: opened anew by time, behind the page that breaks the chain
        assert errors == [None, None]
        assert "cursor.reopened" in {line["event"] for line in lines}
    else:
        assert all(error is not None and error.kind in kind.split(" or ") for error in errors)
        assert all(error.isprintable() and okta.url in error for error in map(str, errors))
    okta.intercept = None
    poll_until_it_succeeds(store, okta)
    check_all_is_there(store)
    assert nowhere.nobody_came()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ODDITIES)
def test_an_odd_page_is_no_fault(store, okta, nowhere, name, place):
    okta.intercept = trouble = Trouble(okta, nowhere, ODDITIES[name], place, times=1)
    with capture_logs() as lines:
        assert run_poll(store, okta) is None
    assert trouble.struck == 1
    assert kinds_told(lines) == []
    check_all_is_there(store, *(["late"] if name == "a late event" else []))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("skew", [-3600, 0, 3600], ids=["an hour behind", "on time", "an hour ahead"])
def test_a_rate_limit_is_waited_for_by_the_clock_of_an_okta_that_is(store, okta, nowhere, skew, place):
    okta.clock = okta.log._clock = lambda: time.time() + skew
    resets = []

    def limit(at: Moment) -> Answer:
        resets.append(int(at.okta.clock()) + 1)
        return too_many_requests(resets[0])

    okta.intercept = Trouble(okta, nowhere, limit, place, times=1)
    assert run_poll(store, okta) is None
    struck = [request.target for request in okta.requests]
    (again,) = [request for n, request in enumerate(okta.requests) if n and request.target == struck[n - 1]][:1]
    assert again.time + skew >= resets[0]
    check_all_is_there(store)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("slow", [{"delay": 30}, {"pieces": 10_000, "pause": 0.1}], ids=["late", "dripping"])
def test_an_answer_that_takes_for_ever_is_asked_for_again(store, okta, nowhere, slow, place):
    okta.intercept = Trouble(okta, nowhere, lambda at: replace(at.regular, **slow), place, times=1)
    with capture_logs() as lines:
        poll_until_it_succeeds(store, okta, answer_seconds=0.5)
    assert kinds_told(lines) == ["timeout"]
    check_all_is_there(store)


# ---- cursors that lead nowhere, over full pages ----


def full_log() -> list[dict]:
    return [event(number) for number in range(3000)]


@pytest.mark.parametrize("times", [1, 2, None], ids=["once", "for a while", "for ever"])
@pytest.mark.parametrize("wrong", ["itself", "two before", "three before", "missing"])
def test_a_full_page_that_cannot_be_gone_on_from_costs_no_event(store, wrong, times):
    with SimulatedOkta(full_log(), rate_limit=10_000) as okta:
        okta.token = TOKEN
        struck, asked = [], []

        def answer(request: Request) -> Answer | None:
            regular = okta.answer(request)
            asked.append(request.url)
            if "_3000" in request.target or "_2000" not in request.target or (times and len(struck) >= times):
                return regular
            struck.append(request.target)
            links = {
                "itself": [request.url],
                "two before": asked[-2:-1],
                "three before": asked[:1],
                "missing": [],
            }[wrong]
            headers = regular.without("Link", "next")
            return replace(regular, headers=(*headers, *(("Link", f'<{link}>; rel="next"') for link in links)))

        okta.intercept = answer
        error = run_poll(store, okta)
        # Asked again, opened anew by time, or passed by: within the same poll.
        assert error is None
        assert len(struck) == times or (times is None and len(struck) >= 3)
        okta.intercept = None
        poll_until_it_succeeds(store, okta)
        with store.reading() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(schema.events)) == 3000


# ---- bodies without measure ----


# The most memory that a process held is known to itself alone: what its parent sees began with the parent's own.
MEASURED = """
import atexit, pathlib, re, sys
from poller.cli import main

def tell():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        print("held", re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1], file=sys.stderr)

atexit.register(tell)
main()
"""


def run_once(okta: SimulatedOkta, url: str, folder: Path) -> tuple[int, str, int]:
    """`poller run --once` as a process: its exit code, what it said, and the most memory it held, in MB (on Linux)."""
    poller = CommandLine(
        folder,
        {
            "POLLER_DATABASE_URL": url,
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_ORG_NAME": ORG,
            "POLLER_OKTA_API_TOKEN": TOKEN,
            "POLLER_LOG_FORMAT": "json",
        },
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "run", "--once"],
        cwd=folder,
        env=poller.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    held = re.search(r"^held (\d+)$", done.stderr, re.MULTILINE)
    return done.returncode, done.stderr, int(held[1]) // 1024 if held else 0


def failures(said: str) -> list[dict]:
    """The log lines of failed requests, of a process that logs JSON."""
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] in SAID]


@pytest.mark.parametrize("place", PLACES)
def test_an_event_of_50_mb_is_stored_in_bounded_memory(database_url, tmp_path, place):
    huge = event(184 if place == "last" else 0, uuid="huge", userAgent="x" * 50_000_000)
    okta_events = [*EVENTS[: PLACES[place] * PAGE], huge, *EVENTS[PLACES[place] * PAGE :]]
    with SimulatedOkta(okta_events, page_limit=PAGE + 1, rate_limit=10_000) as okta:
        okta.token = TOKEN
        code, said, megabytes = run_once(okta, database_url, tmp_path)
    assert code == 0, said
    assert megabytes < 400
    with Store(database_url) as store:
        check_all_is_there(store, "huge")


@pytest.mark.parametrize("place", PLACES)
def test_a_bomb_is_refused_in_bounded_memory_and_costs_no_event(database_url, tmp_path, nowhere, place):
    """A gigabyte of zeros, in a megabyte."""
    bomb = gzip.compress(bytes(2**26)) * 16
    with SimulatedOkta(EVENTS, page_limit=PAGE, rate_limit=10_000) as okta:
        okta.token = TOKEN
        okta.intercept = Trouble(okta, nowhere, lambda at: at.packed("gzip", bomb), place, times=1)
        code, said, megabytes = run_once(okta, database_url, tmp_path)
        assert code == 1
        assert megabytes < 400
        (line,) = failures(said)
        assert (line["kind"], "wait_seconds" in line) == ("too_large", False)
        assert "larger than any page" in line["error"]
        with Store(database_url) as store:
            assert run_poll(store, okta) is None
            check_all_is_there(store)


# ---- TLS ----


def certificate(names: list[x509.GeneralName], ends: timedelta, issuer: Signer | None = None) -> Signer:
    """A new key with its certificate, by another one or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer" if issuer is None else "org")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=30))
        .not_valid_after(datetime.now(UTC) + ends)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names or [x509.DNSName("issuer")]), critical=False)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Signer(key, built)


@dataclass(frozen=True)
class Signer:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, folder: Path) -> ssl.SSLContext:
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / "server.pem"
        path.write_bytes(key + self.pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


DAY = timedelta(days=1)
HOME = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


@pytest.fixture(scope="module")
def authority() -> Signer:
    return certificate([], DAY)


# What can't be trusted, and the reason that is told.
UNTRUSTED: dict[str, tuple[Callable[[Signer], Signer | None], str]] = {
    "self-signed": (lambda authority: certificate(HOME, DAY), "self.signed certificate"),
    "wrong host": (
        lambda authority: certificate([x509.DNSName("other.example")], DAY, authority),
        "not valid for '127.0.0.1'",
    ),
    "expired": (lambda authority: certificate(HOME, -DAY, authority), "certificate has expired"),
    "no TLS at all": (lambda authority: None, "(?i)wrong.version.number|record layer failure"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_connection_that_cannot_be_trusted_at_a_page_costs_no_event(
    store, nowhere, tmp_path, monkeypatch, authority, name, place
):
    """The org ends the connection before the page, and whoever answers at its address then is somebody else."""
    make, reason = UNTRUSTED[name]
    good, signer = certificate(HOME, DAY, authority).server(tmp_path), make(authority)
    bad = signer.server(tmp_path) if signer else None
    trusting = ssl.create_default_context(cadata=authority.pem().decode())
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)  # aiohttp makes its own when imported
    with SimulatedOkta(EVENTS, page_limit=PAGE, rate_limit=10_000, tls=good) as okta:
        okta.token = TOKEN
        url = okta.url

        def replaced(at: Moment) -> Answer:
            at.okta.tls = bad
            return replace(at.regular, headers=(*at.regular.headers, ("Connection", "close")))

        if place == "first":
            okta.tls = bad
        else:
            before = list(PLACES)[PLACES[place] - 1]
            okta.intercept = Trouble(okta, nowhere, replaced, before, times=1)
        with capture_logs() as lines:
            errors = [run_poll(store, okta, url) for _ in range(2)]
        assert kinds_told(lines) == ["tls", "tls"]
        assert all(error and re.search(reason, str(error)) for error in errors)
        assert len(okta.requests) == PLACES[place]
        okta.tls = good
        assert run_poll(store, okta, url) is None
        assert {request.scheme for request in okta.requests} == {"https"}
    check_all_is_there(store)


@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_connection_that_cannot_be_trusted_is_told_as_such_and_sees_no_token(new_database, tmp_path, authority, name):
    """A whole process. Then the org gets its certificate right, at the same address, and every event comes."""
    make, reason = UNTRUSTED[name]
    database_url = new_database("sqlite")
    (tmp_path / "authority.pem").write_bytes(authority.pem())
    good, signer = certificate(HOME, DAY, authority).server(tmp_path), make(authority)
    bad = signer.server(tmp_path) if signer else None
    with SimulatedOkta(EVENTS, page_limit=PAGE, rate_limit=10_000, tls=bad) as okta:
        okta.token = TOKEN
        poller = CommandLine(
            tmp_path,
            {
                "POLLER_DATABASE_URL": database_url,
                "POLLER_OKTA_ORG_URL": okta.url.replace("http:", "https:"),
                "POLLER_OKTA_ORG_NAME": ORG,
                "POLLER_OKTA_API_TOKEN": TOKEN,
                "POLLER_LOG_FORMAT": "json",
                "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
            },
        )
        failed = poller("run", "--once")
        assert failed.code == 1
        (line,) = failures(failed.err)
        assert line["kind"] == "tls"
        assert re.search(reason, line["error"])
        assert okta.requests == []
        okta.tls = good
        assert poller("run", "--once").code == 0
        assert okta.requests
    with Store(database_url) as store:
        check_all_is_there(store)


# ---- what goes over the wire ----


def test_a_proxy_gets_its_own_password_and_never_the_token(monkeypatch):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = proxy.accept()
                    with connection:
                        heard.append(connection.recv(65536))
                        connection.sendall(
                            b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        )

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("https_proxy", f"http://me:hunter2@127.0.0.1:{proxy.getsockname()[1]}")
        org = OrgSettings(name=ORG, org_url="https://acme.example", api_token=TOKEN)
        log = SystemLog(org, 1.0, threading.Event(), backoff=0.001)
        with pytest.raises(OktaError, match="407") as raised:
            list(log.pages(log.polling_link(START)))
        proxy.shutdown(socket.SHUT_RDWR)
    assert raised.value.kind == "connection"
    assert "hunter2" not in str(raised.value)
    assert heard
    assert all(request.startswith(b"CONNECT acme.example:443 ") for request in heard)
    assert all(b"proxy-authorization: basic" in request.lower() for request in heard)
    assert not any(TOKEN.encode() in request or b"SSWS" in request for request in heard)
