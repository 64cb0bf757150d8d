"""Whether the daemon is well, told to who asks over HTTP and, by a heartbeat, to who waits for a sign of life.

`/livez` and `/readyz` answer 200 `ok`, or 503 and why not; `/metrics` is what poller/metrics.py measures. There is
nothing else, nothing can be changed, and nothing secret is told. A client has three seconds and sixteen kilobytes for
its whole request; whoever is slow, sends rubbish or comes in crowds is cut off, and never delays a poll.
"""

from __future__ import annotations

import http.server
import io
import socket
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import make_wsgi_app
from pydantic import SecretStr

from poller.metrics import REGISTRY
from poller.text import printable

Check = Callable[[], str | None]  # why not, in one line; None: all is well. Asked at each request: it must not wait

THREADS = 16  # requests that are answered at the same time
SECONDS = 3  # that a client has to send its request, and again to take the answer
MOST_BYTES = 16384  # of a request
PATIENCE = 10  # seconds that a heartbeat waits for an answer

logger = structlog.get_logger()


class Health:
    """Serves `/livez`, `/readyz` and `/metrics` on `address`, (host, port); None serves nothing."""

    def __init__(self, address: tuple[str, int] | None, is_alive: Check, is_ready: Check) -> None:
        self._wanted = address
        self._checks = {"/livez": is_alive, "/readyz": is_ready}
        self._server: _Server | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it serves: the port is the one that was free where 0 was asked for. None while it does not."""
        return self._server.bound if self._server else None

    def start(self) -> None:
        """Serve from threads of its own. Where the address can't be had, a warning says so, and that is all."""
        if self._wanted is None:
            return
        host, port = self._wanted
        try:
            self._server = _Server((host, port), self._checks)
        except OSError as error:
            logger.warning(
                "health.unavailable",
                address=_shown(host, port),
                reason=error.strerror or str(error),
                todo="polling goes on without /livez, /readyz and /metrics; "
                "set POLLER_HEALTH_ADDRESS to a free address, or to off",
            )
            return
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        logger.info("health.started", address=_shown(*self._server.bound))

    def stop(self) -> None:
        """Take no more requests. Waits for nothing."""
        server, self._server = self._server, None
        if server is not None:
            threading.Thread(target=server.end, name="health-end", daemon=True).start()


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], checks: dict[str, Check]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.checks = checks
        self.metrics = make_wsgi_app(REGISTRY)
        self._free = threading.BoundedSemaphore(THREADS)
        super().__init__(address, _Request)
        self.bound = address[0], int(self.server_address[1])

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # out of file descriptors: asking at once again would burn a core
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # those are clients that went away
            logger.error("health.request_failed", exc_info=True)


class _Request(http.server.BaseHTTPRequestHandler):
    """One request, then the connection ends (HTTP/1.0)."""

    server: _Server
    timeout = SECONDS
    path: str

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Limited(self.connection))

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/metrics":
            self._metrics(query)
        elif path in self.server.checks:
            reason = self.server.checks[path]()
            self._answer(503 if reason else 200, reason or "ok")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _metrics(self, query: str) -> None:
        accept, encoding = (" ".join(self.headers.get(name, "").split()) for name in ("Accept", "Accept-Encoding"))
        try:
            body, headers = self._measured(query, accept, encoding)
        except TypeError:  # the library stumbles over odd versions in it
            body, headers = self._measured(query, "", encoding)
        self._send(200, body, headers)

    def _measured(self, query: str, accept: str, encoding: str) -> tuple[bytes, dict[str, str]]:
        """The metrics in the format and encoding that were asked for, with the headers that say which."""
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "QUERY_STRING": query}
        environ |= {"HTTP_ACCEPT": accept, "HTTP_ACCEPT_ENCODING": encoding}
        headers: dict[str, str] = {}
        body = b"".join(self.server.metrics(environ, lambda _, pairs: headers.update(pairs)))
        return body, headers

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The library's own page would repeat what the client sent."""
        code = 405 if code == 501 else code
        self._answer(code, HTTPStatus(code).phrase, {"Allow": "GET, HEAD"} if code == 405 else {})

    def _answer(self, code: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = (printable(text) + "\n").encode()
        self._send(code, body, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.close_connection = True
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "poller"

    def log_message(self, format: str, *args: Any) -> None:
        """Who asks is nothing to log."""


class _Limited(io.RawIOBase):
    """What a client sends, as long as it has time and bytes left: dripping buys nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = time.monotonic() + SECONDS
        self._left = MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._connection.settimeout(remaining)
        try:
            size = self._connection.recv_into(memoryview(buffer)[: self._left])
        finally:
            self._connection.settimeout(SECONDS)
        self._left -= size
        return size


class Heartbeat:
    """Calls `url` after good cycles; None calls nothing. The URL is a secret: only its host is ever told."""

    def __init__(self, url: SecretStr | None) -> None:
        self._url = url.get_secret_value() if url is not None else None
        self._host = urlsplit(self._url or "").hostname
        # As everywhere in Python, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE have their say.
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._opener.addheaders = [("User-Agent", "okta-poller")]
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._is_failing = False
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Call it in the background, unless a call is under way."""
        if self._url is None:
            return
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                if time.monotonic() - self._began > PATIENCE:
                    self._failed(f"no whole answer within {PATIENCE} s")
                return
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._call, name="heartbeat", daemon=True)
            self._thread.start()

    def beat_now(self, stop: threading.Event) -> None:
        """Call it, and wait for the answer: 10 s at most, and no longer than until `stop` is set."""
        self.beat()
        end = time.monotonic() + PATIENCE
        while self._thread is not None and self._thread.is_alive() and time.monotonic() < end and not stop.is_set():
            self._thread.join(0.05)

    def _call(self) -> None:
        try:
            with self._opener.open(self._url or "", timeout=PATIENCE):
                pass
        except urllib.error.HTTPError as error:
            with error:
                where = ", which is not followed" if 300 <= error.code < 400 else ""
                self._failed(f"it answered {error.code}{where}")
        except Exception as error:  # a library's texts may hold the address: only kinds and system errors are told
            self._failed(_reason(error))
        else:
            if self._is_failing:
                logger.info("heartbeat.recovered", host=self._host)
            self._is_failing = False

    def _failed(self, reason: str) -> None:
        """Say so when it is new, not at each beat."""
        if not self._is_failing:
            logger.warning("heartbeat.failed", host=self._host, reason=reason)
        self._is_failing = True


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _reason(error: BaseException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {PATIENCE} s"
    told = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    return f"{type(cause).__name__}: {told}" if told else type(cause).__name__
