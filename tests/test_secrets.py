"""Secrets: where they may lie, and that they turn up nowhere else, whatever happens.

The second half runs the commands as processes, with canaries for secrets, and looks for them in everything that comes
out: what is said, every byte of the database, the metrics.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa

from poller.demo.okta import Answer, SimulatedOkta, okta_error
from poller.demo.okta_oauth import OAuthApp, key_pair
from poller.errors import SettingsError
from poller.settings import OrgSettings, exposed_file
from tests.command_line import CommandLine, Result

TOKEN = "00canaryOfTheTokenK7mQ2xW9vB4nR8tY1uJ5sD"
HEARTBEAT = "heartbeatCanaryG3hT6kP0qZ8wE2"
PASSWORD = "dbCanary!N5bV1cX7zL3"
PRIVATE, PUBLIC = key_pair()


# ---- where they may lie ----


def token_in(path: Path) -> str | None:
    return OrgSettings(name="acme", org_url="https://acme.okta.com", api_token_file=path).token()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "the token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_secret_file_of_ones_own_is_read(path, mode):
    path.chmod(mode)
    assert token_in(path) == TOKEN


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666, 0o640, 0o660, 0o620])
def test_a_secret_file_that_others_can_read_or_change_is_refused_with_what_to_do(path, mode):
    path.chmod(mode)
    with pytest.raises(SettingsError) as raised:
        token_in(path)
    message = str(raised.value)
    assert message.endswith(f"chmod 600 '{path}'")
    assert f"mode {mode:o}" in message
    assert "API token" in message
    assert TOKEN not in message
    subprocess.run(message[message.index("chmod") :], shell=True, check=True)
    assert token_in(path) == TOKEN


def test_the_same_holds_for_a_private_key(path):
    path.chmod(0o644)
    org = OrgSettings(name="acme", org_url="https://acme.okta.com", client_id="0oa1", private_key_file=path)
    with pytest.raises(SettingsError, match=r"private key .*chmod 600"):
        org.key()


def test_a_link_counts_as_what_it_leads_to(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    path.chmod(0o600)
    assert token_in(link) == TOKEN
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod"):
        token_in(link)


@pytest.fixture
def another_group(path: Path) -> int:
    """The file's new group: one that is not the primary group of who runs this."""
    groups = [1] if os.geteuid() == 0 else [group for group in os.getgroups() if group != os.getegid()]
    if not groups:
        pytest.skip("this user is in no other group")
    os.chown(path, -1, groups[0])
    return groups[0]


def test_a_group_that_was_chosen_for_a_file_may_read_it_and_not_change_it(path, another_group):
    path.chmod(0o640)
    assert token_in(path) == TOKEN
    for mode in (0o660, 0o644):
        path.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 640"):
            token_in(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("mode", [0o440, 0o640])
def test_a_file_of_another_user_that_our_group_may_read_is_read(path, mode):
    os.chown(path, 65534, -1)
    path.chmod(mode)
    assert token_in(path) == TOKEN
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 640"):
        token_in(path)


def test_what_systemd_hands_to_a_service_is_read_whatever_its_mode(path, tmp_path, monkeypatch):
    path.chmod(0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    with pytest.raises(SettingsError, match="chmod"):
        token_in(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert token_in(path) == TOKEN


def test_a_secret_may_come_through_a_pipe():
    ours, theirs = os.pipe()
    os.write(theirs, TOKEN.encode())
    os.close(theirs)
    assert token_in(Path(f"/dev/fd/{ours}")) == TOKEN
    os.close(ours)


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        (f'okta_api_token = "{TOKEN}"', True),
        ('okta_private_key = "-----BEGIN"', True),
        (f'[[orgs]]\nname = "acme"\norg_url = "https://acme.okta.com"\napi_token = "{TOKEN}"', True),
        (f'[[orgs]]\nname = "acme"\norg_url = "https://acme.okta.com"\nprivate_key = "{TOKEN}"', True),
        (f'database_url = "postgresql://poller:{PASSWORD}@db.example/poller"', True),
        (f'database_url = "postgresql://poller@db.example/poller?password={PASSWORD}"', True),
        ('database_url = "postgresql://poller@db.example:5432/poller"', False),
        ('okta_api_token_file = "/run/secrets/token"', False),
        ('[[orgs]]\nname = "acme"\norg_url = "https://acme.okta.com"\napi_token_file = "/run/secrets/token"', False),
        ("okta_api_token = 7", True),
        ("orgs = 7", False),
    ],
)
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "found"])
def test_a_toml_file_with_a_secret_in_it_should_be_closed(tmp_path, monkeypatch, text, is_secret, is_named):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "poller.toml"
    config.write_text(text)
    if is_named:
        monkeypatch.setenv("POLLER_CONFIG", str(config))
    config.chmod(0o600)
    assert exposed_file() is None
    config.chmod(0o644)
    exposed = exposed_file()
    assert (exposed is not None) == is_secret
    check_absent({TOKEN, PASSWORD}, exposed or "")
    assert not is_secret or f"chmod 600 {config if is_named else 'poller.toml'}" in (exposed or "")


def test_a_toml_file_that_others_can_read_is_used_and_pointed_out(tmp_path):
    with SimulatedOkta() as okta:
        org = f'[[orgs]]\nname = "acme"\norg_url = "{okta.url}"\napi_token = "{okta.token}"\n'
        (tmp_path / "poller.toml").write_text(org)
        (tmp_path / "poller.toml").chmod(0o644)
        poller = CommandLine(tmp_path, {})
        told = poller("doctor")
        assert told.code == 0
        assert re.search(r"^note .*chmod 600 poller.toml$", told.out, re.MULTILINE)
        ran = poller("run", "--once")
        assert ran.code == 0
        assert "settings.exposed" in ran.err
        assert okta.token not in told.out + told.err + ran.out + ran.err


def test_an_open_secret_file_is_wrong_settings_to_every_command(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    poller = CommandLine(
        tmp_path, {"POLLER_OKTA_ORG_URL": "https://acme.okta.com", "POLLER_OKTA_API_TOKEN_FILE": "token"}
    )
    told = poller("doctor")
    assert told.code == 1
    assert re.search(r"^wrong .*chmod 600 token$", told.out, re.MULTILINE)


# ---- that they turn up nowhere else ----


def forms(secret: str) -> set[str]:
    """How a secret could be written: as it is, packed, escaped, and in part."""
    text = secret.encode()
    # Within longer base64, a text looks one of three ways: by how many bytes are before it. Its ends depend on those.
    shifted = {base64.b64encode(b"x" * shift + text)[4:-4].decode() for shift in range(3)}
    whole = {secret, quote(secret, safe=""), text.hex(), json.dumps(secret)[1:-1], *shifted}
    return {*whole, *(form.translate(str.maketrans("+/", "-_")) for form in shifted), secret[:12], secret[-12:]}


def key_forms(pem: str) -> set[str]:
    """The lines of a private key, but for the first, which is the same in many; and its secret number as in a JWK."""
    from jwcrypto.jwk import JWK

    lines = pem.strip().splitlines()[2:-1]
    jwk = json.loads(JWK.from_pem(pem.encode()).export_private())
    return {form for line in lines for form in (line, line[:12], line[-12:])} | {
        jwk[name][:12] for name in ("d", "p", "q")
    }


def check_absent(secrets: set[str], *places: str | bytes) -> None:
    """None of the secrets in any of the places. Which one it is, is not shown: a log of tests is a place too."""
    for place in places:
        data = place.encode("utf-8", "replace") if isinstance(place, str) else place
        leaked = [number for number, secret in enumerate(sorted(secrets)) if secret.encode() in data]
        assert not leaked, f"secrets {leaked} in {data[:60]!r}..."


def bytes_of(folder: Path) -> list[bytes]:
    """Every database file in a folder, as it lies there, with its journal."""
    return [path.read_bytes() for path in folder.iterdir() if ".db" in path.name]


def texts_of(url: str) -> str:
    """Everything in a Postgres database, in text and with bytes in hex."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = current_schema()").fetchall()
        rows = [row for (table,) in tables for row in connection.execute(f'select t::text from "{table}" t').fetchall()]
    text = "\n".join(str(row) for row in rows)
    packed = (bytes.fromhex(digits).decode("utf-8", "replace") for digits in re.findall(r"\\x((?:[0-9a-f]{2})+)", text))
    return "\n".join([text, *packed])


def event(number: int) -> dict:
    published = datetime.now(UTC) - timedelta(minutes=30) + timedelta(seconds=number)
    return {"uuid": f"event-{number}", "published": published.isoformat(), "eventType": "user.session.end"}


# Runs a command in a process where every library speaks at its loudest, the okta SDK too, and where what is sent goes
# wrong in a way that nobody foresaw, if that is asked for: with an exception that holds the whole request.
LOUD = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import okta.logger
okta.logger.setup_logging(logging.DEBUG)
logging.getLogger("okta-sdk-python").disabled = False
"""
UNFORESEEN = """
import aiohttp

async def broken(self, method, url, **more):
    raise RuntimeError(f"{method} {url} {more}")

aiohttp.ClientSession._request = broken
"""
MAIN = """
from poller.cli import main
main()
"""

WAYS = {
    "as usual": {},
    "debug": {"POLLER_LOG_LEVEL": "debug"},
    "debug in JSON": {"POLLER_LOG_LEVEL": "debug", "POLLER_LOG_FORMAT": "json"},
    "asyncio in debug": {"POLLER_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"},
}
COMMANDS = (("run", "--once"), ("doctor",), ("backfill", "--since", "1h"), ("status",), ("findings",))


def run(poller: CommandLine, code: str, *words: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=poller.folder,
        env=poller.environment,
        capture_output=True,
        timeout=120,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def said(*results: Result) -> list[str]:
    return [text for result in results for text in (result.out, result.err)]


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    app = OAuthApp("0oaCanary", PUBLIC, require_dpop=True, nonce_on_api=True)
    with SimulatedOkta([event(number) for number in range(5)], oauth=app, rate_limit=10_000) as server:
        server.token = TOKEN
        yield server


@pytest.fixture
def with_token(tmp_path: Path, okta: SimulatedOkta) -> CommandLine:
    return CommandLine(
        tmp_path,
        {
            "POLLER_DATABASE_URL": f"sqlite:///{tmp_path}/poller.db",
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_ORG_NAME": "acme",
            "POLLER_OKTA_API_TOKEN": TOKEN,
            "POLLER_HEARTBEAT_URL": f"{okta.url}/ping/{HEARTBEAT}",
            "POLLER_POLL_INTERVAL": "200ms",
            "POLLER_HEALTH_ADDRESS": "off",
        },
    )


@pytest.fixture
def with_file(with_token: CommandLine) -> CommandLine:
    """The token in a file: nothing that looks for it in the environment can know it."""
    path = with_token.folder / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    rest = {name: value for name, value in with_token.settings.items() if name != "POLLER_OKTA_API_TOKEN"}
    return replace(with_token, settings={**rest, "POLLER_OKTA_API_TOKEN_FILE": str(path)})


@pytest.fixture(params=["PEM", "JWK"])
def with_key(request: pytest.FixtureRequest, with_token: CommandLine) -> CommandLine:
    from jwcrypto.jwk import JWK

    key = PRIVATE if request.param == "PEM" else JWK.from_pem(PRIVATE.encode()).export_private()
    rest = {name: value for name, value in with_token.settings.items() if name != "POLLER_OKTA_API_TOKEN"}
    return replace(with_token, settings={**rest, "POLLER_OKTA_CLIENT_ID": "0oaCanary", "POLLER_OKTA_PRIVATE_KEY": key})


@pytest.mark.parametrize("way", WAYS)
def test_a_token_and_a_heartbeat_url_stay_what_they_are(with_file, okta, way):
    poller = with_file.having(**WAYS[way])
    results = [run(poller, LOUD + MAIN, *words) for words in COMMANDS]
    assert [result.code for result in results] == [0] * len(COMMANDS)
    assert f"SSWS {TOKEN}" in {request.headers.get("authorization") for request in okta.requests}
    check_absent(forms(TOKEN) | forms(HEARTBEAT), *said(*results), *bytes_of(poller.folder))


def test_a_key_what_it_gets_and_what_it_proves_stay_what_they_are(with_key, okta):
    poller = with_key.having(**WAYS["asyncio in debug"])
    results = [run(poller, LOUD + MAIN, *words) for words in COMMANDS[:2]]
    assert [result.code for result in results] == [0, 0], results[0].err
    access_tokens = set(okta.oauth._tokens)
    assert access_tokens
    proofs = {request.headers["dpop"] for request in okta.requests if "dpop" in request.headers}
    secrets = {form for token in access_tokens for form in forms(token)} | key_forms(PRIVATE) | proofs
    check_absent(secrets | {"PRIVATE KEY", '"d":'}, *said(*results), *bytes_of(poller.folder))


def refusing(okta: SimulatedOkta) -> None:
    """An Okta that repeats in its errors all that it was sent."""
    okta.intercept = lambda request: okta_error(401, "E0000011", f"Invalid {request.headers} {request.body!r}")


def echoing(okta: SimulatedOkta) -> None:
    okta.intercept = lambda request: Answer(
        302, (("Location", f"https://x.example/{request.headers['authorization']}"),), b""
    )


def nobody(okta: SimulatedOkta) -> None:
    okta.stop()


TROUBLES = {"refused": refusing, "sent elsewhere": echoing, "nobody there": nobody}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_secret_is_shown_when_okta_is_in_the_way(with_file, okta, trouble):
    TROUBLES[trouble](okta)
    poller = with_file.having(POLLER_LOG_LEVEL="debug")
    words = [("doctor",)] if trouble == "nobody there" else COMMANDS[:4]
    results = [run(poller, LOUD + MAIN, *one) for one in words]
    assert results[0].code == 1
    check_absent(forms(TOKEN) | forms(HEARTBEAT), *said(*results), *bytes_of(poller.folder))


@pytest.mark.parametrize("place", ["with_file", "with_token"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_secret_is_shown_by_an_error_that_nobody_foresaw(request, okta, place, level):
    poller = request.getfixturevalue(place).having(POLLER_LOG_LEVEL=level)
    results = [run(poller, LOUD + UNFORESEEN + MAIN, *words) for words in COMMANDS[:4]]
    assert [result.code for result in results] == [1, 1, 1, 0]
    assert "RuntimeError" in results[0].err
    check_absent(forms(TOKEN) | forms(HEARTBEAT), *said(*results), *bytes_of(poller.folder))


def test_no_key_is_shown_by_an_error_that_nobody_foresaw(with_key):
    poller = with_key.having(POLLER_LOG_LEVEL="debug")
    results = [run(poller, LOUD + UNFORESEEN + MAIN, *words) for words in COMMANDS[:2]]
    assert [result.code for result in results] == [1, 1]
    check_absent(key_forms(PRIVATE) | {"PRIVATE KEY"}, *said(*results), *bytes_of(poller.folder))


ALL = frozenset({"users", "apps", "admin roles"})


@pytest.mark.parametrize(
    ("may", "line"),
    [
        (ALL, "note   acme         this API token can also read users, apps and admin roles: use an OAuth app"),
        (frozenset({"users"}), "note   acme         this API token can also read users: use an OAuth app"),
        (frozenset(), "ok     acme         this API token was not let at users"),
    ],
)
def test_the_doctor_says_when_a_token_can_do_more_than_it_needs(with_file, okta, may, line):
    okta.admin_may_read = may
    told = with_file("doctor")
    assert told.code == 0
    assert line in told.out
    assert {request.method for request in okta.requests} == {"GET"}


def test_the_doctor_says_when_an_access_token_has_further_scopes(with_key, okta):
    told = with_key("doctor")
    assert (told.code, "ok     acme         its scope okta.logs.read is just enough" in told.out) == (0, True)
    more = {f"okta.{name}.manage\x1b" for name in ("apps", "groups", "idps", "policies", "roles", "users")}
    okta.oauth.scopes, okta.oauth.grants_all = frozenset({"okta.logs.read", *more}), True
    told = with_key("doctor")
    assert told.code == 0
    assert "granted okta.apps.manage\\x1b, okta.groups.manage" in told.out
    assert "and 1 more too. okta.logs.read is enough" in told.out


def test_a_daemon_with_everything_on_says_and_stores_and_serves_no_secret(with_file, okta):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    poller = with_file.having(**WAYS["asyncio in debug"], POLLER_HEALTH_ADDRESS=address)
    with subprocess.Popen(
        [sys.executable, "-c", LOUD + MAIN, "run"],
        cwd=poller.folder,
        env=poller.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end and len(okta.requests) < 6:
            time.sleep(0.05)
        served = []
        for path in ("livez", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as answer:
                served.append(f"{answer.headers}{answer.read().decode()}")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'poller_events_total{org="acme"} 5.0' in served[-1]
    check_absent(forms(TOKEN) | forms(HEARTBEAT), out, err, *served, *bytes_of(poller.folder))


# ---- the password of the database ----


def test_the_password_of_a_database_is_neither_shown_nor_stored(with_file, new_database):
    plain = new_database("postgres")
    url = sa.make_url(plain).set(password=PASSWORD).render_as_string(hide_password=False)
    poller = with_file.having(POLLER_DATABASE_URL=url, POLLER_LOG_LEVEL="debug")
    results = [run(poller, LOUD + MAIN, *words) for words in COMMANDS]
    assert [result.code for result in results] == [0] * len(COMMANDS)
    stored = texts_of(plain)
    assert "event-4" in stored
    check_absent(forms(TOKEN) | forms(HEARTBEAT) | forms(PASSWORD), *said(*results), stored)


@pytest.mark.parametrize("form", ["postgresql://me:{}@127.0.0.1:1/poller", "postgresql://me@127.0.0.1:1/x?password={}"])
def test_the_password_of_a_database_that_is_not_there_is_not_shown(with_file, form):
    poller = with_file.having(POLLER_DATABASE_URL=form.format(quote(PASSWORD)), POLLER_LOG_LEVEL="debug")
    results = [run(poller, LOUD + MAIN, *words) for words in (("doctor",), ("status",), ("run", "--once"))]
    assert [result.code for result in results] == [1, 1, 1]
    check_absent(forms(TOKEN) | forms(PASSWORD), *said(*results))


@pytest.mark.parametrize(
    "told",
    [
        lambda token: okta_error(401, "E0000011", f"Invalid token provided: {token}"),
        lambda token: okta_error(401, token, "no"),
        lambda token: Answer(302, (("Location", f"https://{token}.example/"),)),
        lambda token: Answer(200, (("Link", f'<https://x.example/{token}>; rel="next"'),), b"[]"),
    ],
    ids=["summary", "code", "host of a redirect", "path of a link"],
)
def test_a_token_that_an_answer_repeats_is_told_by_nobody(tmp_path, told):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    with SimulatedOkta() as okta:
        okta.token = TOKEN
        okta.intercept = lambda _: told(TOKEN)
        poller = CommandLine(
            tmp_path,
            {
                "POLLER_OKTA_ORG_URL": okta.url,
                "POLLER_OKTA_API_TOKEN_FILE": str(path),
                "POLLER_LOG_LEVEL": "debug",
                "POLLER_HEALTH_ADDRESS": "off",
            },
        )
        ran = [poller(*words) for words in (("run", "--once"), ("doctor",), ("status",))]
    everything = "".join(result.out + result.err for result in ran)
    assert ran[0].code == 1
    assert "***" in everything
    assert TOKEN.lower() not in everything.lower()
    assert TOKEN.lower().encode() not in (tmp_path / "poller.db").read_bytes().lower()
