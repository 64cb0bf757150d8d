"""Fuzzing of what reads Okta's bytes and of what makes text safe; see `python -m tests.fuzz --help`."""
