"""A simulated Okta org: a real HTTP server on a loopback address that serves the System Log as Okta does.

    with SimulatedOkta(events) as okta:
        ...  # poll okta.url with okta.token
        okta.append(more_events)

It is faithful in what a poller can notice: polling and bounded requests, `Link` headers, rate and concurrency limits,
token checks (SSWS, and OAuth as in `okta_oauth`), what the admin behind a token may read besides, Okta's errors. Tests
make it misbehave in one of two ways: `okta.answer_next(...)` scripts the next answers, `okta.intercept = function`
looks at every request. Both give an `Answer`, made from nothing or from the regular one:

    okta.answer_next(too_many_requests(reset=okta.clock() + 2))
    okta.answer_next(lambda request: replace(okta.answer(request), cut=100))
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from poller.demo.okta_log import MAX_LIMIT, BadQuery, EventLog, iso

if TYPE_CHECKING:
    from poller.demo.okta_oauth import OAuthApp

LOGS_PATH = "/api/v1/logs"
TOKEN_PATH = "/oauth2/v1/token"  # noqa: S105
ADMIN_PATHS = {"users": "/api/v1/users", "apps": "/api/v1/apps", "admin roles": "/api/v1/iam/assignees/users"}


@dataclass(frozen=True)
class Request:
    """One request as it came in. `target` is path and query as on the wire; header names are in lower case."""

    scheme: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    time: float
    in_flight: int  # requests being served when this one came, itself included

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def url(self) -> str:
        """The absolute address that the client asked."""
        return f"{self.scheme}://{self.headers.get('host', '')}{self.target}"


@dataclass(frozen=True)
class Answer:
    """One answer, as it goes over the wire.

    `Date` and `Content-Length` are added unless `headers` name them; nothing else is. `delay`: seconds before the first
    byte. `pieces` and `pause`: the body is sent in so many parts, with so many seconds between them. `cut`: the
    connection ends after so many bytes of the body; with `reset` by a TCP reset rather than in good order.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: float = 0
    pieces: int = 1
    pause: float = 0
    cut: int | None = None
    reset: bool = False

    def header(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def without(self, name: str, containing: str = "") -> tuple[tuple[str, str], ...]:
        """The headers but for those of this name (whose value contains some text)."""
        return tuple(
            (key, value) for key, value in self.headers if key.lower() != name.lower() or containing not in value
        )


Script = Answer | Callable[[Request], Answer | None]


def okta_error(status: int, code: str, summary: str, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """An error in Okta's form."""
    body = {
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": f"oae{secrets.token_urlsafe(16)}",
        "errorCauses": [],
    }
    return Answer(status, (("Content-Type", "application/json"), *headers), json.dumps(body).encode())


def too_many_requests(reset: float, limit: int = 120) -> Answer:
    """The rate limit is used up until `reset` (epoch seconds); with a limit of 0 it is the concurrency limit."""
    summary = "API call exceeded rate limit due to too many requests."
    return okta_error(429, "E0000047", summary, _rate_headers(limit, 0, reset))


class SimulatedOkta:
    """An org at `url` that serves the System Log `log`.

    Args:
        events: what the log holds to begin with (see `EventLog.append`).
        oauth: an app that may get access tokens; without one only SSWS tokens are accepted.
        rate_limit, rate_window: requests to /api/v1/logs in so many seconds.
        concurrency: requests served at once.
        clock: the org's clock, epoch seconds. It need not agree with anyone else's.
        admin_may_read: what else the admin behind the SSWS token may read: keys of ADMIN_PATHS.
        page_limit: the most events in a page, whatever is asked for.
        tls: speak https, with the certificate of this context. Set another one, and the next connections have that.
    """

    def __init__(
        self,
        events: Iterable[Mapping[str, Any] | bytes] = (),
        *,
        oauth: OAuthApp | None = None,
        rate_limit: int = 120,
        rate_window: float = 60,
        concurrency: int = 75,
        clock: Callable[[], float] = time.time,
        admin_may_read: frozenset[str] = frozenset(),
        page_limit: int = MAX_LIMIT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.log = EventLog(clock)
        self.log.append(events)
        self.token = f"00{secrets.token_urlsafe(30)}"
        self.token_without_permission = f"00{secrets.token_urlsafe(30)}"
        self.oauth = oauth
        self.concurrency = concurrency
        self.clock = clock
        self.admin_may_read, self.page_limit, self.tls = admin_may_read, page_limit, tls
        self.intercept: Callable[[Request], Answer | None] | None = None
        self.requests: list[Request] = []
        self._scripts: deque[Script] = deque()
        self._limits = {LOGS_PATH: _RateLimit(rate_limit, rate_window), TOKEN_PATH: _RateLimit(600, 60)}
        self._issued_links: set[frozenset[tuple[str, str]]] = set()
        self._lock = threading.Lock()
        self._in_flight = 0
        self._port = 0
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def max_in_flight(self) -> int:
        """How many requests were ever being served at once."""
        return max((request.in_flight for request in self.requests), default=0)

    def start(self) -> None:
        """Begin to listen; again on the same port after a `stop`."""
        self._server = _Server(self, self._port)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="simulated-okta", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and end every connection. Does nothing when it isn't listening."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def append(self, events: Iterable[Mapping[str, Any] | bytes], persisted: int | None = None) -> None:
        """Commit events to the log; see `EventLog.append`."""
        self.log.append(events, persisted)

    def answer_next(self, *scripts: Script) -> None:
        """Answer the next requests for the log with these, one each. None from a function leaves the regular answer."""
        self._scripts.extend(scripts)

    def answer(self, request: Request) -> Answer:
        """The regular answer, without scripts and interception."""
        limit = self._limits.get(request.path)
        for what, path in ADMIN_PATHS.items():
            if request.path == path:
                return self._refusal(request) or self._beside(what)
        if limit is None:
            return okta_error(404, "E0000007", f"Not found: Resource not found: {request.path}")
        if request.in_flight > self.concurrency:
            return too_many_requests(self.clock() + 1, limit=0)
        remaining, reset = limit.take(self.clock())
        if remaining < 0:
            return too_many_requests(reset, limit.limit)
        answer = self._token(request) if request.path == TOKEN_PATH else self._logs(request)
        return _with_headers(answer, _rate_headers(limit.limit, remaining, reset))

    def _beside(self, what: str) -> Answer:
        if what in self.admin_may_read:
            return Answer(200, (("Content-Type", "application/json"),), b"[]")
        return okta_error(403, "E0000006", "You do not have permission to perform the requested action")

    def _serve(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        with self._lock:
            request = Request(self._scheme, method, target, headers, body, time.time(), self._in_flight)
            self.requests.append(request)
            script = self._scripts.popleft() if self._scripts and request.path == LOGS_PATH else None
        scripted = self.intercept(request) if self.intercept else None
        if scripted is None:
            scripted = script(request) if callable(script) else script
        return scripted or self.answer(request)

    def _token(self, request: Request) -> Answer:
        if request.method != "POST":
            return okta_error(405, "E0000022", "The endpoint does not support the provided HTTP method")
        if self.oauth is None:
            return _oauth_answer(401, {"error": "invalid_client", "error_description": "No client of this id."})
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        return _oauth_answer(*self.oauth.issue(form, request.headers.get("dpop"), request.url, self.clock()))

    def _logs(self, request: Request) -> Answer:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.method != "GET":
            return okta_error(405, "E0000022", "The endpoint does not support the provided HTTP method")
        query = request.query
        if "since" in query and "after" in query and frozenset(query.items()) not in self._issued_links:
            return okta_error(400, "E0000001", "Api validation failed: 'since' and 'after' exclude each other")
        try:
            page = self.log.query(query, self.page_limit)
        except BadQuery as error:
            return okta_error(400, error.code, error.summary)
        links = [("Link", f'<{request.url}>; rel="self"')]
        if page.caught_up:
            links.append(("Link", f'<{request.url}>; rel="next"'))
        elif page.after is not None:
            following = {"since": iso(int(page.after.partition("_")[0])), **query, "after": page.after}
            self._issued_links.add(frozenset(following.items()))
            links.append(("Link", f'<{request.url.partition("?")[0]}?{urlencode(following)}>; rel="next"'))
        return Answer(200, (("Content-Type", "application/json"), *links), page.body)

    def _refusal(self, request: Request) -> Answer | None:
        """Why this request may not read the log; None if it may."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme in ("Bearer", "DPoP") and self.oauth is not None:
            proof = request.headers.get("dpop")
            refused = self.oauth.refusal(scheme, credential, proof, request.method, request.url, self.clock())
            return None if refused is None else _oauth_answer(*refused)
        if scheme == "SSWS" and secrets.compare_digest(credential.encode(), self.token.encode()):
            return None
        if scheme == "SSWS" and secrets.compare_digest(credential.encode(), self.token_without_permission.encode()):
            return okta_error(403, "E0000006", "You do not have permission to perform the requested action")
        if not scheme:
            return okta_error(401, "E0000005", "Invalid session")
        return okta_error(401, "E0000011", "Invalid token provided")


def _with_headers(answer: Answer, headers: Iterable[tuple[str, str]]) -> Answer:
    """The answer with these headers, in place of any of the same names."""
    added = tuple(headers)
    names = {name.lower() for name, _ in added}
    return replace(answer, headers=(*((n, v) for n, v in answer.headers if n.lower() not in names), *added))


class _RateLimit:
    """So many requests in each window; the first request opens one."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit, self._window = limit, window
        self._lock = threading.Lock()
        self._used, self._reset = 0, 0.0

    def take(self, now: float) -> tuple[int, float]:
        """Count one request. Returns how many remain (-1: this one is too many) and when the window ends."""
        with self._lock:
            if not self._reset - self._window <= now < self._reset:
                self._used, self._reset = 0, now + self._window
            if self._used >= self.limit:
                return -1, self._reset
            self._used += 1
            return self.limit - self._used, self._reset


def _rate_headers(limit: int, remaining: int, reset: float) -> tuple[tuple[str, str], ...]:
    whole = int(reset) + (reset > int(reset))
    return (
        ("X-Rate-Limit-Limit", str(limit)),
        ("X-Rate-Limit-Remaining", str(remaining)),
        ("X-Rate-Limit-Reset", str(whole)),
    )


def _oauth_answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    all_headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"), *(headers or {}).items())
    return Answer(status, all_headers, json.dumps(body).encode())


class _Server(ThreadingHTTPServer):
    """The sockets of a simulated Okta."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, okta: SimulatedOkta, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.okta = okta
        self.stopping = threading.Event()
        self.to_reset: set[socket.socket] = set()
        self._connections: set[socket.socket] = set()

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.okta.tls is not None:
            # Not the handshake: a client that takes its time would hold up all others.
            connection = self.okta.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        if request in self.to_reset:
            self.to_reset.discard(request)
            # Lingering for no time at all makes the close a reset; an orderly shutdown would end the stream first.
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of this server's."""
        if not self.stopping.is_set():
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle()

    def _serve(self) -> None:
        server = cast("_Server", self.server)
        okta = server.okta
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with okta._lock:
            okta._in_flight += 1
        try:
            self._send(okta._serve(self.command, self.path, headers, body), okta, server)
        finally:
            with okta._lock:
                okta._in_flight -= 1

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def _send(self, answer: Answer, okta: SimulatedOkta, server: _Server) -> None:
        headers = list(answer.headers)
        if not answer.header("date"):
            headers.append(("Date", formatdate(okta.clock(), usegmt=True)))
        if not answer.header("content-length") and not answer.header("transfer-encoding"):
            headers.append(("Content-Length", str(len(answer.body))))
        reason = HTTPStatus(answer.status).phrase if answer.status in HTTPStatus._value2member_map_ else ""
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers)]
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        body = b"" if self.command == "HEAD" else answer.body[: answer.cut]
        server.stopping.wait(answer.delay)
        size = -(-len(body) // answer.pieces) or 1
        self.connection.sendall(head + body[:size])
        for start in range(size, len(body), size):
            server.stopping.wait(answer.pause)
            self.connection.sendall(body[start : start + size])
        if answer.reset:
            server.to_reset.add(self.connection)
        honest = answer.header("content-length") in ([], [str(len(answer.body))]) and answer.cut is None
        if answer.reset or not honest or answer.header("connection") == ["close"]:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in `SimulatedOkta.requests`."""
