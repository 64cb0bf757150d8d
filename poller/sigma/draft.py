"""The files of a rule folder, drafted from a Sigma rule: metadata, runbook and timelines. Pure.

Text of the Sigma file comes into them only as literals and quoted scalars, and into the runbook as plain words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from uuid import NAMESPACE_URL, uuid5

from poller.checking.header import STATUSES, TACTICS
from poller.findings import SEVERITIES
from poller.rules import RULES_FOLDER
from poller.sigma.query import Pattern, query
from poller.sigma.terms import columns_of
from poller.sigma.timelines import timelines
from poller.text import printable

LICENSE = "DRL-1.1"  # SPDX's name for the Detection Rule License 1.1
_LICENSE_URL = "https://github.com/SigmaHQ/Detection-Rule-License"
_SIGMA_URL = "https://github.com/SigmaHQ/sigma"
_MOST_TITLE = 120
_LONGEST_NAME = 60
# Words that YAML takes for something else than text, and characters that mean something to it.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 _.,/()@+-]*[A-Za-z0-9.)]")
_NOT_TEXT = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>#|~!]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True)
class About:
    """What a Sigma rule says of itself. `notes`: what the draft does not say just as it does."""

    file: str
    title: str
    original_ids: tuple[str, ...]
    status: str
    description: str
    author: str
    license: str
    references: tuple[str, ...]
    level: str
    tags: tuple[str, ...]
    falsepositives: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A rule folder that is not written yet: `files` are its texts by name."""

    name: str
    title: str
    files: Mapping[str, str]
    notes: tuple[str, ...]


def draft(about: About, pattern: Pattern, taken: Collection[str] = ()) -> Draft:
    """A rule folder that finds what the pattern says, with its author's credit."""
    notes = list(about.notes)
    if pattern.has_no_types():
        notes.append(
            "the rule names no eventType: every kind of event is read, by each page. Name those that it can be about"
        )
    told, untold = timelines(pattern)
    notes += untold
    name = _name(about, taken)
    files = {
        "rule.sql": _header(about, pattern, notes) + query(pattern),
        "README.md": _runbook(name, about, pattern, notes),
        "timelines.yml": told,
    }
    return Draft(name, about.title, files, tuple(notes))


def _name(about: About, taken: Collection[str]) -> str:
    """A folder's name made of the title: small letters, digits and `_`, and none that poller or `taken` has."""
    word = re.sub(r"[^a-z0-9]+", "_", about.title.lower()).strip("_")[:_LONGEST_NAME].strip("_")
    word = word if word and not word[0].isdigit() else f"sigma_{word}".strip("_")
    known = {path.parent.name for path in RULES_FOLDER.glob("*/rule.sql")} | set(taken)
    choices = [word, f"sigma_{word}", *(f"sigma_{word}_{number}" for number in range(2, 1000))]
    return next(choice for choice in choices if choice not in known)


def _uid(about: About) -> str:
    """The same Sigma rule gives the same id."""
    named = about.original_ids[0] if about.original_ids else f"{about.title}\n{about.description}"
    return str(uuid5(NAMESPACE_URL, f"sigma:{named}"))


def _scalar(text: str) -> str:
    """Text as a scalar of YAML on one line, which neither ends a comment of SQL nor hides anything."""
    text = re.sub("[\x00\ud800-\udfff]", "\ufffd", text)
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    quoted = json.dumps(text, ensure_ascii=False).replace("*/", "*\\/")
    return "".join(letter if letter == printable(letter) else f"\\U{ord(letter):08x}" for letter in quoted)


def _header(about: About, pattern: Pattern, notes: Sequence[str]) -> str:
    tags, _ = _tags(about)
    references = [*about.references, *(f"Sigma rule {uid}" for uid in about.original_ids)]
    lines = [f"title: {_scalar(about.title[:_MOST_TITLE])}", f"id: {_uid(about)}"]
    lines.append(f"status: {about.status if about.status in STATUSES else 'experimental'}")
    lines.append(f"description: {_scalar(_described(about, notes))}")
    if about.author:
        lines.append(f"author: {_scalar(about.author)}")
    lines.append(f"license: {_scalar(about.license or LICENSE)}")
    lines.append(f"level: {about.level if about.level in SEVERITIES else 'medium'}")
    lines.append(f"tags: [{', '.join(tags)}]")
    lines += _listed("references", references)
    lines += _listed("falsepositives", about.falsepositives)
    lines.append("logsource: {product: okta, service: okta}")
    values = ", ".join(f"{name}: {value}" for name, value in pattern.parameters.items())
    lines += [f"parameters: {{{values}}}", f"lookback: {pattern.lookback}"]
    if reads := pattern.reads():
        lines.append(f"reads: [{', '.join(reads)}]")
    lines += _listed("summary", _summary(about, pattern))
    return "/*\n" + "\n".join(lines) + "\n*/\n"


def _listed(key: str, texts: Iterable[str]) -> list[str]:
    found = [" ".join(text.split()) for text in texts if text.strip()]
    return [f"{key}:", *(f"  - {_scalar(text)}" for text in dict.fromkeys(found))] if found else []


def _described(about: About, notes: Sequence[str]) -> str:
    told = " ".join(about.description.split()) or about.title
    ends = "" if told.endswith((".", "!", "?")) else "."
    return f"{told}{ends} " + " ".join(f"{_sentence(note)}" for note in notes) if notes else f"{told}{ends}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _tags(about: About) -> tuple[list[str], list[str]]:
    """Those of ATT&CK, and the others."""
    kept: list[str] = []
    others: list[str] = []
    for tag in about.tags:
        name = tag.lower().removeprefix("attack.").replace("_", "-")
        is_attack = tag.lower().startswith("attack.") and (name in TACTICS or re.fullmatch(r"t\d{4}(\.\d{3})?", name))
        (kept if is_attack else others).append(f"attack.{name}" if is_attack else tag)
    return list(dict.fromkeys(kept)), others


def _summary(about: About, pattern: Pattern) -> list[str]:
    """The clauses of a finding's sentence. The licence asks that the author be named where a match is shown."""
    title = re.sub(r"\{", "(", re.sub(r"\}", ")", about.title[:_MOST_TITLE]))
    role = pattern.steps[-1].role
    clauses = [f"{{user}}: {title}" if pattern.user_column else title]
    if pattern.kind != "event":
        clauses.append("from {first} to {last} UTC" if pattern.kind.startswith("temporal") else
                       f"{{{role}.count}} events between {{first}} and {{last}} UTC")  # fmt: skip
    clauses += [f"{{{role}.event_type}}", f"on {{{role}.target_name|{role}.target_user_name}}"]
    clauses.append(f"from {{{role}.places}}")
    if about.author:
        author = re.sub(r"\{", "(", re.sub(r"\}", ")", about.author))
        clauses.append(f"Sigma rule by {author}")
    return clauses


# The runbook


def _words(text: str) -> str:
    """A stranger's text as plain words of Markdown, on one line."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(" ".join(text.split())))


def _link(text: str) -> str:
    is_address = re.fullmatch(r"https?://[\w.-]+(/[\w./?=&%#:@+,;~-]*)?", text, re.ASCII)
    return f"<{text}>" if is_address else _words(text)


def _paragraph(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(
        fill(text, 120, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for text in texts
    )


def _runbook(name: str, about: About, pattern: Pattern, notes: Sequence[str]) -> str:
    tags, others = _tags(about)
    falsepositives = [
        _words(text) for text in about.falsepositives if text.strip().lower() not in ("", "unknown", "none")
    ]
    blind = [_sentence(_words(note)) for note in notes]
    blind.append("What Okta does not log, and what its events say in fields that the query does not read.")
    sections = {
        "Goal": [
            _paragraph(_words(about.description or about.title)),
            _paragraph(f"MITRE ATT&CK: {', '.join(tags)}.") if tags else "",
        ],
        "What it sees": [_paragraph(_told(pattern)), _paragraph(_read(pattern))],
        "Blind spots": [_bullets(blind)],
        "False positives": [_bullets(falsepositives or ["None are named. Write down those that you meet."])],
        "Triage": [_bullets(_TRIAGE)],
        "Response": [_paragraph(_RESPONSE)],
        "Credit": [_paragraph(_credit(about)), _bullets(map(_link, about.references)) if about.references else ""],
    }
    if others:
        sections["Credit"].append(_paragraph(f"Other tags of the rule: {', '.join(_words(tag) for tag in others)}."))
    parts = [f"# {name}: {_words(about.title)}"]
    for heading, paragraphs in sections.items():
        parts.append(f"## {heading}\n" + "\n\n".join(part for part in paragraphs if part))
    return "\n\n".join(parts) + "\n"


_TRIAGE = (
    "`poller findings show UID`: read who did what, when and from where.",
    "`poller timeline --user U`: what else the user did before and after, and whether the place and the device are "
    "usual for them.",
    "`poller timeline --ip A`: which other users the address touched.",
    "Ask the user, by a channel that is not of the same account, whether it was they.",
)
_RESPONSE = (
    "This is a draft: write here what your team does. As a rule: where nobody vouches for it, clear the user's "
    "sessions, reset the password and the factors, undo the change in the Admin Console, and close the finding with "
    "`poller findings set UID --status resolved --reason true_positive`."
)


def _told(pattern: Pattern) -> str:
    roles = ", ".join(f"`{step.role}`" for step in pattern.steps)
    if pattern.kind == "event":
        return (
            f"Each event that the query selects is a finding of its own: trigger and evidence, with the role {roles}."
        )
    together = "" if not pattern.steps[0].keys else ", grouped by " + " and ".join(
        f"`{key[0]}`" for key in pattern.steps[0].keys
    )  # fmt: skip
    if pattern.kind == "event_count":
        what = f"`at_least` events within `window`{together}. The finding is made on the event that reaches the number."
        return what + " Evidence are the events of the window, with the role `matched`."
    if pattern.kind == "value_count":
        value = f"`{pattern.steps[0].value[0]}`"
        what = (
            f"`at_least` different values of {value} within `window`{together}. The finding is made on the event that"
        )
        return what + " reaches the number. Evidence are the events of the window, with the role `matched`."
    if pattern.kind == "temporal":
        what = f"Events of {pattern.at_least} of the kinds {roles} within `window`, in any order{together}."
        return what + " The finding is made on the event that completes them. The kinds are the roles of the evidence."
    what = f"Events of the kinds {roles}, one after the other, all within `window`{together}."
    return what + " The finding is made on the first event that completes the sequence. The kinds are the roles."


def _read(pattern: Pattern) -> str:
    columns = sorted({column for step in pattern.steps for column in columns_of(step.tree)})
    return f"It reads the columns {', '.join(f'`{column}`' for column in columns)} of `events`."


def _credit(about: About) -> str:
    """What the Detection Rule License asks to be kept: author, source, licence, and that the rule was changed."""
    whose = f" by {_words(about.author)}" if about.author else ""
    ids = f", id {' and '.join(about.original_ids)}" if about.original_ids else ""
    told = f"Drafted by `poller rules from-sigma` from the Sigma rule “{_words(about.title)}”{whose} (file"
    told += f" {_words(about.file)}{ids}), and changed in that: its detection was put into SQL."
    if about.license:
        return f"{told} Its licence: {_words(about.license)}."
    return (
        f"{told} The file names no licence. Rules that SigmaHQ publishes (<{_SIGMA_URL}>) are under the Detection Rule"
        f" License 1.1 (<{_LICENSE_URL}>): keep the author's name with the rule, and where matches are shown."
    )
