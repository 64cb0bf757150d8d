"""The daemon as a process, polling simulated orgs over real HTTP into a real database, until a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from poller import schema
from poller.daemon import run_once
from poller.demo.okta import Answer, SimulatedOkta, okta_error, too_many_requests
from poller.errors import SettingsError
from poller.settings import OrgSettings, Settings, load
from poller.store import Store
from tests.delivery import found, push_fatigue

NOW = datetime.now(UTC).replace(microsecond=0)

# What `poller run` does, with settings from the environment as it reads them.
RUN = """
import sys
from poller import daemon, log, settings
from poller.rules import load_rules
from poller.store import Store
chosen = settings.load()
log.configure("json", chosen.log_level)
with Store(chosen.database_url) as store:
    code = getattr(daemon, sys.argv[1])(chosen, store, load_rules(chosen.rules))
print("ended")
sys.exit(code or 0)
"""


def event(number: int, **fields) -> dict:
    return {
        "uuid": f"event-{number}",
        "published": (NOW - timedelta(hours=6) + timedelta(seconds=number)).isoformat(),
        "eventType": "user.session.end",
        "actor": {"id": "00u1", "type": "User", "alternateId": "alice@acme.example"},
        "outcome": {"result": "SUCCESS"},
        "transaction": {"id": f"transaction-{number}"},
        **fields,
    }


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    with SimulatedOkta() as server:
        yield server


@pytest.fixture
def start(database_url, tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the daemon (or `run_once`) for some orgs; it is killed when the test is over."""
    processes = []

    def started(
        *orgs: SimulatedOkta, what: str = "run", interval: str = "200ms", level: str = "info"
    ) -> subprocess.Popen[str]:
        config = tmp_path / "poller.toml"
        config.touch(0o600)
        config.write_text(
            "".join(
                f'[[orgs]]\nname = "org-{number}"\norg_url = "{org.url}"\napi_token = "{org.token}"\n'
                for number, org in enumerate(orgs)
            )
        )
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, what],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(__file__).parent.parent),
                "POLLER_CONFIG": str(config),
                "POLLER_DATABASE_URL": database_url,
                "POLLER_POLL_INTERVAL": interval,
                "POLLER_LOG_LEVEL": level,
                "POLLER_HEALTH_ADDRESS": "off",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    """Wait for what has to come; a minute is for a machine that is busy."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def stored(store: Store, org: str = "org-0") -> set[str]:
    with store.reading() as connection:
        return set(connection.scalars(sa.select(schema.events.c.uid).where(schema.events.c.org == org)))


def last_error(store: Store, org: str = "org-0") -> str | None:
    with store.reading() as connection:
        return connection.scalar(sa.select(schema.orgs.c.last_error).where(schema.orgs.c.org == org))


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, list[dict]]:
    """Exit code, standard output and log lines once the process has been signalled."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_polls_on_until_a_signal_and_then_returns(start, store, okta, number):
    okta.append([event(0)])
    process = start(okta)
    until(lambda: stored(store) == {"event-0"})
    okta.append(
        [
            event(1, eventType="user.mfa.okta_verify.deny_push"),
            event(2, eventType="user.mfa.okta_verify.deny_push"),
            event(
                3,
                eventType="user.authentication.auth_via_mfa",
                debugContext={"debugData": {"factor": "OKTA_VERIFY_PUSH"}},
            ),
        ]
    )
    until(lambda: found(store))
    code, out, lines = ended(process, number)
    assert (code, out) == (0, "ended\n")
    assert lines[-1]["event"] == "daemon.stopped"
    assert okta.token not in json.dumps(lines)


@pytest.mark.parametrize(
    "answer",
    [Answer(delay=300), Answer(body=b"[" + b" " * 300, pieces=300, pause=1), too_many_requests(time.time() + 290)],
    ids=["in a request", "in a dripping body", "in a wait"],
)
def test_a_signal_ends_it_in_the_middle_of_anything(start, okta, answer):
    okta.intercept = lambda _: answer
    process = start(okta)
    until(lambda: okta.requests)
    code, out, lines = ended(process)
    assert (code, out) == (0, "ended\n")
    assert "cut_off" not in lines[-1]


def test_a_page_that_cannot_be_finished_in_time_is_cut_off_and_fetched_again(start, store, okta):
    okta.append([event(0)])
    may_answer = threading.Event()
    okta.intercept = lambda _: may_answer.wait(60) and None
    process = start(okta)
    until(lambda: okta.requests)
    with store.writing() as connection:  # nobody else can write meanwhile
        if store.is_postgres:
            connection.execute(sa.text("lock table orgs in exclusive mode"))
        may_answer.set()
        time.sleep(1)  # it has the page in hand by now, and can't store it
        code, _, lines = ended(process)
    assert (code, lines[-1]["cut_off"]) == (0, True)
    start(okta)
    until(lambda: stored(store) == {"event-0"})


def test_a_process_that_was_killed_goes_on_without_a_gap_or_a_repeat(start, store, okta):
    okta.append([event(number) for number in range(3500)])
    process = start(okta)
    until(lambda: stored(store))
    process.kill()
    process.wait()
    start(okta)
    until(lambda: len(stored(store)) == 3500)
    with store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.events)) == 3500


def test_an_org_that_fails_holds_no_other_back_and_is_logged_once(start, store, okta):
    with SimulatedOkta([event(0)]) as broken:
        broken.intercept = lambda _: okta_error(403, "E0000006", "You do not have permission")
        process = start(broken, okta)
        until(lambda: len(broken.requests) > 3)
        okta.append([event(1)])
        until(lambda: stored(store, "org-1") == {"event-1"})
        assert "403 E0000006" in (last_error(store) or "")
        broken.intercept = None
        until(lambda: stored(store) == {"event-0"})
        until(lambda: last_error(store) is None)
        until(lambda: len(broken.requests) > 8)
        code, _, lines = ended(process)
    assert code == 0
    assert [line["event"] for line in lines if line.get("org") == "org-0"] == [
        "org.failed",
        "page.stored",
        "org.recovered",
    ]


def test_many_orgs_that_do_not_answer_hold_no_other_back(start, store, okta):
    okta.append([event(0)])
    with SimulatedOkta() as silent:
        silent.intercept = lambda _: Answer(delay=300)
        process = start(*[silent] * 25, okta, interval="1s")
        until(lambda: stored(store, "org-25"))
        assert ended(process)[0] == 0


def test_a_poll_that_outlasts_its_interval_is_not_run_twice_nor_warned_of(start, okta):
    okta.intercept = lambda request: replace(okta.answer(request), delay=1)
    process = start(okta, interval="100ms")
    until(lambda: len(okta.requests) == 3)
    _, _, lines = ended(process)
    assert okta.max_in_flight == 1
    assert {line["level"] for line in lines} == {"info"}


def test_no_token_is_in_what_it_says_even_when_it_says_everything(start, store, okta):
    """Refused, told the token back, sent astray, cut off, and stored: at debug level."""
    okta.append([event(0)])
    okta.answer_next(
        Answer(302, (("Location", f"{okta.url}/?token={okta.token}"),)),
        Answer(body=b'[{"uu', cut=3),
        lambda request: None,
        okta_error(401, "E0000011", f"Invalid token provided: SSWS {okta.token}"),
    )
    process = start(okta, interval="1s", level="debug")
    until(lambda: "(401 E0000011: Invalid token provided: SSWS ***)" in (last_error(store) or ""))
    _, _, lines = ended(process)
    assert {"org.failed", "request.failed", "page.stored"} <= {line["event"] for line in lines}
    assert okta.token not in json.dumps(lines)


@pytest.mark.parametrize("name", ["poll_interval", "initial_lookback", "retention"])
def test_a_duration_beyond_all_time_is_a_settings_error(name):
    with pytest.raises(SettingsError, match=f"POLLER_{name.upper()}: '1000000d' is longer than a thousand years"):
        load(**{name: "1000000d"})
    assert getattr(load(**{name: "100000d"}), name) == timedelta(days=100_000)


# ---- once ----


def settings_for(*orgs: OrgSettings) -> Settings:
    return Settings(orgs=orgs)


def org_of(okta: SimulatedOkta, name: str = "org-0", token: str | None = None) -> OrgSettings:
    return OrgSettings(name=name, org_url=okta.url, api_token=token or okta.token)


def test_once_is_done_when_every_org_is_caught_up(store, okta):
    okta.append([event(number) for number in range(1200)])
    with SimulatedOkta([event(0)]) as other:
        assert run_once(settings_for(org_of(okta), org_of(other, "org-1")), store, push_fatigue()) == 0
    assert (len(stored(store)), len(stored(store, "org-1"))) == (1200, 1)


def test_once_says_so_when_an_org_could_not_be_polled_and_polls_the_rest(store, okta):
    okta.append([event(0)])
    orgs = settings_for(org_of(okta, "bad", token="wrong"), org_of(okta))
    assert run_once(orgs, store, push_fatigue()) == 1
    assert stored(store) == {"event-0"}
    assert "POLLER_OKTA_API_TOKEN" in (last_error(store, "bad") or "")


def test_once_deletes_what_is_older_than_the_retention_in_the_first_run_of_an_hour(store, okta):
    old = event(1, published=(NOW - timedelta(days=91)).isoformat())
    okta.append([old, event(0)], persisted=int(time.time() * 1000))
    assert run_once(settings_for(org_of(okta)), store, push_fatigue()) == 0
    assert stored(store) == {"event-0", "event-1"}
    with store.writing() as connection:
        connection.execute(sa.update(schema.orgs).values(last_poll_time=NOW - timedelta(hours=1)))
    assert run_once(settings_for(org_of(okta)), store, push_fatigue()) == 0
    assert stored(store) == {"event-0"}


def test_a_signal_ends_once_in_the_middle_of_a_request(start, okta):
    okta.intercept = lambda _: Answer(delay=300)
    process = start(okta, what="run_once")
    until(lambda: okta.requests)
    code, out, lines = ended(process)
    assert (code, out, lines) == (1, "ended\n", [])
