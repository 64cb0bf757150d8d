"""Health endpoints and heartbeat, over real HTTP."""

from __future__ import annotations

import gzip
import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pydantic import SecretStr

from poller import health, metrics
from poller.errors import SettingsError
from poller.health import Health, Heartbeat
from poller.settings import Settings, load

LOOPBACK = ("127.0.0.1", 0)
PAYLOADS = ['a"b', "back\\slash", "new\nline", "\x1b]0;title\x07", "\u202eevil", "{org=", "\x00", "ü" * 5000, "</pre>"]


def well() -> None:
    return None


@contextmanager
def serving(
    address: tuple[str, int] | None = LOOPBACK,
    is_alive: Callable[[], str | None] = well,
    is_ready: Callable[[], str | None] = well,
) -> Iterator[Health]:
    served = Health(address, is_alive, is_ready)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def served() -> Iterator[Health]:
    with serving() as health:
        yield health


def ask(served: Health, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, body (unpacked) and headers of one answer."""
    assert served.address is not None
    with closing(http.client.HTTPConnection(*served.address, timeout=30)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        if answer.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        return answer.status, body.decode(), answer.headers


def send(served: Health, data: bytes) -> bytes:
    """All that is answered to these bytes."""
    assert served.address is not None
    with socket.create_connection(served.address, timeout=30) as connection:
        connection.sendall(data)
        return received(connection)


def received(connection: socket.socket) -> bytes:
    answer = b""
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return answer
        if not part:
            return answer
        answer += part


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- endpoints ----


def test_who_is_well_says_ok(served: Health) -> None:
    for path in ("/livez", "/readyz"):
        assert ask(served, path)[:2] == (200, "ok\n")


def test_who_is_not_says_why_in_one_printable_line() -> None:
    why = ["the database postgresql://db failed: \x1b[31mred\nand more"]
    with serving(is_ready=lambda: why[0] if why else None) as served:
        assert ask(served, "/livez")[:2] == (200, "ok\n")
        status, body, headers = ask(served, "/readyz")
        assert (status, body) == (503, "the database postgresql://db failed: \\x1b[31mred\\nand more\n")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        why.clear()
        assert ask(served, "/readyz")[0] == 200


def test_each_endpoint_asks_its_own_question() -> None:
    with serving(is_alive=lambda: "no poll ends", is_ready=well) as served:
        assert (ask(served, "/livez")[:2], ask(served, "/readyz")[0]) == ((503, "no poll ends\n"), 200)


@pytest.mark.parametrize("path", ["/livez", "/metrics"])
def test_head_is_get_without_the_body(served: Health, path: str) -> None:
    status, body, headers = ask(served, path, "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/livez/../metrics", "/favicon.ico", "/<script>", "/%2e", "//livez"]
)
def test_there_is_nothing_else_and_what_was_asked_is_not_repeated(served: Health, path: str) -> None:
    status, body, _ = ask(served, path)
    assert (status, body) == ((404, "Not Found\n") if path != "//livez" else (200, "ok\n"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "<B>"])
def test_nothing_can_be_done_but_to_read(served: Health, method: str) -> None:
    status, body, headers = ask(served, "/livez", method)
    assert (status, body, headers["Allow"]) == (405, "Method Not Allowed\n", "GET, HEAD")


def test_no_answer_tells_versions(served: Health) -> None:
    for path in ("/livez", "/metrics", "/nothing"):
        _, _, headers = ask(served, path)
        assert headers["Server"] == "poller"
        assert sys.version.split()[0] not in str(headers)


def test_ipv6_is_served_too() -> None:
    with serving(("::1", 0)) as served:
        if served.address is None:
            pytest.skip("this machine has no IPv6")
        assert ask(served, "/livez")[0] == 200


def test_off_serves_nothing() -> None:
    with serving(None) as served:
        assert served.address is None


def test_an_address_that_is_taken_is_a_warning_that_says_what_to_do(served: Health) -> None:
    assert served.address is not None
    with structlog.testing.capture_logs() as lines, serving(served.address) as second:
        assert second.address is None
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("health.unavailable", "warning")
    assert line["address"] == f"127.0.0.1:{served.address[1]}"
    assert "POLLER_HEALTH_ADDRESS" in line["todo"]
    assert ask(served, "/livez")[0] == 200


def test_a_name_that_leads_nowhere_is_such_a_warning_too() -> None:
    with structlog.testing.capture_logs() as lines, serving(("no-such-host.invalid", 9787)):
        assert [line["event"] for line in lines] == ["health.unavailable"]


def test_the_address_is_free_again_after_a_stop() -> None:
    with serving() as served:
        address = served.address
        assert address is not None
        assert ask(served, "/livez")[0] == 200
    until(lambda: socket.socket().connect_ex(address) != 0)
    with serving(address) as again:
        assert again.address == address


# ---- clients that mean no good ----


def test_a_client_that_says_nothing_is_cut_off(served: Health) -> None:
    assert send(served, b"") == b""


def test_dripping_buys_no_time(served: Health) -> None:
    assert served.address is not None
    with socket.create_connection(served.address) as connection:
        connection.settimeout(0.05)
        assert any(is_cut_off(connection) for _ in range(1200)), "a minute of letters, and still listened to"


def is_cut_off(connection: socket.socket) -> bool:
    """Whether one more letter finds the other side gone."""
    try:
        connection.sendall(b"a")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"y" * 1_000_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"\r\n\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET\x00/livez HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;\r\n version=1\r\n\tX-Other: 1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=x\r\n\r\n",
        b"GET /metrics?name[]=%ff%00&&&= HTTP/1.1\r\nAccept-Encoding: gzip;q=x\r\n\r\n",
        "GET /ü HTTP/1.1\r\nAccept: \xff\r\n\r\n".encode("latin-1"),
    ],
    ids=range(11),
)
def test_rubbish_is_refused_quietly_and_does_no_harm(
    served: Health, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = send(served, data)
        assert b"X-Other" not in answer
        assert ask(served, "/livez")[0] == 200
    assert lines == []
    assert capfd.readouterr() == ("", "")


def test_a_crowd_is_answered_as_far_as_there_is_room_and_soon_forgotten(served: Health) -> None:
    assert served.address is not None
    crowd = [socket.create_connection(served.address, timeout=30) for _ in range(200)]
    threads = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    assert len(threads) <= health.THREADS
    for connection in crowd:
        assert received(connection) == b""  # cut off: at once or when its time is over
        connection.close()
    until(lambda: ask(served, "/livez")[0] == 200)


def test_who_does_not_wait_for_the_answer_is_not_logged(served: Health) -> None:
    assert served.address is not None
    with structlog.testing.capture_logs() as lines:
        for _ in range(20):
            with socket.create_connection(served.address) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # ends in a reset
                connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert ask(served, "/livez")[0] == 200
    assert lines == []


def test_a_bug_in_a_check_is_logged_and_is_no_ok() -> None:
    def broken() -> str | None:
        raise LookupError("a bug")

    with structlog.testing.capture_logs() as lines, serving(is_ready=broken) as served:
        assert send(served, b"GET /readyz HTTP/1.1\r\n\r\n") == b""
        assert [line["event"] for line in lines if line["log_level"] == "error"] == ["health.request_failed"]
        assert ask(served, "/livez")[0] == 200


# ---- metrics ----


def test_metrics_are_told_in_both_formats_packed_or_not(served: Health) -> None:
    metrics.PAGES.labels("both formats").inc(3)
    _, text, headers = ask(served, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=")
    samples = [sample for family in parse_text(text) for sample in family.samples]
    assert [s.value for s in samples if (s.name, s.labels) == ("poller_pages_total", {"org": "both formats"})] == [3]
    _, packed, headers = ask(served, "/metrics", Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert 'org="both formats"' in packed
    _, text, headers = ask(served, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "poller_pages" in {family.name for family in parse_openmetrics(text)}


@pytest.mark.parametrize("name", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_hostile_name_stays_one_label_of_one_line(served: Health, name: str) -> None:
    metrics.LAG.labels(name).set(7)
    for accept, parse in (("", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)):
        _, text, _ = ask(served, "/metrics", Accept=accept)
        lags = next(family for family in parse(text) if family.name == "poller_lag_seconds")
        assert [sample.value for sample in lags.samples if sample.labels == {"org": name}] == [7]
        assert len([line for line in text.split("\n") if line.startswith("poller_lag_seconds{")]) == len(lags.samples)
    metrics.forget(name)


# ---- heartbeat ----


class Monitor:
    """What a heartbeat calls: answers with `status` once `gate` is open, and keeps the paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        monitor, lock, inside = self, threading.Lock(), [0]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    inside[0] += 1
                    monitor.most_at_once = max(monitor.most_at_once, inside[0])
                    monitor.paths.append(self.path)
                monitor.gate.wait(60)
                with lock:
                    inside[0] -= 1
                self.send_response(monitor.status)
                self.send_header("Location", f"{monitor.url}/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with closing(Monitor()) as monitor:
        yield monitor


def heartbeat(monitor: Monitor) -> Heartbeat:
    return Heartbeat(SecretStr(f"{monitor.url}/ping/the-secret"))


def beat(heart: Heartbeat) -> None:
    heart.beat_now(threading.Event())


def test_a_beat_calls_the_url_in_the_background(monitor: Monitor) -> None:
    monitor.gate.clear()
    heartbeat(monitor).beat()  # returns though nothing is answered yet
    until(lambda: monitor.paths == ["/ping/the-secret"])


def test_beats_do_not_pile_up(monitor: Monitor) -> None:
    monitor.gate.clear()
    heart = heartbeat(monitor)
    for _ in range(50):
        heart.beat()
    until(lambda: monitor.paths)
    monitor.gate.set()
    beat(heart)
    until(lambda: monitor.most_at_once)
    assert monitor.most_at_once == 1
    assert len(monitor.paths) <= 2


def test_without_a_url_nothing_happens() -> None:
    heart = Heartbeat(None)
    heart.beat()
    beat(heart)
    assert [thread for thread in threading.enumerate() if thread.name == "heartbeat"] == []


def test_a_failure_is_logged_once_by_host_alone_and_so_is_its_end(monitor: Monitor) -> None:
    heart = heartbeat(monitor)
    with structlog.testing.capture_logs() as lines:
        monitor.status = 500
        beat(heart)
        beat(heart)
        monitor.status = 200
        beat(heart)
        beat(heart)
    assert [(line["event"], line["host"], line.get("reason")) for line in lines] == [
        ("heartbeat.failed", "127.0.0.1", "it answered 500"),
        ("heartbeat.recovered", "127.0.0.1", None),
    ]
    assert "the-secret" not in str(lines)


def test_a_redirect_is_not_followed(monitor: Monitor) -> None:
    monitor.status = 302
    with structlog.testing.capture_logs() as lines:
        beat(heartbeat(monitor))
    assert monitor.paths == ["/ping/the-secret"]
    assert lines[0]["reason"] == "it answered 302, which is not followed"


@pytest.mark.parametrize("kind", ["nobody listens", "no such host", "no tls", "no http"])
def test_whatever_goes_wrong_raises_nothing_and_tells_no_url(kind: str, monitor: Monitor) -> None:
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: listener.accept()[0].sendall(b"the-secret\r\n\r\n"), daemon=True).start()
    host = {
        "nobody listens": f"http://127.0.0.1:{free.getsockname()[1]}",
        "no such host": "http://no-such-host.invalid",
        "no tls": monitor.url.replace("http:", "https:"),
        "no http": f"http://127.0.0.1:{listener.getsockname()[1]}",
    }[kind]
    with structlog.testing.capture_logs() as lines:
        beat(Heartbeat(SecretStr(f"{host}/the-secret")))
    (line,) = lines
    assert line["event"] == "heartbeat.failed"
    assert line["reason"]
    assert "the-secret" not in str(line)
    free.close()
    listener.close()


def test_waiting_for_the_answer_ends_when_asked_to_stop(monitor: Monitor) -> None:
    monitor.gate.clear()
    stop = threading.Event()
    waiting = threading.Thread(target=heartbeat(monitor).beat_now, args=(stop,))
    waiting.start()
    until(lambda: monitor.paths)
    stop.set()
    waiting.join(60)
    assert not waiting.is_alive()
    assert not monitor.gate.is_set()


def test_neither_a_request_nor_a_heartbeat_holds_up_the_end_of_a_process(monitor: Monitor) -> None:
    monitor.gate.clear()
    program = """
import socket, sys
from pydantic import SecretStr
from poller.health import Health, Heartbeat
health = Health(("127.0.0.1", 0), lambda: None, lambda: None)
health.start()
waiting = socket.create_connection(health.address)
Heartbeat(SecretStr(sys.argv[1])).beat()
sys.stdin.readline()
health.stop()
print("ended", file=sys.stderr)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, monitor.url],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as process:
        until(lambda: monitor.paths)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0
        assert not monitor.gate.is_set()  # it would have waited for this


# ---- settings ----


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9787", ("127.0.0.1", 9787)),
        ("[::1]:9787", ("::1", 9787)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:80", ("localhost", 80)),
        (" off ", None),
    ],
)
def test_an_address_is_a_host_and_a_port_or_off(
    text: str, address: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLLER_HEALTH_ADDRESS", text)
    assert load().health_address == address


@pytest.mark.parametrize(
    "value",
    [
        *("9787", ":9787", "::1:9787", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:port"),
        *("on", "", "http://127.0.0.1:9787", "127.0.0.1:9787/metrics", "user@127.0.0.1:9787", "127.0.0.1 :9787", 9787),
    ],
)
def test_what_is_no_address_is_a_settings_error_that_shows_one(value: object) -> None:
    with pytest.raises(SettingsError, match=r"POLLER_HEALTH_ADDRESS: give an address .* 127\.0\.0\.1:9787 .* off"):
        load(health_address=value)


def test_health_is_on_loopback_unless_told_otherwise() -> None:
    assert Settings.model_construct().health_address == ("127.0.0.1", 9787)


@pytest.mark.parametrize("url", ["https://monitor.example.net/ping/x?y=z", "http://monitor:8000/", "http://[::1]:1/x"])
def test_a_heartbeat_goes_to_any_web_address(url: str) -> None:
    settings = load(heartbeat_url=url)
    assert settings.heartbeat_url is not None
    assert settings.heartbeat_url.get_secret_value() == url
    assert "monitor" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        *("monitor.example.net/secret", "ftp://monitor/secret", "file:///secret", "https://", "http://a b/secret", ""),
        *("http://monitor:x/secret", "https://me:secret@monitor/", "http://monitor/\r\nX: secret", "http://monitör/"),
    ],
)
def test_what_is_no_web_address_is_a_settings_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^POLLER_HEARTBEAT_URL: give an http or https address") as error:
        load(heartbeat_url=url)
    assert "secret" not in str(error.value)
