"""What attackers type reaches people as text and as nothing else: on terminals, in logs, in CSV, in JSON."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from poller import log
from poller.cli import _unforeseen
from poller.store import Store
from poller.text import csv_cell, printable, to_json, without_secrets
from tests.command_line import NOW, CommandLine, fill
from tests.timelines import ORG, User, record, uid_of

PAYLOADS = {
    "clear screen": "\x1b[2J\x1b[H",
    "window title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "eight-bit control": "\x9b31mred\x9d",
    "backspace": "harmless\b\b\b\b\b\b\b\bharmful",
    "new line": "one\r\npoller: all is well\n",
    "line separators": "one\u2028two\u2029three\x85four",
    "right to left": "\u202etxt.exe\u202c \u2066x\u2069 \u200f",
    "invisible": "ad\u200bmin\ufeff\u2060\u00ad\U000e0041",
    "bell and delete": "\x07\x7f",
    "markup": "[bold red]not bold[/] [link=https://evil.example]x[/link] :smile: [/]",
    "formula": '=HYPERLINK("https://evil.example","x")',
    "formula behind space": " \t+cmd|' /C calc'!A0",
    "quotes and commas": '",\'";=1+1',
    "huge": "A" * 50_000,
}
ALL = "".join(PAYLOADS.values())


# Signs of Arabic, Syriac, Kaithi and Egyptian script that Unicode counts as format characters, though they are seen.
VISIBLE = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]")


def dangerous(text: str) -> set[str]:
    """The characters of a text that are not for display: controls but the line feed, format characters, separators."""
    hidden = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return {char for char in hidden if char != "\n" and not VISIBLE.match(char)}


# ---- one function for each sink ----


@given(st.text(st.characters()))
def test_printable_text_has_nothing_dangerous_and_no_second_line(text: str) -> None:
    assert not dangerous(printable(text))
    assert "\n" not in printable(text)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_payloads_become_visible(payload: str) -> None:
    assert not dangerous(printable(payload))


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("alice@example.com", "Zoë Øvergård", "東京 👩", "naïve – “quoted”", "a\\b", "مرحبا", "C:\\x1b"):
        assert printable(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@sum",
        " =1",
        "\t=1",
        "\r=1",
        "\n=1",
        "\u00a0=1",
        "\u3000=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        "\u2003-1",
    ],
    ids=ascii,
)
def test_no_csv_cell_starts_like_a_formula(text: str) -> None:
    assert csv_cell(text)[0] in "'\\"


@given(st.text(st.characters()))
def test_a_csv_cell_is_one_line_and_never_a_formula(text: str) -> None:
    cell = csv_cell(text)
    assert not re.match(r"[\s\x00]*[=+\-@＝＋－＠]", cell)
    assert len(cell.splitlines()) <= 1


def test_csv_cells_of_other_kinds() -> None:
    assert [csv_cell(value) for value in (None, 3, "x", ["203.0.113.9", "::1"], [])] == [
        "",
        "3",
        "x",
        "203.0.113.9 ::1",
        "",
    ]
    assert csv_cell(["=1", "x"]) == "'=1 x"


@given(st.recursive(st.text(st.characters()) | st.integers() | st.none(), st.lists))
def test_json_is_printable_ascii_and_loses_nothing(value: object) -> None:
    text = to_json(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: SSWS 00abcdefghij-klm_nop", "00abcdefghij"),
        ("{'Authorization': 'Bearer eyJhbGciOi.eyJ.sig'}", "eyJ"),
        ("DPoP: eyJhbGciOi.eyJ.sig", "eyJ"),
        ("can't reach postgresql://poller:hunter2@db.example/poller", "hunter2"),
        ("postgresql://db.example/poller?user=x&password=hunter2&sslmode=require", "hunter2"),
        ("the token is 00environment0token", "00environment0token"),
    ],
)
def test_secrets_are_taken_out_of_what_was_not_foreseen(
    monkeypatch: pytest.MonkeyPatch, text: str, secret: str
) -> None:
    monkeypatch.setenv("POLLER_OKTA_API_TOKEN", "00environment0token")
    assert secret not in without_secrets(text)
    assert "***" in without_secrets(text)


def test_what_is_no_secret_stays() -> None:
    for text in ("sqlite:///poller.db", "https://acme.okta.com/api/v1/logs?after=1", "user@host", "a bearer of news"):
        assert without_secrets(text) == text or "news" in text


# ---- log lines ----


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_log_line_is_one_line_whatever_it_tells(capsys: pytest.CaptureFixture[str], style: str) -> None:
    log.configure(style)
    structlog.get_logger().info(
        "events.stored", text=ALL, nested={"key": [ALL, {ALL: ALL}]}, number=3, other=Path(ALL[:9])
    )
    logging.getLogger("some.library").warning("it said %s", ALL)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert not dangerous(err)
    if style == "json":
        first, second = map(json.loads, err.splitlines())
        assert (first["event"], first["number"], first["level"]) == ("events.stored", 3, "info")
        assert (second["logger"], second["level"]) == ("some.library", "warning")


def test_no_log_line_shows_a_credential(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    try:
        raise ValueError("bad header SSWS 00abcdefghijklmnop")
    except ValueError:
        structlog.get_logger().exception("request.failed", header="SSWS 00abcdefghijklmnop")
    logging.getLogger("some.library").error("sent %s", {"Authorization": "SSWS 00abcdefghijklmnop"})
    err = capsys.readouterr().err
    assert "00abcdefghijklmnop" not in err
    assert "ValueError" in err


def test_an_error_that_nobody_foresaw_is_one_line_and_a_traceback_is_for_who_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError(f"{PAYLOADS['clear screen']}\nSSWS 00abcdefghijklmnop {PAYLOADS['huge']}")
    monkeypatch.delenv("POLLER_LOG_LEVEL", raising=False)
    assert _unforeseen(error) == 1
    quiet = capsys.readouterr().err
    assert re.fullmatch(r"poller: unexpected RuntimeError: .*POLLER_LOG_LEVEL=debug.*\n", quiet)
    monkeypatch.setenv("POLLER_LOG_LEVEL", "debug")
    assert _unforeseen(error) == 1
    loud = capsys.readouterr().err
    assert loud.startswith("RuntimeError") or "Traceback" in loud
    assert not dangerous(quiet + loud)
    assert "00abcdefghijklmnop" not in quiet + loud


# ---- the whole way: from Okta's bytes to a person ----

VICTIM = User("00u\x1b[31m$(reboot)`x`" + PAYLOADS["right to left"], ALL, ALL)
EVIL_UID = "evil\x1b]0;owned\x07';drop table events;--"


def evil_attack() -> list[bytes]:
    """An attack in which every text that an attacker can choose is hostile."""
    put = {
        "client.userAgent": {"rawUserAgent": ALL, "os": ALL, "browser": ALL},
        "client.device": ALL,
        "client.ipAddress": PAYLOADS["formula"],
        "client.geographicalContext": {"city": ALL, "country": PAYLOADS["markup"]},
        "securityContext": {"asOrg": ALL, "asNumber": 1, "isProxy": True},
        "outcome.reason": PAYLOADS["clear screen"],
        "displayMessage": ALL,
    }
    made = [
        record("e1", "push_denied", "09:00:00", user=VICTIM, sign_in="a", put=put),
        record("e2", "push_denied", "09:01:00", user=VICTIM, sign_in="b", put=put),
        record("e3", "push_approved", "09:02:00", user=VICTIM, sign_in="c", put={**put, "uuid": EVIL_UID}),
    ]
    return [item.wire() for item in made]


@pytest.fixture(scope="module")
def poller(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    folder = tmp_path_factory.mktemp("hostile")
    url = f"sqlite:///{folder / 'here.db'}"
    fill(url, evil_attack(), ORG)
    with Store(url) as store:
        store.note_error(ORG, ALL, NOW)
        finding = None
        with store.reading() as connection:
            finding = connection.exec_driver_sql("select uid from findings").scalar()
        assert finding
        store.set_status(finding, "in_progress", None, ALL, datetime.now(UTC))
    return CommandLine(folder, {"POLLER_DATABASE_URL": url, "NO_COLOR": "1"})


@pytest.mark.parametrize(
    "words",
    [
        *("findings", "findings --format table", "findings --format jsonl", "status", "status --format json"),
        *("findings show {uid}", "findings show {uid} --format json", "events show {event}"),
    ],
)
@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_is_sent_nothing_but_text(poller: CommandLine, words: str, columns: int) -> None:
    (finding,) = poller("findings").json()
    shown = poller.on_terminal(*words.format(uid=finding["uid"], event=uid_of("e1")).split(), columns=columns)
    assert shown.strip()
    assert not dangerous(shown)
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "words", ["findings", "findings --format table", "findings --format csv", "findings show {uid}", "status"]
)
def test_a_pipe_is_sent_nothing_but_text(poller: CommandLine, words: str) -> None:
    (finding,) = poller("findings").json()
    result = poller(*words.format(uid=finding["uid"]).split())
    assert (result.code, result.err) == (0, "")
    assert result.out.strip()
    assert not dangerous(result.out.replace("\r\n", "\n"))


def test_the_timeline_and_table_show_markup_as_it_was_typed(poller: CommandLine) -> None:
    (finding,) = poller("findings").json()
    assert "[bold red]not bold[/]" in finding["user_name"]
    page = poller("findings", "show", finding["uid"]).out
    assert "[bold red]not bold[/]" in page


def test_commands_to_copy_do_nothing_but_what_they_say(poller: CommandLine) -> None:
    (finding,) = poller("findings").json()
    page = poller("findings", "show", finding["uid"]).out
    commands = page[page.index("\nNext\n") :]
    assert "--user='00u" in commands
    assert "events show 'evil" in commands


def test_csv_of_hostile_text_is_one_record_without_a_formula(poller: CommandLine) -> None:
    out = poller.bytes("findings", "--format", "csv").stdout.decode()
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert len(rows) == 2
    assert out.count("\r\n") == 2
    assert not any(re.match(r"\s*[=+\-@]", cell) for cell in rows[1])
    assert rows[1][rows[0].index("src_ips")].startswith("'=HYPERLINK")


def test_json_gives_scripts_the_text_verbatim(poller: CommandLine) -> None:
    (finding,) = poller("findings").json()
    assert finding["user_uid"] == VICTIM.uid
    assert finding["trigger_uid"] == EVIL_UID
    assert finding["user_name"].startswith(ALL[:1000])
    assert finding["src_ips"] == [PAYLOADS["formula"]]


def test_the_raw_record_is_verbatim_in_a_pipe_and_laid_out_on_a_terminal(poller: CommandLine) -> None:
    piped = poller.bytes("events", "show", uid_of("e1"))
    assert piped.stdout == evil_attack()[0]
    shown = poller.on_terminal("events", "show", uid_of("e1"))
    assert json.loads(shown) == json.loads(piped.stdout)


@pytest.mark.parametrize("payload", [value for name, value in PAYLOADS.items() if name != "huge"])
def test_words_of_the_command_line_come_back_safely(poller: CommandLine, payload: str) -> None:
    for words in (
        ["rules", "show", payload],
        ["findings", "show", payload],
        [payload],
        ["findings", "--since", payload],
    ):
        result = poller(*words)
        assert result.code == 2, words
        assert re.fullmatch(r"poller: .+\n", result.err), words
        assert not dangerous(result.err)


def test_bytes_that_are_no_text_are_no_trouble(poller: CommandLine) -> None:
    broken = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert poller("findings", "--user", broken).json() == []
    assert poller("findings", "show", broken).code == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_few_characters_loses_none(poller: CommandLine, encoding: str) -> None:
    (finding,) = poller("findings").json()
    result = poller.having(PYTHONIOENCODING=encoding)("findings", "show", finding["uid"])
    assert (result.code, result.err) == (0, "")
