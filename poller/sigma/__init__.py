"""Sigma rules to drafts of rule folders. pySigma, an optional extra, reads the file: values with their modifiers,
conditions and correlations. What comes out of it is ours: `terms`, `query` and `draft`.

Everything in the file is a stranger's text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poller.errors import PollerError, RuleError
from poller.rules import MAX_FILE, read_text
from poller.sigma.draft import About, Draft, draft
from poller.sigma.query import Pattern, Step
from poller.sigma.terms import (
    BOOLEANS,
    COLUMNS,
    NUMBERS,
    And,
    Compare,
    Like,
    Missing,
    Not,
    Or,
    Parts,
    Same,
    Term,
    Tree,
    Wild,
    patterns,
)
from poller.text import printable

if TYPE_CHECKING:
    from sigma.correlations import SigmaCorrelationRule
    from sigma.policy import SigmaPolicy
    from sigma.rule import SigmaRule

INSTALL = "pip install 'okta-poller[sigma]'"
_MOST_NETWORKS = 300  # forms that one CIDR block may become
_MOST_STEPS = 8
_DEBUG = "debugcontext.debugdata."
# Okta's field in small letters: the columns that hold it. Of `target`, a list, each column holds one kind of member.
FIELDS: dict[str, tuple[str, ...]] = {
    "uuid": ("uid",),
    "eventtype": ("event_type",),
    "displaymessage": ("message",),
    "severity": ("severity",),
    "outcome.result": ("outcome",),
    "outcome.reason": ("outcome_reason",),
    "actor.id": ("actor_uid",),
    "actor.alternateid": ("actor_name",),
    "actor.displayname": ("actor_name",),
    "actor.type": ("actor_type",),
    "client.ipaddress": ("src_ip",),
    "client.device": ("device",),
    "client.useragent": ("user_agent",),
    "client.useragent.rawuseragent": ("user_agent",),
    "client.geographicalcontext.country": ("src_country",),
    "client.geographicalcontext.city": ("src_city",),
    "client.geographicalcontext.geolocation.lat": ("src_lat",),
    "client.geographicalcontext.geolocation.lon": ("src_lon",),
    "securitycontext.asnumber": ("src_asn",),
    "securitycontext.asorg": ("src_as_org",),
    "securitycontext.isproxy": ("is_proxy",),
    "authenticationcontext.externalsessionid": ("session_uid",),
    "authenticationcontext.rootsessionid": ("root_session_uid",),
    "transaction.id": ("transaction_uid",),
    "target.id": ("target_uid", "app_uid", "target_user_uid"),
    "target.type": ("target_type",),
    "target.displayname": ("target_name", "app_name", "target_user_name"),
    "target.alternateid": ("target_user_name", "target_name", "app_name"),
    f"{_DEBUG}factor": ("factor",),
    f"{_DEBUG}factorintent": ("factor_intent",),
    f"{_DEBUG}pushonlyresponsetype": ("push_response",),
    f"{_DEBUG}pushwithnumberchallengeresponsetype": ("number_challenge_response",),
    f"{_DEBUG}authnrequestid": ("authn_request_uid",),
    f"{_DEBUG}behaviors": ("behaviors",),
    f"{_DEBUG}threatsuspected": ("threat_suspected",),
    f"{_DEBUG}threatdetections": ("threat_detections",),
    f"{_DEBUG}risk": ("risk_level",),
    f"{_DEBUG}logonlysecuritydata": ("behaviors", "risk_level"),
    f"{_DEBUG}dthash": ("device_token",),
    f"{_DEBUG}devicefingerprint": ("device_token",),
    f"{_DEBUG}requesturi": ("request_uri",),
    f"{_DEBUG}privilegegranted": ("privilege",),
    f"{_DEBUG}privilegerevoked": ("privilege",),
    **{name: (name,) for name in COLUMNS},
}
_OBJECTS = ("actor", "client", "outcome", "target", "securitycontext", "authenticationcontext", "debugcontext",
            "transaction", "request", "device", "legacyeventtype", "version", "published")  # fmt: skip
_LOSSY = {
    "actor.displayname": "of the actor the login name (alternateId) is read, not the display name",
    "target.displayname": "of a user among the targets the login name (alternateId) is read, not the display name",
    "target.alternateid": "of a target that is no user the display name is read",
    f"{_DEBUG}logonlysecuritydata": "of logOnlySecurityData only behaviors and risk level are read",
}
# `legacyEventType` is not stored: the eventType that took its place, with the outcome where the old name says it.
_LEGACY: dict[str, tuple[str, str | None]] = {
    "core.user_auth.login_failed": ("user.session.start", "FAILURE"),
    "core.user_auth.login_success": ("user.session.start", "SUCCESS"),
    "core.user_auth.logout_success": ("user.session.end", "SUCCESS"),
    "core.user_auth.account_locked": ("user.account.lock", None),
    "core.user.factor.attempt_fail": ("user.authentication.auth_via_mfa", "FAILURE"),
    "core.user.factor.attempt_success": ("user.authentication.auth_via_mfa", "SUCCESS"),
    "core.user.factor.activate": ("user.mfa.factor.activate", None),
    "core.user.factor.reset_all": ("user.mfa.factor.reset_all", None),
    "app.auth.sso": ("user.authentication.sso", None),
    "api.token.create": ("system.api_token.create", None),
    "api.token.revoke": ("system.api_token.revoke", None),
}


def read_drafts(path: Path, taken: Collection[str] = ()) -> list[Draft]:
    """The rules of a Sigma file, but those that a correlation in it is made of.

    Args:
        taken: names that a draft may not have.
    Raises RuleError: `FILE:LINE: what can't be drafted`; PollerError: pySigma is not there.
    """
    try:
        from sigma.collection import SigmaCollection
        from sigma.correlations import SigmaCorrelationRule
        from sigma.exceptions import SigmaError
    except ImportError:
        raise PollerError(f"from-sigma needs pySigma, which is not installed. Install it: {INSTALL}") from None
    import yaml

    text = _text(path)
    reader = _Reader(path, text)
    try:
        collection = SigmaCollection.from_yaml(text, policy=_policy())
        referred = {
            id(reference.rule)
            for rule in collection.rules
            if isinstance(rule, SigmaCorrelationRule) and not rule.generate
            for reference in rule.referenced_rules
        }
        chosen = [rule for rule in collection.rules if id(rule) not in referred]
        if not chosen:
            raise reader.error("", "it holds no Sigma rule")
        drafts: list[Draft] = []
        for rule in chosen:
            reader.notes = []
            if isinstance(rule, SigmaCorrelationRule):
                pattern, bases = reader.correlation(rule)
            else:
                pattern, bases = Pattern("event", (Step("matched", reader.rule(rule)),)), []
            about = _about(path, rule, bases, reader.notes)
            made = draft(about, pattern, {*taken, *(other.name for other in drafts)})
            if any(len(content) > MAX_FILE for content in made.files.values()):
                raise reader.error("", f"its draft would be longer than {MAX_FILE} characters")
            drafts.append(made)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it can't be read"
        raise RuleError(f"{path}:{mark.line + 1 if mark else 1}: it is not YAML: {printable(problem)}.") from None
    except SigmaError as error:
        told = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise reader.error("", f"pySigma refuses it: {told.rstrip('.')}") from None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise reader.error("", f"it is no Sigma rule ({type(error).__name__})") from error
    except RecursionError:
        raise reader.error("", "it is nested too deeply") from None
    return drafts


def _policy() -> SigmaPolicy:
    """pySigma's own, but that RE2 does not write expressions that it can't read to standard error."""
    import re2
    from sigma.policy import SigmaPolicy
    from sigma.policy.regex_engine import RE2RegexEngine, RegexPattern

    class Quiet(RE2RegexEngine):
        def compile(self, pattern: str, flags: int = 0) -> RegexPattern:
            options = re2.Options()
            options.log_errors = False
            letters = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}
            prefix = "".join(letter for flag, letter in letters.items() if flags & flag)
            if prefix:
                pattern = f"(?{prefix}){pattern}"
            made: RegexPattern = re2.compile(pattern, options)  # type: ignore[no-untyped-call]
            return made

    return SigmaPolicy(regex_engine=Quiet())


def _text(path: Path) -> str:
    if not path.is_file():
        raise RuleError(f"{path}:1: there is no such file.")
    return read_text(path, str(path))


class _Reader:
    """One file. `notes` gathers what a draft can't say just as its rule does."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.notes: list[str] = []

    def error(self, field: str, what: str, start: int = 0) -> RuleError:
        return RuleError(f"{self.path}:{self._line(field, start)}: {printable(what)}.")

    def _mistake(self, key: str, what: str) -> RuleError:
        """An error in a correlation itself, not in the rules that stand before it."""
        return self.error(key, what, max(self.text.find("correlation:"), 0))

    def note(self, what: str) -> None:
        if what not in self.notes:
            self.notes.append(what)

    def _line(self, word: str, start: int) -> int:
        """The first line on which a field, or a value, is named by itself; else 1."""
        found = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w.])").search(self.text, start) if word else None
        return 1 + self.text[: found.start()].count("\n") if found else 1

    # Conditions

    def rule(self, rule: SigmaRule) -> Tree:
        source = rule.logsource
        named = {source.product, source.service, source.category} - {None}
        if source.product not in (None, "okta") or not named:
            raise self.error("logsource", "its logsource is not `product: okta`")
        trees = [self._tree(condition.parsed) for condition in rule.detection.parsed_condition]
        return trees[0] if len(trees) == 1 else Or(tuple(trees))

    def _tree(self, node: Any) -> Tree:
        from sigma.conditions import (
            ConditionAND,
            ConditionFieldEqualsValueExpression,
            ConditionNOT,
            ConditionOR,
            ConditionValueExpression,
        )

        if isinstance(node, ConditionNOT):
            return Not(self._tree(node.args[0]))
        if isinstance(node, (ConditionAND, ConditionOR)):
            items = tuple(self._tree(item) for item in node.args)
            return And(items) if isinstance(node, ConditionAND) else Or(items)
        if isinstance(node, ConditionFieldEqualsValueExpression):
            return self._term(node.field, node.value)
        if isinstance(node, ConditionValueExpression):
            raise self.error(str(node.value), "it looks for words anywhere in the event; name the field they stand in")
        raise self.error("condition", "its condition asks for nothing")

    def columns(self, field: str) -> tuple[str, ...]:
        """The columns that hold a field. Raises RuleError: none does."""
        name = re.sub(r"\{\}|\[[\d*]*\]|\.\d+(?=\.)", "", field).lower()
        if name not in FIELDS:
            where = "is in the raw event only" if name.split(".")[0] in _OBJECTS else "is no field of Okta's"
            raise self.error(
                field, f"no column of events holds the field {field}, which {where}. There are: {', '.join(COLUMNS)}"
            )
        if name in _LOSSY:
            self.note(f"for {field}, {_LOSSY[name]}")
        return FIELDS[name]

    def _term(self, field: str, value: Any) -> Tree:
        from sigma.types import (
            SigmaBool,
            SigmaCasedString,
            SigmaCIDRExpression,
            SigmaCompareExpression,
            SigmaExists,
            SigmaExpansion,
            SigmaFieldReference,
            SigmaNull,
            SigmaNumber,
            SigmaRegularExpression,
            SigmaString,
            SigmaTimestampPart,
        )

        if isinstance(value, SigmaExpansion):
            return Or(tuple(self._term(field, one) for one in value.values))
        if field.lower() == "legacyeventtype":
            return self._legacy(field, value)
        columns = self.columns(field)
        if isinstance(value, SigmaNull):
            return Term(columns, Missing())
        if isinstance(value, SigmaExists):
            return Not(Term(columns, Missing())) if value.exists else Term(columns, Missing())
        if isinstance(value, SigmaFieldReference):
            other = self.columns(value.field)
            if value.starts_with or value.ends_with or len(other) > 1:
                raise self.error(field, f"{field}: fields are compared as a whole only, and with one column")
            return Term(columns, Same(other[0]))
        if isinstance(value, SigmaRegularExpression):
            return self._expression(field, columns, value)
        if isinstance(value, SigmaCIDRExpression):
            return self._network(field, columns, value)
        if isinstance(value, SigmaTimestampPart):
            raise self.error(field, f"{field}: parts of a time are not compared")
        if isinstance(value, SigmaCompareExpression):
            sign = {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">=", "NEQ": "<>"}[value.op.name]
            if not set(columns) <= NUMBERS or not isinstance(value.number, SigmaNumber):
                raise self.error(field, f"{field} is no number: it can't be compared by {sign}")
            return Term(columns, Compare(sign, value.number.number))
        if isinstance(value, (SigmaBool, SigmaNumber)):
            parts: Parts = (str(value).lower(),)
        elif isinstance(value, SigmaString):
            parts = self._parts(field, value)
        else:
            raise self.error(field, f"{field}: a value of the kind {type(value).__name__} can't be looked for")
        if not parts:
            return Term(columns, Missing())  # '' is what Okta did not send
        return self._like(field, columns, Like(parts, isinstance(value, SigmaCasedString)))

    def _parts(self, field: str, value: Any) -> Parts:
        from sigma.types import Placeholder, SpecialChars

        parts: list[str | Wild] = []
        for part in value.s:
            if isinstance(part, Placeholder):
                name = f"%{part.name}%"
                self.note(f"for {field}, {name} stands for names of your own: it matches nothing until you write them")
                part = name
            if isinstance(part, str):
                if printable(part) != part:
                    raise self.error(field, f"{field}: a value holds characters that can't be seen")
                parts.append(part)
            else:
                parts.append(Wild.MANY if part is SpecialChars.WILDCARD_MULTI else Wild.ONE)
        return tuple(parts)

    def _like(self, field: str, columns: tuple[str, ...], test: Like) -> Tree:
        text = test.text
        name = field.lower()
        if set(columns) <= BOOLEANS | NUMBERS:
            if not test.is_plain:
                raise self.error(field, f"{field} holds no text: a part of it can't be looked for")
            if set(columns) <= BOOLEANS:
                if text.lower() not in ("true", "false"):
                    raise self.error(field, f"{field} is true or false, not {text[:40]}")
                return Term(columns, Compare("=", text.lower() == "true"))
            try:
                return Term(columns, Compare("=", float(text) if "." in text else int(text)))
            except ValueError:
                raise self.error(field, f"{field} is a number, not {text[:40]}") from None
        if name == "target.type" and test.is_plain and text.lower() in ("user", "appinstance"):
            column = "target_user_uid" if text.lower() == "user" else "app_uid"
            return Not(Term((column,), Missing()))
        if name in (f"{_DEBUG}risk", f"{_DEBUG}logonlysecuritydata"):
            # `level=HIGH` and `"New IP":"POSITIVE"` are kept in plainer words.
            plain = (_plainer(part) if isinstance(part, str) else part for part in test.parts)
            test = Like(tuple(part for part in plain if part != ""), test.is_cased)
        return Term(columns, test)

    def _legacy(self, field: str, value: Any) -> Tree:
        known = _LEGACY.get(str(value).lower())
        if known is None:
            told = ", ".join(_LEGACY)
            raise self.error(
                field, f"{field}: old names of events are not stored; name the eventType. Known are: {told}"
            )
        event_type, outcome = known
        self.note(f"for {field}, {value} is read as {event_type}{f' with outcome {outcome}' if outcome else ''}")
        is_type = Term(("event_type",), Like((event_type,)))
        return And((is_type, Term(("outcome",), Like((outcome,))))) if outcome else is_type

    def _expression(self, field: str, columns: tuple[str, ...], value: Any) -> Tree:
        expression, flags = str(value.regexp), {flag.name for flag in value.flags}
        if set(columns) & (BOOLEANS | NUMBERS):
            raise self.error(field, f"{field} holds no text: a regular expression has nothing to look at")
        try:
            forms, is_exact = patterns(expression, "IGNORECASE" in flags)
        except ValueError as error:
            raise self.error(field, f"{field}: the databases share no regular expressions, and {error}") from None
        for form in forms:
            if any(isinstance(part, str) and printable(part) != part for part in form):
                raise self.error(field, f"{field}: a value holds characters that can't be seen")
        if not is_exact:
            self.note(
                f"for {field}, a regular expression became patterns of `like`, which match all that it does and more"
            )
        return Or(tuple(Term(columns, Like(form)) for form in forms))

    def _network(self, field: str, columns: tuple[str, ...], value: Any) -> Tree:
        written = value.expand()
        if value.network.version == 6 and value.network.num_addresses > 1:
            self.note(
                f"{field}: the block {value.cidr} became patterns of text, which can match some addresses outside"
            )
        if not 0 < len(written) <= _MOST_NETWORKS:
            raise self.error(field, f"{field}: the block {value.cidr} would become too many patterns")
        return Or(tuple(Term(columns, Like(tuple(_wildcards(one)))) for one in written))

    # Correlations

    def correlation(self, rule: SigmaCorrelationRule) -> tuple[Pattern, list[Any]]:
        """What it looks for, and the rules that it is made of."""
        from sigma.correlations import SigmaCorrelationCondition
        from sigma.rule import SigmaRule

        kind = rule.type.name.lower()
        if kind not in ("event_count", "value_count", "temporal", "temporal_ordered"):
            raise self._mistake("type", f"a correlation of the type {kind} can't be drafted")
        references = rule.referenced_rules
        bases = [reference.rule for reference in references if isinstance(reference.rule, SigmaRule)]
        if not bases or len(bases) < len(references):
            raise self._mistake("rules", "a correlation of correlations can't be drafted")
        if len(bases) > _MOST_STEPS:
            raise self._mistake("rules", f"it names more than {_MOST_STEPS} rules")
        condition = rule.condition
        at_least = len(bases)
        if isinstance(condition, SigmaCorrelationCondition):
            if condition.op.name not in ("GTE", "GT", "EQ") or not isinstance(condition.count, int):
                raise self._mistake("condition", "its condition is not `gte` or `gt` with a whole number")
            at_least = condition.count + (condition.op.name == "GT")
            if condition.op.name == "EQ" and not kind.startswith("temporal"):
                self.note("eq: the finding is made where the number is reached, and stays when it is passed")
        elif not _is_all_of(condition.parsed):
            raise self._mistake("condition", "a condition with `or` or `not` over rules can't be drafted")
        value = getattr(condition, "fieldref", None)
        if kind == "value_count" and not isinstance(value, str):
            raise self._mistake("field", "different values of one field are counted, not of several")
        if kind == "temporal_ordered" and at_least != len(bases):
            raise self._mistake("condition", "a sequence is of all its rules")
        if not 2 <= at_least <= (len(bases) if kind.startswith("temporal") else 1_000_000):
            raise self._mistake("condition", f"its condition asks for {at_least}: a correlation is of two or more")
        steps: list[Step] = []
        for reference, base in zip(references, bases, strict=True):
            names = {reference.reference, base.name or "", str(base.id)}
            keys = tuple(self.columns(self._aliased(rule, names, field)) for field in rule.group_by or [])
            counted = self.columns(self._aliased(rule, names, value)) if kind == "value_count" and value else ()
            role = _word(base.name or base.title) if kind.startswith("temporal") else "matched"
            roles = {step.role for step in steps}
            if kind.startswith("temporal"):
                role = next(name for name in _numbered(role) if name not in roles)
            steps.append(Step(role, self.rule(base), keys, counted))
        if rule.timespan.unit in "My":
            self.note(f"timespan: {rule.timespan.spec} is taken for {rule.timespan.seconds} s")
        window = rule.timespan.seconds * 1000
        if window > 366 * 86_400_000:
            raise self._mistake("timespan", "its timespan is longer than a year")
        return Pattern(kind, tuple(steps), at_least, window), bases  # type: ignore[arg-type]

    def _aliased(self, rule: SigmaCorrelationRule, names: set[str], field: str) -> str:
        for alias in rule.aliases:
            if alias.alias == field:
                for reference, mapped in alias.mapping.items():
                    if reference.reference in names:
                        return str(mapped)
                raise self.error(field, f"the alias {field} names no field of one of the rules")
        return field


def _is_all_of(node: Any) -> bool:
    from sigma.correlations import CorrelationConditionAND, SigmaRuleReference

    if isinstance(node, CorrelationConditionAND):
        return all(_is_all_of(item) for item in node.args)
    return isinstance(node, SigmaRuleReference)


def _plainer(text: str) -> str:
    return re.sub(r'"?:\s*"?', "=", text).replace('"', "").replace("level=", "")


def _wildcards(text: str) -> Iterator[str | Wild]:
    for part in re.split(r"([*?])", text):
        if part:
            yield {"*": Wild.MANY, "?": Wild.ONE}.get(part, part)


def _word(text: str | None) -> str:
    """A role: small letters, digits and `_`."""
    word = re.sub(r"[^a-z0-9]+", "_", (text or "").lower()).strip("_")[:40].strip("_")
    return word if word and not word[0].isdigit() else f"step_{word}".strip("_")


def _numbered(word: str) -> Iterator[str]:
    yield word
    yield from (f"{word}_{number}" for number in range(2, 100))


def _about(path: Path, rule: Any, bases: Sequence[Any], notes: Sequence[str]) -> About:
    authors = dict.fromkeys(one.author.strip() for one in (rule, *bases) if one.author and one.author.strip())
    licenses = dict.fromkeys(one.license.strip() for one in (rule, *bases) if one.license and one.license.strip())
    parts = [*bases, rule]
    return About(
        file=path.name,
        title=" ".join(str(rule.title or path.stem).split()),
        original_ids=tuple(str(one.id) for one in (rule, *bases) if one.id),
        status=str(rule.status) if rule.status else "",
        description=str(rule.description or "").strip(),
        author=", ".join(authors),
        license=", ".join(licenses),
        references=tuple(dict.fromkeys(str(link) for one in parts for link in one.references)),
        level=str(rule.level) if rule.level else "medium",
        tags=tuple(dict.fromkeys(str(tag) for one in parts for tag in one.tags)),
        falsepositives=tuple(dict.fromkeys(str(text) for one in parts for text in one.falsepositives)),
        notes=tuple(notes),
    )
