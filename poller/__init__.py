"""Poller: identity threat detection from Okta's System Log, on one box, with plain SQL."""

__version__ = "0.1.0"
