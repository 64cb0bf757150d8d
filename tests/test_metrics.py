"""What is measured, whatever names it is measured under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest

from poller import metrics
from poller.errors import SettingsError
from poller.settings import load

BY_ORG = {
    name: metric
    for name, metric in vars(metrics).items()
    if isinstance(metric, (Counter, Gauge, Histogram)) and "org" in metric._labelnames
}


def series(org: str) -> set[str]:
    """The names of the series that are told of an org."""
    return {
        sample.name
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("org") == org and not sample.name.endswith("_created")
    }


@pytest.fixture
def measured() -> Iterator[None]:
    for org in ("ours", "theirs"):
        for metric in BY_ORG.values():
            metric.labels(**{name: org if name == "org" else "x" for name in metric._labelnames})
    yield
    for metric in BY_ORG.values():
        metric.clear()


def test_what_stood_still_is_forgotten_and_what_was_counted_is_not(measured: None) -> None:
    everything = series("ours")
    counted = {name for name in everything if name.endswith("_total")}
    assert counted < everything
    metrics.forget("ours")
    assert series("ours") - counted <= {"poller_findings_open"}  # looked up anew each minute
    assert series("ours") >= counted
    assert series("theirs") == everything
    metrics.forget("ours")
    metrics.forget("never seen")


def test_names_and_texts_are_in_order() -> None:
    families = list(metrics.REGISTRY.collect())
    assert families
    for family in families:
        assert re.fullmatch(r"poller_[a-z_]+", family.name)
        assert family.documentation.endswith(".")


def test_labels_come_from_settings_and_rules_and_never_from_events() -> None:
    """What attackers write would make a series each, without end."""
    names = {
        name
        for metric in vars(metrics).values()
        if isinstance(metric, (Counter, Gauge, Histogram))
        for name in metric._labelnames
    }
    assert names <= {"org", "rule", "kind", "severity", "version", "database"}


def test_a_name_that_could_not_be_told_is_no_name_of_an_org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone surrogate, which is what bytes in the environment that are no UTF-8 become, can't be encoded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLLER_OKTA_ORG_URL", "https://acme.okta.com")
    monkeypatch.setenv("POLLER_OKTA_API_TOKEN", "token")
    for name in ("\udcff", "line\nbreak"):
        monkeypatch.setenv("POLLER_OKTA_ORG_NAME", name)
        with pytest.raises((SettingsError, ValueError)):
            load().all_orgs()
    monkeypatch.setenv("POLLER_OKTA_ORG_NAME", '"ü\u202e{}')
    (org,) = load().all_orgs()
    metrics.LAG.labels(org.name).set(1)
    assert b'org="\\"\xc3\xbc' in generate_latest(metrics.REGISTRY)
    metrics.forget(org.name)
