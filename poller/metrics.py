"""What is measured, in Prometheus' terms; `poller/health.py` serves it. Imported only by who polls.

Every name here is on the dashboard in deploy/grafana, and alerts in deploy/prometheus use some; tests/test_deploy.py
holds them to it.
"""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each counter that nobody reads
REGISTRY = CollectorRegistry()


def _counter(name: str, what: str, *labels: str) -> Counter:
    return Counter(f"poller_{name}", what, labels, registry=REGISTRY)


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(f"poller_{name}", what, labels, registry=REGISTRY)


PAGES = _counter("pages", "Pages of Okta's System Log committed.", "org")
EVENTS = _counter("events", "Events stored.", "org")
REPEATED = _counter("events_repeated", "Events delivered that were stored already.", "org")
LATE = _counter("events_late", "Events stored that were published before the last look had reached their time.", "org")
RECOVERED = _counter("events_recovered", "Events that only a verification found, now stored.", "org")
QUARANTINED = _counter("quarantined", "Records that could not be events.", "org")
FINDINGS = _counter("findings", "Findings made.", "org")
OPEN = _gauge(
    "findings_open", "Findings that are new or in progress, looked up once a minute.", "org", "rule", "severity"
)
RETRIES = _counter("request_failures", "Requests to Okta that failed, by kind; most are sent again.", "org", "kind")
RATE_LIMIT = _gauge("rate_limit", "Requests a window that Okta allows, as it last said.", "org")
RATE_REMAINING = _gauge("rate_limit_remaining", "Requests left in the window, as Okta last said.", "org")
LAG = _gauge("lag_seconds", "Age of what is known of an org: since when later events may be missing.", "org")
UP = _gauge("org_up", "1: the last poll of the org succeeded. 0: it failed.", "org")
LAST_POLL = _gauge("last_poll_timestamp_seconds", "When a poll of the org last succeeded, epoch seconds.", "org")
LEASES = _gauge("leases", "Orgs that this process polls.")
DATABASE_UP = _gauge("database_up", "1: the database takes what is stored. 0: it does not.")
RULE_SECONDS = Histogram(
    "poller_rule_seconds",
    "Time that a rule took over the slices that one page touched.",
    ["rule"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RULE_FAILURES = _counter("rule_failures", "Times that a rule of the user's failed with another error.", "rule")
INFO = _gauge("info", "1, with the versions in use.", "version", "database")


def forget(org: str) -> None:
    """Another process polls the org now: gauges that stand still would mislead."""
    for metric in (RATE_LIMIT, RATE_REMAINING, LAG, UP, LAST_POLL):
        with contextlib.suppress(KeyError):
            metric.remove(org)


def labels_of(metric: Gauge) -> set[tuple[str, ...]]:
    """The values of the labels of each series, in the order of their names."""
    [family] = metric.collect()
    return {tuple(sample.labels[name] for name in metric._labelnames) for sample in family.samples}
