"""Sigma rules drafted as rule folders: what they find on both databases, their credit, and what is refused."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
import yaml

from poller.checking import check_rule
from poller.checking.plan import postgres_problems, scratch_database, sqlite_problems
from poller.errors import PollerError, RuleError
from poller.rules import Rule, read_rule
from poller.rules.timelines import Timeline, agree, read_timelines, records, run
from poller.sigma import read_drafts
from poller.sigma.query import duration
from poller.sigma.terms import Like, Term, Wild, holds, literal, patterns
from poller.store import Store
from tests.command_line import CommandLine

PUBLISHED = sorted((Path(__file__).parents[2] / "shared/sigma-okta").glob("*.yml"))  # not part of the project
RULE = """
title: A rule
id: 0d1b6a5e-7a35-4b5c-8b0a-4a52f3f3b001
author: Ann Author
logsource: {product: okta, service: okta}
level: high
detection:
"""
FAILED = """
title: A failed sign-in
name: failed
author: Ann Author
logsource: {product: okta, service: okta}
detection:
    sel: {eventType: user.session.start, outcome.result: FAILURE}
    condition: sel
"""
COUNT = "type: event_count, rules: failed, group-by: [client.ipAddress], timespan: 10m, condition: {gte: 3}"
VALUES = (
    "type: value_count, rules: failed, group-by: [client.ipAddress], timespan: 10m,"
    " condition: {gte: 3, field: actor.alternateId}"
)
STEPS = """
title: All factors reset
name: reset
logsource: {product: okta}
detection: {sel: {eventType: user.mfa.factor.reset_all}, condition: sel}
---
title: A factor enrolled
name: enrolled
logsource: {product: okta}
detection: {sel: {eventType: user.mfa.factor.activate}, condition: sel}
---
title: A sign-in
name: signed-in
logsource: {product: okta}
detection: {sel: {eventType: user.session.start}, condition: sel}
"""
ORDERED = "type: temporal_ordered, rules: [reset, enrolled, signed-in], group-by: [actor.id], timespan: 1h"


@pytest.fixture(scope="module")
def scratch() -> Iterator[sa.Connection]:
    with scratch_database() as connection:
        yield connection


@pytest.fixture
def check(scratch: sa.Connection, store: Store) -> Callable[[Path], list[str]]:
    """What `poller rules check` says against a folder."""

    def problems(folder: Path) -> list[str]:
        with store.reading() as connection:
            ask = [partial(sqlite_problems, scratch)]
            if store.is_postgres:
                ask.append(partial(postgres_problems, connection))
            return [str(problem) for problem in check_rule(folder, {}, ask)]

    return problems


@pytest.fixture
def draft(tmp_path: Path) -> Callable[[str], Rule]:
    """The one rule that is drafted from a text of Sigma."""

    def drafted(text: str) -> Rule:
        source = tmp_path / "source.yml"
        source.write_text(text, "utf-8")
        [made] = read_drafts(source)
        return written(made, tmp_path)

    return drafted


def written(made, folder: Path) -> Rule:
    path = folder / made.name
    path.mkdir()
    for name, text in made.files.items():
        (path / name).write_text(text, "utf-8")
    return read_rule(path, is_own=True)


def correlation(text: str, base: str = FAILED) -> str:
    return f"{base}---\ntitle: Several events\ncorrelation: {{{text}}}\n"


def single(detection: str) -> str:
    return RULE + "\n".join(f"    {line}" for line in detection.strip().splitlines())


def found(store: Store, rule: Rule, text: str, org: str = "acme", page: int = 1000) -> list[str]:
    made = Timeline("", rule, text, records(text), [], "")
    return run(store, made, org, page)


def condition(rule: Rule) -> str:
    """What its query asks of an event, but for org, event type and time."""
    lines = rule.sql.splitlines()
    start = next(number for number, line in enumerate(lines) if "e.time >= :since" in line)
    return " ".join(line.strip() for line in lines[start + 1 :]).removeprefix("and ")


def passes(store: Store, rule: Rule) -> int:
    """How many timelines there are beside it; each finds what it says, forwards and backwards."""
    timelines = read_timelines(rule)
    for number, timeline in enumerate(timelines):
        assert agree(run(store, timeline, f"{rule.name}-{number}"), timeline.expected), timeline.title
        backwards = run(store, timeline, f"{rule.name}-{number}-back", page=1, is_reversed=True)
        assert agree(backwards, timeline.expected), timeline.title
    assert {bool(timeline.expected) for timeline in timelines} == {True, False}
    return len(timelines)


@pytest.mark.skipif(not PUBLISHED, reason="the published rules are not beside the project")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_each_okta_rule_that_sigmahq_publishes_converts_is_fit_to_run_and_runs(path, tmp_path, store, check):
    [made] = read_drafts(path)
    rule = written(made, tmp_path)
    source = yaml.safe_load(path.read_text("utf-8"))
    assert check(rule.folder) == []
    assert passes(store, rule) >= 2
    assert (rule.title, rule.author, rule.license) == (source["title"], source["author"], "DRL-1.1")
    assert set(source["references"]) < set(rule.references)
    assert rule.references[-1] == f"Sigma rule {source['id']}"
    assert rule.level == source["level"]
    assert source["author"] in rule.summary[-1]
    assert all(word in rule.runbook for word in (source["id"], "Detection Rule License 1.1"))


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ("actor.alternateId: Alice@Example.com", "lower(e.actor_name) = 'alice@example.com'"),
        ("actor.alternateId|cased: Alice@Example.com", "e.actor_name = 'Alice@Example.com'"),
        ("actor.id: 00uAbC", "e.actor_uid = '00uAbC'"),
        ("outcome.result: failure", "e.outcome = 'FAILURE'"),
        ("outcome.result: [deny, Failure]", "e.outcome in ('DENY', 'FAILURE')"),
        ("displayMessage|contains: 50%_Off!", "lower(e.message) like '%50!%!_off!!%' escape '!'"),
        ("displayMessage|contains|all: [a b, c]", "lower(e.message) like '%a b%' and lower(e.message) like '%c%'"),
        ("displayMessage|startswith: It's", "lower(e.message) like 'it''s%'"),
        ("displayMessage|contains|cased: Ab", "replace(e.message, 'Ab', '') <> e.message"),
        ("displayMessage|startswith|cased: Ab", "substr(e.message, 1, 2) = 'Ab'"),
        ("displayMessage|endswith|cased: Ab", "substr(e.message, length(e.message) - 1) = 'Ab'"),
        ("displayMessage: a?c*", "lower(e.message) like 'a_c%'"),
        ("displayMessage: '*'", "e.message is not null"),
        ("displayMessage: null", "e.message is null"),
        ("displayMessage: ''", "e.message is null"),
        ("displayMessage|exists: true", "coalesce(e.message, '') <> ''"),
        ("displayMessage|re: '^Foo.*bar$'", "lower(e.message) like 'foo%bar'"),
        ("displayMessage|re|i: 'foo|bar'", "(lower(e.message) like '%foo%' or lower(e.message) like '%bar%')"),
        ("client.ipAddress|cidr: 10.1.0.0/16", "lower(e.src_ip) like '10.1.%'"),
        ("client.ipAddress|cidr: 10.1.2.3/32", "e.src_ip = '10.1.2.3'"),
        ("securityContext.asNumber|gte: 64500", "e.src_asn >= 64500"),
        ("securityContext.isProxy: 'TRUE'", "e.is_proxy = true"),
        ("securityContext.isProxy: false", "e.is_proxy = false"),
        ("actor.alternateId|fieldref: user_name", "lower(e.actor_name) = lower(e.user_name)"),
        ("target.type: User", "coalesce(e.target_user_uid, '') <> ''"),
        (
            "target.id: 00u1",
            "(e.target_uid = '00u1' or e.app_uid = '00u1' or e.target_user_uid = '00u1')",
        ),
        ("debugContext.debugData.risk|contains: level=HIGH", "lower(e.risk_level) like '%high%'"),
        ('debugContext.debugData.logOnlySecurityData|contains: "New IP\\": \\"POSITIVE"', "new ip=positive"),
    ],
)
def test_a_field_and_its_modifiers_become_a_condition(draft, store, detection, expected):
    rule = draft(single(f"sel:\n    eventType: user.session.start\n    {detection}\ncondition: sel"))
    assert expected in condition(rule)
    assert "e.event_type = 'user.session.start'" in rule.sql
    found(store, rule, "09:00 alice user.session.start")


def test_what_is_not_there_is_not_like_what_a_filter_asks_for(draft, store):
    rule = draft(
        single(
            "sel: {eventType: user.session.start}\nfilter: {displayMessage|contains: x}\ncondition: sel and not filter"
        )
    )
    assert found(store, rule, "09:00 alice user.session.start\n09:01 bob user.session.start message=axb") == [
        "alice 09:00:00-09:00:00 1 event"
    ]


def test_a_condition_of_selections_holds_as_it_is_written(draft, store, check):
    rule = draft(
        single(
            "sel_a: {eventType: user.session.start}\n"
            "sel_b:\n    - client.geographicalContext.country: France\n    - client.geographicalContext.city: Rome\n"
            "filter_1: {actor.alternateId|startswith: bob}\nfilter_2: {actor.alternateId|startswith: carol}\n"
            "condition: all of sel_* and not 1 of filter_*"
        )
    )
    told = """
        09:00  alice  user.session.start  country=France
        09:01  bob    user.session.start  country=France
        09:02  carol  user.session.start  city=Rome
        09:03  dave   user.session.start  city=Rome
        09:04  erin   user.session.start  country=Spain
        09:05  frank  user.session.end    country=France
    """
    assert found(store, rule, told) == ["alice 09:00:00-09:00:00 1 event", "dave 09:03:00-09:03:00 1 event"]
    assert check(rule.folder) == []


def test_event_types_are_literals_in_the_letters_of_okta_and_the_header_names_what_can_matter(draft, check):
    rule = draft(single("sel: {eventtype: [System.API_Token.Create, system.api_token.revoke]}\ncondition: sel"))
    assert "e.event_type in ('system.api_token.create', 'system.api_token.revoke')" in rule.sql
    assert rule.event_types == {"system.api_token.create", "system.api_token.revoke"}
    assert check(rule.folder) == []


@pytest.mark.parametrize("detection", ["eventType|startswith: policy.", "severity: WARN"])
def test_a_rule_without_an_event_type_reads_every_kind_by_the_index(draft, store, check, detection):
    rule = draft(single(f"sel: {{{detection}}}\ncondition: sel"))
    assert rule.event_types is None
    assert "names no eventType" in rule.description
    assert "names no eventType" in rule.runbook
    assert check(rule.folder) == []
    told = "09:00 alice policy.rule.update severity=WARN\n09:01 bob policy2.x severity=INFO\n09:02 carol a.b"
    assert found(store, rule, told) == ["alice 09:00:00-09:00:00 1 event"]
    assert passes(store, rule) >= 2


def test_an_old_name_of_an_event_is_read_as_the_new_one(draft):
    rule = draft(single("sel: {legacyEventType: core.user_auth.login_failed}\ncondition: sel"))
    assert "e.event_type = 'user.session.start'" in rule.sql
    assert condition(rule) == "e.outcome = 'FAILURE'"


def test_a_placeholder_matches_nothing_until_it_is_written(draft, store):
    rule = draft(
        single("sel: {eventType: user.session.start}\nf: {actor.id|expand: '%own%'}\ncondition: sel and not f")
    )
    assert "%own%" in rule.description
    assert found(store, rule, "09:00 alice user.session.start") == ["alice 09:00:00-09:00:00 1 event"]


# Correlations


@pytest.mark.parametrize("page", [1, 1000])
def test_event_count_fires_once_where_the_count_crosses_its_threshold(draft, store, check, page):
    rule = draft(correlation(COUNT))
    told = """
        09:00      alice  user.session.start  outcome=FAILURE ip=203.0.113.1
        09:01      bob    user.session.start  outcome=FAILURE ip=203.0.113.2
        09:05      bob    user.session.start  outcome=FAILURE ip=203.0.113.1
        09:06      bob    user.session.start  outcome=SUCCESS ip=203.0.113.1
        09:10      carol  user.session.start  outcome=FAILURE ip=203.0.113.1
        09:11      carol  user.session.start  outcome=FAILURE ip=203.0.113.1
        09:21:00   carol  user.session.start  outcome=FAILURE ip=203.0.113.2
        09:31:01   carol  user.session.start  outcome=FAILURE ip=203.0.113.2
    """
    assert found(store, rule, told, page=page) == ["- 09:00:00-09:10:00 3 events"]
    assert (rule.defaults, rule.lookback_sum) == ({"at_least": 3, "window": "10m"}, "window + window")
    assert check(rule.folder) == []
    assert passes(store, rule) >= 3


@pytest.mark.parametrize("page", [1, 1000])
def test_value_count_counts_different_values_in_a_sliding_window(draft, store, check, page):
    rule = draft(correlation(VALUES))
    told = """
        09:00      alice  user.session.start  outcome=FAILURE ip=203.0.113.1
        09:01      bob    user.session.start  outcome=FAILURE ip=203.0.113.1
        09:02      bob    user.session.start  outcome=FAILURE ip=203.0.113.1
        09:03      carol  user.session.start  outcome=FAILURE ip=203.0.113.2
        09:10:00   carol  user.session.start  outcome=FAILURE ip=203.0.113.1
        09:10:01   dave   user.session.start  outcome=FAILURE ip=203.0.113.1
        10:00:00   alice  user.session.start  outcome=FAILURE ip=203.0.113.2
        10:05:00   bob    user.session.start  outcome=FAILURE ip=203.0.113.2
        10:10:01   carol  user.session.start  outcome=FAILURE ip=203.0.113.2
    """
    assert found(store, rule, told, page=page) == ["- 09:00:00-09:10:00 4 events"]
    assert check(rule.folder) == []
    assert passes(store, rule) >= 3


@pytest.mark.parametrize("page", [1, 1000])
def test_temporal_ordered_fires_on_the_first_event_that_completes_the_sequence(draft, store, check, page):
    rule = draft(correlation(ORDERED, STEPS))
    told = """
        09:00  alice  user.mfa.factor.reset_all
        09:10  alice  user.mfa.factor.activate
        09:15  bob    user.session.start
        09:20  alice  user.session.start
        09:21  alice  user.session.start
        10:00  carol  user.session.start
        10:01  carol  user.mfa.factor.activate
        10:02  carol  user.mfa.factor.reset_all
        11:00:00  dave  user.mfa.factor.reset_all
        11:10:00  dave  user.mfa.factor.activate
        12:00:01  dave  user.session.start
    """
    assert found(store, rule, told, page=page) == ["alice 09:00:00-09:20:00 3 events"]
    assert rule.lookback_sum == "window"
    assert check(rule.folder) == []
    assert passes(store, rule) >= 3


@pytest.mark.parametrize("page", [1, 1000])
def test_temporal_fires_on_the_event_that_completes_the_set(draft, store, check, page):
    rule = draft(correlation(ORDERED.replace("temporal_ordered", "temporal"), STEPS))
    told = """
        09:00  alice  user.session.start
        09:10  alice  user.mfa.factor.reset_all
        09:20  alice  user.mfa.factor.activate
        09:30  alice  user.mfa.factor.activate
        09:15  bob    user.mfa.factor.activate
        09:16  bob    user.session.start
    """
    assert found(store, rule, told, page=page) == ["alice 09:00:00-09:20:00 3 events"]
    assert check(rule.folder) == []
    assert passes(store, rule) >= 2


@pytest.mark.parametrize("kind", ["event_count", "value_count", "temporal", "temporal_ordered"])
@pytest.mark.parametrize("seed", range(4))
def test_a_correlation_finds_what_counting_by_hand_does(draft, store, kind, seed):
    """Many events, close together, in pages of seven in any order."""
    chance = random.Random(f"{kind} {seed}")
    kinds = ["user.mfa.factor.reset_all", "user.mfa.factor.activate", "user.session.start"]
    events = []
    for number in range(90):
        time = chance.randrange(0, 60 * 60)
        name, place = chance.choice("abcd"), chance.randrange(1, 3)
        events.append((time, name, place, chance.choice(kinds), number))
    counted = (
        f"rules: [reset, enrolled, signed-in], group-by: [client.ipAddress], timespan: {chance.choice((90, 240))}s"
    )
    more = {
        "event_count": ", condition: {gte: 4}",
        "value_count": ", condition: {gte: 3, field: actor.id}",
    }.get(kind, "")
    rule = draft(correlation(f"type: {kind}, {counted}{more}", STEPS))
    lines = [
        f"09:{time // 60:02}:{time % 60:02} {name} {kind_} ip=203.0.113.{place} uuid={number}"
        for time, name, place, kind_, number in events
    ]
    chance.shuffle(lines)
    told = found(store, rule, "\n".join(lines), org=f"{kind}{seed}", page=7)
    window = rule.parameters["window"] // 1000
    expected = sorted(_by_hand(kind, events, window, kinds))
    assert sorted(line.split()[1].split("-")[1] for line in told) == [
        f"09:{time // 60:02}:{time % 60:02}" for time in expected
    ]


def _by_hand(kind, events, window, kinds) -> Iterator[int]:
    """The times of the triggers: one for each group and time at which a threshold is crossed."""
    for place in (1, 2):
        mine = sorted((time, name, kinds.index(what)) for time, name, at, what, _ in events if at == place)
        times = sorted({time for time, _, _ in mine})
        if kind == "temporal_ordered":
            begun = set()
            for time, _, step in mine:
                if step != 2:
                    continue
                starts = [
                    first
                    for first, _, one in mine
                    for second, _, two in mine
                    if one == 0 and two == 1 and first < second < time
                ]
                if starts and max(starts) >= time - window and max(starts) not in begun:
                    begun.add(max(starts))
                    yield time
            continue
        before = 0
        for time in times:
            held = [event for event in mine if time - window <= event[0] <= time]
            number, least = {
                "event_count": (len(held), 4),
                "value_count": (len({name for _, name, _ in held}), 3),
                "temporal": (len({step for _, _, step in held}), 3),
            }[kind]
            if number >= least > before:
                yield time
            before = number


def test_aliases_name_the_field_of_each_rule(draft, store):
    text = ORDERED.replace("group-by: [actor.id]", "group-by: [who]")
    text += ", aliases: {who: {reset: target_user_uid, enrolled: actor.id, signed-in: actor.id}}"
    rule = draft(correlation(text, STEPS))
    told = """
        09:00  admin  user.mfa.factor.reset_all  user=alice
        09:10  alice  user.mfa.factor.activate
        09:20  alice  user.session.start
        09:30  admin  user.mfa.factor.activate
        09:40  admin  user.session.start
    """
    assert [line.split()[1:] for line in found(store, rule, told)] == [["09:00:00-09:20:00", "3", "events"]]


def test_a_rule_of_a_correlation_is_drafted_by_itself_only_where_it_says_so(tmp_path):
    source = tmp_path / "source.yml"
    source.write_text(correlation(COUNT))
    assert [made.name for made in read_drafts(source)] == ["several_events"]
    source.write_text(correlation(COUNT + ", generate: true"))
    assert [made.name for made in read_drafts(source)] == ["a_failed_sign_in", "several_events"]


def test_the_author_is_named_in_metadata_runbook_and_findings(draft):
    rule = draft(correlation(COUNT))
    assert rule.author == "Ann Author"
    assert "Ann Author" in rule.runbook
    assert rule.summary[-1] == "Sigma rule by Ann Author"


def test_the_same_rule_gives_the_same_id_and_a_license_of_its_own_is_kept(draft, tmp_path):
    text = single("sel: {eventType: a.b}\ncondition: sel")
    rule = draft(text + "\nlicense: MIT\n")
    source = tmp_path / "again.yml"
    source.write_text(text)
    [again] = read_drafts(source)
    assert UUID(rule.uid).version == 5
    assert f"id: {rule.uid}\n" in again.files["rule.sql"]
    assert rule.license == "MIT"
    assert "Its licence: MIT." in " ".join(rule.runbook.split())


# What is refused, and text of strangers


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (single("sel:\n    eventType: a.b\n    version: '0'\ncondition: sel"), 10, "field version, which is in"),
        (single("sel:\n    Image|endswith: x.exe\ncondition: sel"), 9, "field Image, which is no field of Okta's"),
        (single("sel: [powershell]\ncondition: sel"), 8, "words anywhere"),
        (single("sel: {eventType: a.b, legacyEventType: x.y}\ncondition: sel"), 8, "old names of events"),
        (single("sel: {displayMessage|re: '.*'}\ncondition: sel"), 8, "no text that must be there"),
        (single("sel: {displayMessage|re: '('}\ncondition: sel"), 1, "pySigma refuses it"),
        (single("sel: {displayMessage|windash|gt: 5}\ncondition: sel"), 1, "pySigma refuses it"),
        (single("sel: {displayMessage|gt: 5}\ncondition: sel"), 8, "is no number"),
        (single("sel: {securityContext.isProxy: maybe}\ncondition: sel"), 8, "true or false"),
        (single("sel: {displayMessage: \"a\\e[2Jb\"}\ncondition: sel"), 8, "characters that can't be seen"),
        (single("sel: {a: b}\ncondition: sel and other"), 1, "pySigma refuses it"),
        (single("sel: " + "[" * 5000), 1, "nested too deeply"),
        (RULE.replace("okta, service: okta", "windows") + "    sel: {a: b}\n    condition: sel", 5, "logsource"),
        (correlation(COUNT.replace("event_count", "value_sum").replace("3}", "3, field: x}")), 11, "type value_sum"),
        (correlation(COUNT.replace("gte: 3", "lt: 3")), 11, "not `gte` or `gt`"),
        (correlation(COUNT.replace("gte: 3", "gte: 1")), 11, "a correlation is of two or more"),
        (correlation(COUNT.replace("client.ipAddress", "client.zone")), 11, "field client.zone"),
        (correlation(COUNT.replace("rules: failed", "rules: other")), 1, "pySigma refuses it"),
        (correlation(ORDERED.replace("signed-in", "other").replace("1h", "1h, condition: reset and enrolled or other"),
                     STEPS.replace("signed-in", "other")), 18, "`or` or `not`"),
        ("a: [b\n", 2, "not YAML"),
        ("- 1\n", 1, "no Sigma rule"),
        ("", 1, "no Sigma rule"),
        ("title: x\n", 1, "pySigma refuses it"),
        ("a: &a [1,1,1,1]\nb: &b [*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c]\n"
         "e: &e [*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e]\ndetection: *e\n", 1, "pySigma refuses it"),
        ("x" * 100_001, 1, "longer than"),
        (single(f"sel: {{target.id: [{', '.join(f'app{n}' for n in range(5000))}]}}\ncondition: sel"), 1, "its draft"),
    ],
)  # fmt: skip
def test_what_can_not_be_drafted_is_named_with_file_and_line(tmp_path, text, line, what):
    source = tmp_path / "source.yml"
    source.write_text(text)
    with pytest.raises(RuleError, match=what) as refused:
        read_drafts(source)
    assert str(refused.value).startswith(f"{source}:{line}: "), refused.value
    assert "\n" not in str(refused.value)


def test_an_expression_that_can_not_be_read_is_not_written_to_the_terminal_by_others(tmp_path, capfd):
    (tmp_path / "source.yml").write_text(single('sel: {displayMessage|re: "(\\e[2J"}\ncondition: sel'))
    with pytest.raises(RuleError, match="pySigma refuses it") as refused:
        read_drafts(tmp_path / "source.yml")
    assert "\x1b" not in str(refused.value) + capfd.readouterr().err


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe")
    for name, what in (("bytes.yml", "UTF-8"), ("none.yml", "no such file"), (".", "no such file")):
        with pytest.raises(RuleError, match=what):
            read_drafts(tmp_path / name)


HOSTILE = r"""
title: "*/ drop table events; -- :since {user} ${x} '' \\ |--| ../../../etc/passwd"
id: 0d1b6a5e-7a35-4b5c-8b0a-4a52f3f3b002
author: "Eve */ {trigger} \x1b[31m \u202e <script>"
description: "*/ select 1; /* \x07 [click](javascript:alert) :nothing"
license: "*/ :license"
references: ["*/ :ref", "javascript:alert(1)"]
falsepositives: ["*/ :false", "- [ ] # heading"]
tags: [attack.t1078, "attack.*/", cve.2024-1]
status: deprecated
logsource: {product: okta, service: okta}
detection:
    sel:
        eventType: "x'); drop table events; --.y:z"
        displayMessage: "it's :since and \\:until /* -- */ 'quoted' %s ? $1"
        actor.alternateId|contains: ["a:b", "a\\:b", "100%_!"]
    condition: sel
"""


def test_text_of_strangers_stays_text(draft, store, check):
    rule = draft(HOSTILE)
    assert rule.name == "drop_table_events_since_user_x_etc_passwd"
    assert check(rule.folder) == []
    assert rule.author == "Eve */ {trigger} \x1b[31m \u202e <script>"
    assert rule.license == "*/ :license"
    assert rule.tags == ("attack.t1078",)
    assert rule.status == "experimental"
    for name in ("rule.sql", "README.md", "timelines.yml"):
        text = (rule.folder / name).read_text("utf-8")
        assert not any(sign in text for sign in "\x1b\u202e\x07")
    assert "[click](" not in rule.runbook
    assert "<script>" not in rule.runbook.replace("\\<script\\>", "")
    message = """it's :since and \\:until /* -- */ 'quoted' %s ? $1"""
    kind = "x'); drop table events; --.y:z"
    told = f'09:00 alice "{kind}" name=xa:by "message={message.replace(chr(92), chr(92) * 2)}"'.replace("$1", "$1")
    assert found(store, rule, told) == ["xa:by 09:00:00-09:00:00 1 event"]
    assert found(store, rule, told.replace("xa:by", "other"), org="other") == []


@pytest.mark.parametrize("text", ["a:b", ":since", "a::b", "\\:x", "'", "''", "é:ü", "%", "\\", "a\\", "/*--*/"])
def test_a_literal_is_the_same_text_on_both_databases(store, text):
    with store.reading() as connection:
        assert connection.execute(sa.text(f"select {literal(text)}")).scalar() == text


@pytest.mark.parametrize(
    ("expression", "forms", "is_exact"),
    [
        ("^a.c$", [("a", Wild.ONE, "c")], True),
        ("a+", [(Wild.MANY, "a", Wild.MANY)], False),
        ("^(a|b)x?$", [("a",), ("ax",), ("b",), ("bx",)], True),
        ("^[0-9]{2}z", [(Wild.ONE, Wild.ONE, "z", Wild.MANY)], False),
        (r"\.com$", [(Wild.MANY, ".com")], True),
        ("(?!x)y", [(Wild.MANY, "y", Wild.MANY)], False),
        ("^a.*?b.+$", [("a", Wild.MANY, "b", Wild.ONE, Wild.MANY)], True),
    ],
)
def test_a_regular_expression_becomes_forms_that_match_no_less(expression, forms, is_exact):
    assert patterns(expression, is_folded=True) == (forms, is_exact)


@pytest.mark.parametrize(
    ("parts", "text", "is_like"),
    [
        ((Wild.MANY, "ab", Wild.MANY), "xABy", True),
        (("a", Wild.MANY, "b"), "ab", True),
        (("ab", Wild.MANY, "b"), "ab", False),
        (("a", Wild.ONE, Wild.MANY), "a", False),
        ((Wild.MANY, "a.", Wild.ONE), "xa.b", True),
        ((Wild.MANY, "a", Wild.MANY) * 500 + ("b",), "a" * 2000, False),
    ],
)
def test_a_form_is_tried_on_an_event_as_like_does(parts, text, is_like):
    assert holds(Term(("message",), Like(parts)), {"message": text}) is is_like


def test_a_duration_is_written_in_the_unit_that_fits():
    assert [duration(ms) for ms in (1000, 90_000, 600_000, 7_200_000, 172_800_000)] == ["1s", "90s", "10m", "2h", "2d"]


# The command


def test_the_command_writes_a_folder_and_overwrites_none(tmp_path):
    poller = CommandLine(tmp_path, {})
    (tmp_path / "token.yml").write_text(single("sel: {eventType: system.api_token.create}\ncondition: sel"))
    done = poller("rules", "from-sigma", "token.yml", "--to", "mine")
    assert (done.code, done.out) == (0, "mine/a_rule: A rule\n")
    assert sorted(path.name for path in (tmp_path / "mine/a_rule").iterdir()) == [
        "README.md",
        "rule.sql",
        "timelines.yml",
    ]
    assert poller("rules", "check", "mine").code == 0
    own = CommandLine(tmp_path, {"POLLER_RULES_PATH": "mine"})
    assert own("rules", "test", "a_rule").code == 0
    again = own("rules", "from-sigma", "token.yml")
    assert (again.code, again.out) == (2, "")
    assert "mine/a_rule is there already" in again.err


def test_the_command_says_where_it_needs_a_folder_and_how_pysigma_is_installed(tmp_path, monkeypatch):
    (tmp_path / "rule.yml").write_text(single("sel: {eventType: a.b}\ncondition: sel"))
    assert "--to" in CommandLine(tmp_path, {})("rules", "from-sigma", "rule.yml").err
    monkeypatch.setitem(sys.modules, "sigma.collection", None)
    with pytest.raises(PollerError, match=r"pip install 'okta-poller\[sigma\]'"):
        read_drafts(tmp_path / "rule.yml")
