"""What attackers type reaches people as text and as nothing else: on terminals, in logs, in CSV, in JSON."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from poller import log
from poller.cli import _failed, _unforeseen, output
from poller.demo.okta import Answer, Request, SimulatedOkta, okta_error
from poller.errors import MalformedPage
from poller.normalize import CUT_MARK, MAX_TEXT, normalize, split_page
from poller.raw import decompress
from poller.reading import Wanted, reading
from poller.store import Store
from poller.text import csv_cell, printable, to_json, without_secrets
from tests.command_line import NOW, ROOT, CommandLine, fill
from tests.hostile import PAYLOADS
from tests.timelines import ORG, User, record

ALL = "".join(PAYLOADS.values())


def dangerous(text: str) -> set[str]:
    """The characters of a text that are not for display: controls but the line feed, format characters, separators."""
    hidden = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    heap = re.search("[\u0300-\u036f\u20d0-\u20ff]{5}", text)
    return (hidden - {"\n"}) | (set(heap.group()) if heap else set())


# ---- one function for each sink, and no other way out ----


def test_nothing_writes_but_the_log_and_the_one_module_that_commands_write_through() -> None:
    package = ROOT / "poller"
    ways = re.compile(
        r"\bprint\(|std(out|err)(\.buffer)?\.write|\.print\(|\.echo\(|Console\(|PrintLogger|StreamHandler|os\.write"
    )
    writers = {str(path.relative_to(package)) for path in package.rglob("*.py") if ways.search(path.read_text("utf-8"))}
    # Progress bars are rich's own; what they show is made printable where it is given.
    bars = {"cli/operate.py", "cli/copy.py", "cli/rule_history.py"}
    assert writers <= {"cli/__init__.py", "cli/output.py", "log.py"} | bars
    assert "cli/output.py" in writers


@given(st.text(st.characters()))
def test_printable_text_has_nothing_dangerous_and_no_second_line(text: str) -> None:
    assert not dangerous(printable(text))
    assert "\n" not in printable(text)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_payloads_become_visible(payload: str) -> None:
    assert not dangerous(printable(payload))


def test_ordinary_text_stays_as_it_is() -> None:
    for text in (
        *("alice@example.com", "Zoë Øvergård", "東京 👩🏽", "naïve – “quoted”", "a\\b", "مرحبا", "C:\\x1b"),
        *("Nguye\u0302\u0303n", "בְּרֵאשִׁ֖ית", "น้ำใจ", "हिन्दी", "Zo\u0308e\u0301", "한국어", "Ωραία—ναι…", "\ue0b0"),
    ):
        assert printable(text) == text


def test_no_letter_bears_more_marks_than_fit_on_its_line() -> None:
    assert printable("Z" + "\u0301" * 6) == "Z" + "\u0301" * 4 + r"\u0301\u0301"
    assert printable("e\u0301" * 10) == "e\u0301" * 10


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
        "|cmd",
        "%x",
    ],
    ids=ascii,
)
def test_no_csv_cell_starts_like_a_formula(text: str) -> None:
    assert csv_cell(text)[0] in "'\\"


def test_what_follows_a_semicolon_is_a_cell_too_where_lists_are_separated_by_it() -> None:
    assert csv_cell('a;=1;b; "+2;; -3') == "a;'=1;b;' \"+2;;' -3"
    assert csv_cell("one; two") == "one; two"


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


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_remark_and_an_error_are_one_line_each(capsys: pytest.CaptureFixture[str], payload: str) -> None:
    output.note(payload)
    assert _failed(payload, 1) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch("(poller: .*\n){2}", err)
    assert not dangerous(err)


# ---- log lines ----


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_log_line_of_any_payload_is_one_line(capsys: pytest.CaptureFixture[str], style: str) -> None:
    log.configure(style)
    for payload in PAYLOADS.values():
        structlog.get_logger().info(payload, **{"text": payload, payload: payload, "number": float("inf")})
        logging.getLogger(re.sub("[\ud800-\udfff]", "", payload)).warning("%s %r", payload, payload)
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 2
        assert not dangerous(err)
        assert len(err) < 40_000
        if style == "json":
            first, _ = map(json.loads, err.splitlines())
            assert first["number"] == "inf"
            shown = printable(without_secrets(payload))
            assert first["text"] == (shown if len(shown) <= log.LONGEST else f"{shown[: log.LONGEST]}…")


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

_MANY = """
import json, sys
from poller.cli import main
for words in map(json.loads, sys.argv[1:]):
    sys.argv = ["poller", *words]
    try:
        main()
    except SystemExit as end:
        print(f"--{end.code}--", flush=True)
"""


class Many(CommandLine):
    """Several commands in one process, each given as a JSON list of words; `--CODE--` follows what each wrote."""

    def command(self, *words: str, python: tuple[str, ...] = ()) -> list[str]:
        return [sys.executable, *python, "-c", _MANY, *words]

    def run(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """Standard output of each, piped. None of them fails, or has anything to say on standard error."""
        result = self(*(json.dumps(words) for words in commands))
        assert result.err == ""
        *parts, rest = result.out.split("--0--\n")
        assert (len(parts), rest) == (len(commands), "")
        return parts

    def run_on_terminal(self, commands: Sequence[Sequence[str]], columns: int = 100) -> list[str]:
        shown = self.on_terminal(*(json.dumps(words) for words in commands), columns=columns)
        *parts, rest = shown.split("--0--\n")
        assert (len(parts), rest) == (len(commands), "")
        return parts


def verbatim(payload: str) -> str:
    """What is kept of a text: all that a database can store, up to the length of a column."""
    kept = re.sub("[\x00\ud800-\udfff]", "\ufffd", payload)
    return kept if len(kept) <= MAX_TEXT else kept[: MAX_TEXT - len(CUT_MARK)] + CUT_MARK


def attack(payload: str) -> list[bytes]:
    """A push that was accepted after two denials; every text that anyone but Okta chooses is the payload."""
    user = User(payload, payload, payload)
    made = []
    for number, activity in enumerate(("push_denied", "push_denied", "push_approved")):
        label = f"{payload}{number}"
        raw = record(str(number), activity, f"09:0{number}:00", user=user, sign_in=label, session=label, root=label).raw
        raw["uuid"] = label
        raw["displayMessage"] = raw["legacyEventType"] = payload
        raw["outcome"]["reason"] = payload
        raw["client"] = {
            "userAgent": {"rawUserAgent": payload, "os": payload, "browser": payload},
            "zone": payload,
            "device": payload,
            "id": payload,
            "ipAddress": payload,
            "geographicalContext": dict.fromkeys(("city", "state", "country", "postalCode"), payload),
        }
        raw["device"] = {"id": payload, "name": payload, "os_platform": payload}
        raw["securityContext"] |= {"asOrg": payload, "isp": payload, "domain": payload, "isProxy": True}
        raw["transaction"] = {"id": label, "type": payload, "detail": {payload: payload}}
        raw["request"] = {"ipChain": [{"ip": payload, "geographicalContext": {"city": payload}, "source": payload}]}
        raw["debugContext"]["debugData"] |= {
            "behaviors": f"{{New IP=POSITIVE, {payload}=POSITIVE}}",
            "requestUri": payload,
            "url": payload,
            "risk": payload,
            "deviceFingerprint": payload,
            "logOnlySecurityData": payload,
            "dtHash": payload,
            "privilegeGranted": payload,
            "threatDetections": payload,
            payload: payload,
        }
        raw["target"].append({"id": payload, "type": "AppInstance", "alternateId": payload, "displayName": payload})
        raw["target"].append({"id": payload, "type": payload, "alternateId": payload, "displayName": payload})
        made.append(json.dumps(raw).encode())
    return made


ATTACKS = {name: attack(payload) for name, payload in PAYLOADS.items()}


@pytest.fixture(scope="module")
def poller(tmp_path_factory: pytest.TempPathFactory) -> Many:
    """Findings of an attack for each payload; each is commented on with the payload as well."""
    folder = tmp_path_factory.mktemp("hostile")
    url = f"sqlite:///{folder / 'here.db'}"
    fill(url, chain(*ATTACKS.values()), ORG)
    with Store(url) as store:
        store.note_error(ORG, re.sub("[\x00\ud800-\udfff]", "", ALL), NOW)
        with store.reading() as connection:
            uids = connection.exec_driver_sql("select uid, user_name from findings").all()
        for uid, name in uids:
            store.set_status(uid, "in_progress", None, name, NOW)
    return Many(folder, {"POLLER_DATABASE_URL": url, "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def found(poller: Many) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = json.loads(poller.run([["findings"]])[0])
    return findings


def every_command(found: list[dict[str, Any]]) -> list[list[str]]:
    """All that shows something of a finding, an event or an org."""
    lists = ("findings --limit 99", *(f"findings --format {form}" for form in ("table", "json", "jsonl", "csv")))
    words = [line.split() for line in (*lists, "status", "status --format json", "rules", "rules show push_fatigue")]
    since = ["--since", "2026-01-01"]
    for form in ([], ["--format", "json"]):
        words += [
            ["posture", "--limit", "99", *since, *form],
            ["rules", "quality", *since, *form],
            ["exceptions", "list", *form],
        ]
    for finding in found[::3]:
        for form in ([], ["--format", "json"]):
            words += [["findings", "explain", finding["uid"], *form]]
            words += [["timeline", f"--user={finding['user_uid']}", *since, *form]]
            words += [["timeline", f"--ip={finding['src_ips'][0]}", *since, *form]]
    for finding in found:
        words += [["findings", "show", finding["uid"]], ["findings", "show", finding["uid"], "--format", "json"]]
        words += [["events", "show", "--", finding["trigger_uid"]]]
    return words


@pytest.fixture(scope="module")
def piped(poller: Many, found: list[dict[str, Any]]) -> dict[str, str]:
    history = ["rules", "backtest", "push_fatigue", "--since", "2026-01-01"]
    commands = [*every_command(found), [*history, "--format", "json"]]
    return dict(zip(map(" ".join, commands), poller.run(commands), strict=True))


@pytest.fixture(scope="module")
def on_terminal(poller: Many, found: list[dict[str, Any]]) -> dict[str, str]:
    commands = every_command(found)
    return dict(zip(map(" ".join, commands), poller.run_on_terminal(commands, columns=90), strict=True))


def test_json_gives_scripts_every_text_verbatim(found: list[dict[str, Any]]) -> None:
    assert len(found) == len(PAYLOADS)
    told = {finding["user_name"]: finding for finding in found}
    for payload in PAYLOADS.values():
        finding, text = told[verbatim(payload)], verbatim(payload)
        assert len(finding["evidence"]) == 3
        assert text in finding["summary"]
        if len(text) <= 200:  # longer ids are cut
            assert (finding["user_uid"], finding["src_ips"]) == (text, [text])
            assert finding["trigger_uid"] == f"{text}2"
            assert {item["src_ip"] for item in finding["evidence"]} == {text}


def test_a_pipe_is_sent_nothing_but_text(piped: dict[str, str], found: list[dict[str, Any]]) -> None:
    for words, out in piped.items():
        assert out.strip(), words
        if not words.startswith("events show"):  # the very bytes, see below
            assert not dangerous(out.replace("\r\n", "\n")), words
        if words.endswith("json") or words == "findings --limit 99":
            json.loads(out)
            assert out.isascii(), words
    assert [json.loads(line) for line in piped["findings --format jsonl"].splitlines()] == found


def test_a_terminal_is_sent_nothing_but_text(on_terminal: dict[str, str]) -> None:
    for words, shown in on_terminal.items():
        assert shown.strip(), words
        assert not dangerous(shown.replace("\r\n", "\n")), words
        assert "Traceback" not in shown, words


def test_a_table_keeps_its_lines(on_terminal: dict[str, str], found: list[dict[str, Any]]) -> None:
    """Nothing in a cell makes a line longer than the terminal is wide, so no row runs into the next."""
    shown = on_terminal["findings --limit 99"].splitlines()
    assert max(map(cell_len, shown)) <= 90
    assert [line[:8] for line in shown if re.match("[0-9a-f]{8}  2", line)] == [finding["uid"][:8] for finding in found]


def test_markup_is_shown_as_it_was_typed(poller: Many, found: list[dict[str, Any]]) -> None:
    told = {finding["user_name"]: finding["uid"] for finding in found}
    payloads = [PAYLOADS[name] for name in ("rich markup", "html", "formats", "summary template", "chat")]
    pages = poller.run_on_terminal([["findings", "show", told[payload]] for payload in payloads], columns=900)
    for payload, page in zip(payloads, pages, strict=True):
        assert payload in page


def test_commands_to_copy_do_nothing_but_what_they_say(piped: dict[str, str], found: list[dict[str, Any]]) -> None:
    for finding in found:
        page = piped[f"findings show {finding['uid']}"]
        commands = page[page.index("\nNext\n") + 6 :].splitlines()
        assert len(commands) == 4
        triage, user, address, explained = map(shlex.split, commands)
        around = ["--since", "30d", f"--org={ORG}"]
        assert triage[:4] == ["poller", "findings", "set", finding["uid"][:8]]
        assert user == ["poller", "timeline", f"--user={printable(finding['user_uid'])}", *around]
        assert address == ["poller", "timeline", f"--ip={printable(finding['src_ips'][0])}", *around]
        assert explained == ["poller", "findings", "explain", finding["uid"][:8]]


def test_a_spreadsheet_computes_nothing_and_has_one_row_for_each_finding(
    piped: dict[str, str], found: list[dict[str, Any]]
) -> None:
    out = piped["findings --format csv"]
    assert len(out.splitlines()) == 1 + len(found)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["uid"] for row in rows] == [finding["uid"] for finding in found]
    for row, finding in zip(rows, found, strict=True):
        assert row["user_name"].replace("'", "") == printable(finding["user_name"]).replace("'", "")
    for separator in ",;\t":  # as the reader's country has it
        cells = chain(*csv.reader(io.StringIO(out, newline=""), delimiter=separator))
        assert not [cell for cell in cells if re.match(r"\s*[=+\-@＝＋－＠]", cell)]


def test_the_raw_record_is_verbatim_in_a_pipe_and_laid_out_on_a_terminal(
    piped: dict[str, str], on_terminal: dict[str, str], found: list[dict[str, Any]]
) -> None:
    raw = {normalize(records[2]).uid: records[2] for records in ATTACKS.values()}
    for uid in (finding["trigger_uid"] for finding in found):
        assert piped[f"events show -- {uid}"].encode() == raw[uid]
        assert json.loads(on_terminal[f"events show -- {uid}"]) == json.loads(raw[uid])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_few_characters_loses_none(poller: Many, found: list[dict[str, Any]], encoding: str) -> None:
    commands = [["findings", "--format", "table"], *(["findings", "show", finding["uid"]] for finding in found[::4])]
    there = Many(poller.folder, {**poller.settings, "PYTHONIOENCODING": encoding})
    done = there.bytes(*(json.dumps(words) for words in commands))
    assert (done.stdout.count(b"--0--\n"), done.stderr) == (len(commands), b"")
    assert not dangerous(done.stdout.decode(encoding))


def test_both_databases_keep_the_same_text_and_both_are_whole(database_url: str, found: list[dict[str, Any]]) -> None:
    fill(database_url, chain(*ATTACKS.values()), ORG)
    with reading(database_url, auto_migrate=False) as database:
        kept = list(database.findings(Wanted()))
        for records in ATTACKS.values():
            for raw in records:
                event = normalize(raw)
                assert [decompress(frame) for _, frame in database.raw(event.uid)] == [raw]
    names = ("uid", "user_uid", "user_name", "src_ips", "summary", "evidence")
    ours = {finding["uid"]: [finding[name] for name in names] for finding in kept}
    assert ours == {finding["uid"]: [finding[name] for name in names] for finding in found}


def test_words_of_the_command_line_come_back_safely(poller: Many) -> None:
    typed = [payload for payload in PAYLOADS.values() if not re.search("[\x00\ud800-\udfff]", payload)]
    commands = [words for payload in typed for words in ([payload], ["findings", "show", "--", payload])]
    result = poller(*(json.dumps(words) for words in commands))
    assert result.out == "--2--\n" * len(commands)
    assert len(result.err.splitlines()) == len(commands)
    assert all(line.startswith("poller: ") for line in result.err.splitlines())
    assert not dangerous(result.err)


def test_bytes_that_are_no_text_are_no_trouble(poller: Many) -> None:
    broken = b"\xff\xfe".decode("utf-8", "surrogateescape")
    one = CommandLine(poller.folder, poller.settings)
    assert one("findings", "--user", broken).json() == []
    assert one("findings", "show", broken).code == 2


# ---- the whole way: from Okta's answers to a log ----

DEEP = b"[" * 100_000 + b"]" * 100_000
WIDE = b", ".join(b'"key%d": %d' % (number, number) for number in range(100_000))


def plain(*more: bytes, uid: bytes = b"x") -> bytes:
    """A record with these members beside what it must have."""
    members = (b'"uuid": "%b"' % uid, b'"published": "2026-03-10T09:00:00.000Z"', *more)
    return b"{" + b", ".join(members) + b"}"


SHAPES = {
    "10 MB": plain(b'"displayMessage": "' + b"A" * 10_000_000 + b'"'),
    "10 MB of escapes": plain(b'"displayMessage": "' + b"\\u001b\\\\" * 1_250_000 + b'"'),
    "100,000 levels": plain(b'"debugContext": {"debugData": {"x": ' + DEEP + b"}}"),
    "100,000 objects": plain(b'"client": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_000),
    "100,000 keys": plain(b'"client": {' + WIDE + b"}"),
    "keys that come twice": plain(b'"severity": "INFO", "severity": "WARN"', b'"uuid": "x"'),
    "hostile keys": plain(b'"\\u001b[2J": 1', b'"\\u202e\\u0000": {"\\ud800": 2}', b'"__proto__": {}', b'"": ""'),
    "not UTF-8": plain(b'"displayMessage": "\xff\xfe\x9b31m\xed\xa0\x80"'),
    "raw control characters": plain(b'"displayMessage": "\x1b[2J\x00\r\n\x7f"'),
    "numbers beyond all numbers": plain(b'"a": 1e999, "b": -1e999, "c": NaN', b'"d": ' + b"9" * 100_000),
    "a number for a text": plain(b'"displayMessage": 1e999', b'"severity": -Infinity'),
    "an id of 1 MB": plain(b'"actor": {"id": "' + b"a" * 1_000_000 + b'", "type": "User"}'),
    "a byte-order mark": plain(b'"displayMessage": "\xef\xbb\xbf"'),
    "no time": b'{"uuid": "\\u001b[2J\\u202e", "published": "\\u001b[31m"}',
    "no object": b'"\\u001b[2J"',
    "no JSON": b'{"uuid": \x1b2J\xe2\x80\xae}',
}
QUARANTINED = {"no time", "no object", "no JSON"}


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_page_of_every_odd_shape_is_stored_whole_and_logged_in_plain_lines(tmp_path: Path, style: str) -> None:
    records = [shape.replace(b'"uuid": "x"', b'"uuid": "x%d"' % number) for number, shape in enumerate(SHAPES.values())]
    page = b"\xef\xbb\xbf[" + b",\n".join(records) + b"]"
    with SimulatedOkta() as okta:
        okta.append(ATTACKS["html"][:1], persisted=int(okta.clock() * 1000))
        okta.answer_next(lambda request: replace(okta.answer(request), body=page))
        url = f"sqlite:///{tmp_path / 'here.db'}"
        poller = CommandLine(
            tmp_path,
            {
                "POLLER_DATABASE_URL": url,
                "POLLER_OKTA_ORG_URL": okta.url,
                "POLLER_OKTA_API_TOKEN": okta.token,
                "POLLER_LOG_FORMAT": style,
            },
        )
        result = poller("run", "--once")
    assert (result.code, result.out) == (0, "")
    assert not dangerous(result.err)
    lines = result.err.splitlines()
    assert [line for line in lines if "page.stored" in line], result.err[:1000]
    if style == "json":
        assert all(type(json.loads(line)) is dict for line in lines)
    (org,) = poller("status", "--format", "json").json()
    assert org["quarantine"] == len(QUARANTINED)
    with reading(url, auto_migrate=False) as database:
        for (name, _), raw in zip(SHAPES.items(), records, strict=True):
            if name not in QUARANTINED:
                assert [decompress(frame) for _, frame in database.raw(normalize(raw).uid)] == [raw], name
    many = Many(tmp_path, {"POLLER_DATABASE_URL": url, "NO_COLOR": "1"})
    events = [raw for (name, _), raw in zip(SHAPES.items(), records, strict=True) if name not in QUARANTINED]
    shown = [["events", "show", normalize(raw).uid] for raw in events if len(raw) < 3_000_000]
    for text in many.run_on_terminal(shown):
        assert not dangerous(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-7"])
def test_a_body_that_is_not_utf_8_is_no_page(encoding: str) -> None:
    with pytest.raises(MalformedPage):
        split_page('[{"uuid": "x"}]é'.encode(encoding))


ORG_NAMES = {
    name: f"{payload[:60]} {name}"
    for name, payload in PAYLOADS.items()
    if not re.search("[\x00-\x1f\x7f\ud800-\udfff]", payload)
}
FAILING = ("refused", "redirect", "link")
WAYS = (*FAILING, "well")


@pytest.fixture(scope="module")
def hostile_okta(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Settings with an org for each payload and each way in which an answer carries it; many have a hostile name."""
    texts = {f"00{way}{number}": (way, payload) for way in WAYS for number, payload in enumerate(PAYLOADS.values())}

    def answer(request: Request) -> Answer | None:
        way, payload = texts[request.headers["authorization"].removeprefix("SSWS ")]
        if way == "well":
            itself = (("Link", f'<{request.url}>; rel="next"'),)
            return Answer(200, () if "until" in request.query else itself, b"[]")
        if way == "refused":
            return okta_error(403, payload, payload)
        # Bytes above 127 in a header are UTF-8; nothing could send a line break or NUL in one.
        wire = re.sub("[\r\n\x00]", "", payload[:2000]).encode("utf-8", "surrogatepass").decode("latin-1")
        if way == "redirect":
            return Answer(302, (("Location", f"https://{wire}/{wire}"),))
        return Answer(200, (("Link", f'<https://{wire}/{wire}>; rel="next"; title="{wire}"'),), b"[]")

    folder = tmp_path_factory.mktemp("answers")
    with SimulatedOkta() as okta:
        okta.intercept = answer
        tables = []
        for token in texts:
            way, number = re.fullmatch(r"00([a-z]+)(\d+)", token).groups()  # type: ignore[union-attr]
            name = list(PAYLOADS)[int(number)]
            quoted = f"{ORG_NAMES.get(name, name)} {way}".replace("\\", "\\\\").replace('"', '\\"')
            tables.append(f'[[orgs]]\nname = "{quoted}"\norg_url = "{okta.url}"\napi_token = "{token}"\n')
        folder.joinpath("poller.toml").write_text("\n".join(tables), "utf-8")
        folder.joinpath("poller.toml").chmod(0o600)
        yield CommandLine(folder, {"POLLER_DATABASE_URL": f"sqlite:///{folder / 'here.db'}", "NO_COLOR": "1"})


@pytest.mark.parametrize("style", ["console", "json"])
def test_no_answer_of_okta_writes_anything_but_plain_log_lines(hostile_okta: CommandLine, style: str) -> None:
    result = hostile_okta.having(POLLER_LOG_FORMAT=style)("run", "--once")
    assert (result.code, result.out) == (1, "")
    assert not dangerous(result.err)
    failed = re.compile(r'"event": "org.failed"|\] org.failed  ')
    lines = [line for line in result.err.splitlines() if failed.search(line)]
    assert len(lines) == len(PAYLOADS) * len(FAILING)
    if style == "json":
        told = [json.loads(line) for line in lines]
        assert {line["event"] for line in told} == {"org.failed"}
        assert len({line["org"] for line in told}) == len(lines)
    else:
        assert all(re.match(r"\d{4}-\d\d-\d\d[T ]\S+ \[\w+ *\] \w+\.\w+", line) for line in lines)
    shown = [hostile_okta("status"), hostile_okta("status", "--format", "json")]
    shown += [
        hostile_okta("completeness", "--since", "1h"),
        hostile_okta("completeness", "--since=1h", "--format=json"),
    ]
    assert not dangerous("".join(result.out + result.err for result in shown))
    states = [org["state"] for org in shown[1].json()]
    assert (len(states), states.count("failing")) == (len(PAYLOADS) * len(WAYS), len(lines))


def test_doctor_and_backfill_say_what_okta_answered_in_one_plain_line_for_each_org(hostile_okta: CommandLine) -> None:
    result = hostile_okta("doctor")
    assert result.code == 1
    assert not dangerous(result.out + result.err)
    lines = result.out.splitlines()
    assert all(re.match("(ok|note|wrong) ", line) for line in lines)
    assert len([line for line in lines if line.startswith("wrong")]) == len(PAYLOADS) * len(("refused", "redirect"))
    result = hostile_okta.having(POLLER_LOG_LEVEL="error")("backfill", "--since", "1h")
    assert result.code == 1
    assert not dangerous(result.out + result.err)
    assert len(re.findall("^poller: ", result.err, re.MULTILINE)) == len(PAYLOADS) * len(FAILING)
    assert len(result.out.splitlines()) == len(PAYLOADS)
