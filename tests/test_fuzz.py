"""A short run of what `python -m tests.fuzz` does at length: its corpus, and random inputs around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import ORIGINS, PLACES, TARGETS
from tests.hostile import PAYLOADS

FOLDER = Path(__file__).with_name("fuzz") / "corpus"
CORPUS = {name: [path.read_bytes() for path in sorted(FOLDER.joinpath(name).iterdir())] for name in TARGETS}
CASES = settings(max_examples=300)

texts = st.sampled_from([text for text in PAYLOADS.values() if len(text) < 500]) | st.text(st.characters(codec=None))
fields = st.sampled_from(sorted({name for path in ("uuid", "published", *PLACES.values()) for name in path.split(".")}))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields | texts, inner, max_size=5),
    max_leaves=15,
)


@st.composite
def mutants(draw: st.DrawFn, name: str) -> bytes:
    """An input of the corpus in which some bytes are others, perhaps those of another input."""
    data = draw(st.sampled_from(CORPUS[name]))
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        other = draw(st.binary(max_size=8) | st.sampled_from(CORPUS[name]))
        data = data[:start] + other[:4096] + data[min(end, start + 64) :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_keeps_the_promises(name: str) -> None:
    assert CORPUS[name]
    for data in CORPUS[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_so_do_inputs_like_them(name: str) -> None:
    CASES(given(st.binary(max_size=200) | mutants(name))(TARGETS[name]))()


@CASES
@given(st.dictionaries(fields, values, max_size=8))
def test_so_does_any_record_of_the_fields_that_are_read(value: dict[str, object]) -> None:
    whole = {"uuid": "event-1", "published": "2026-03-10T09:00:00.000Z", **value}
    for record in (value, whole):
        TARGETS["record"](json.dumps(record).encode())
    TARGETS["page"](json.dumps([value, whole]).encode())


@CASES
@given(texts)
def test_so_does_any_text(text: str) -> None:
    TARGETS["text"](text.encode("utf-8", "surrogatepass"))


@CASES
@given(
    st.sampled_from(ORIGINS),
    st.lists(st.sampled_from(["@", ":", "//", "\\", "?", "#", ".", "/", "%2f", "evil"])),
    texts,
)
def test_so_does_any_link_that_looks_like_home(origin: str, parts: list[str], text: str) -> None:
    for link in (f"{origin}{''.join(parts)}/api/v1/logs", f"{''.join(parts)}{origin}/api/v1/logs{text}"):
        TARGETS["link"](f'<{link}>; rel="next"'.encode("utf-8", "surrogatepass"))
