"""Timelines of push_fatigue in activity names. Those in raw events are in tests/timelines.py."""

from __future__ import annotations

from collections.abc import Callable

Findings = Callable[..., list[str]]


def test_fires_when_a_user_accepts_after_five_rejections(findings: Findings) -> None:
    assert findings("""
        09:00:00  alice  push_rejected
        09:01:00  alice  push_rejected
        09:02:00  alice  push_rejected
        09:03:00  alice  push_rejected
        09:04:00  alice  push_rejected
        09:05:00  alice  mfa_succeeded
    """) == ["alice 09:00:00-09:05:00 6 events"]


def test_is_quiet_when_the_rejections_belong_to_someone_else(findings: Findings) -> None:
    assert not findings("""
        09:00:00  bob    push_rejected
        09:01:00  bob    push_rejected
        09:05:00  alice  mfa_succeeded
    """)


def test_is_quiet_when_the_acceptance_comes_first(findings: Findings) -> None:
    assert not findings("""
        09:00:00  alice  mfa_succeeded
        09:01:00  alice  push_rejected
        09:02:00  alice  push_rejected
    """)


def test_the_window_ends_with_the_login_and_holds_both_its_ends(findings: Findings) -> None:
    assert findings("""
        09:00:00.000  alice  push_rejected
        09:05:00.000  alice  push_rejected
        09:10:00.000  alice  mfa_succeeded
    """) == ["alice 09:00:00-09:10:00 3 events"]
    assert not findings("""
        09:00:00.000  alice  push_rejected
        09:05:00.000  alice  push_rejected
        09:10:00.001  alice  mfa_succeeded
    """)
    assert findings("""
        09:00:00  alice  push_rejected
        09:05:00  alice  push_rejected
        09:05:00  alice  mfa_succeeded
    """) == ["alice 09:00:00-09:05:00 3 events"]


def test_how_many_attempts_and_how_long_are_settings(findings: Findings) -> None:
    story = """
        09:00:00  alice  push_rejected
        09:20:00  alice  push_rejected
        09:25:00  alice  mfa_succeeded
    """
    assert not findings(story)
    assert findings(story, window="25m") == ["alice 09:00:00-09:25:00 3 events"]
    assert not findings(story, window="25m", rejections=3)
    assert findings(story, rejections=1) == ["alice 09:20:00-09:25:00 2 events"]


def test_an_abandoned_push_counts_when_it_was_sent_even_if_that_is_written_after_the_login(findings: Findings) -> None:
    assert findings("""
        09:00:00  alice  push_sent       sign_in=A
        09:01:00  alice  push_rejected   sign_in=B
        09:02:00  alice  mfa_succeeded   sign_in=C
        09:05:00  alice  push_abandoned  sign_in=A
    """) == ["alice 09:00:00-09:02:00 4 events"]
    assert findings("""
        09:01:00  alice  push_rejected
        09:02:00  alice  mfa_succeeded
        09:05:00  alice  push_abandoned  challenge=09:00:30
    """) == ["alice 09:00:30-09:02:00 3 events"]
    assert not findings("""
        09:01:00  alice  push_rejected
        09:02:00  alice  mfa_succeeded
        09:05:00  alice  push_abandoned  challenge=09:02:30
    """)


def test_several_answers_to_one_push_are_one_attempt(findings: Findings) -> None:
    one_push_denied_on_two_phones = """
        09:00:00.000  alice  push_sent      sign_in=A
        09:00:00.012  alice  push_sent      sign_in=A
        09:00:10.000  alice  push_rejected  sign_in=A  ip=198.51.100.1
        09:00:14.000  alice  push_rejected  sign_in=A  ip=198.51.100.2
        09:01:00.000  alice  mfa_succeeded  sign_in=B
    """
    assert not findings(one_push_denied_on_two_phones)
    assert not findings("""
        09:00:00  alice  push_sent       sign_in=A
        09:00:10  alice  push_rejected   sign_in=A
        09:05:00  alice  push_abandoned  sign_in=A
        09:06:00  alice  mfa_succeeded   sign_in=B
    """)
    assert not findings("""
        09:00:00.000  alice  push_rejected_classic  sign_in=A  transaction=T
        09:00:00.020  alice  push_rejected          sign_in=A  transaction=T
        09:01:00.000  alice  mfa_succeeded
    """)


def test_a_push_sent_again_in_the_same_sign_in_is_a_new_attempt(findings: Findings) -> None:
    assert findings("""
        09:00:00  alice  push_sent      sign_in=A
        09:00:10  alice  push_rejected  sign_in=A
        09:01:00  alice  push_sent      sign_in=A
        09:01:10  alice  push_rejected  sign_in=A
        09:02:00  alice  push_sent      sign_in=A
        09:02:10  alice  mfa_succeeded  sign_in=A
    """) == ["alice 09:00:10-09:02:10 6 events"]


def test_a_phone_that_denies_a_pile_of_pushes_denies_each(findings: Findings) -> None:
    assert findings("""
        09:00:00  alice  push_sent      sign_in=A
        09:00:05  alice  push_sent      sign_in=A
        09:00:10  alice  push_sent      sign_in=A
        09:01:00  alice  push_rejected  sign_in=A
        09:01:02  alice  push_rejected  sign_in=A
        09:03:00  alice  mfa_succeeded  sign_in=B
    """) == ["alice 09:01:00-09:03:00 6 events"]


def test_an_unanswered_push_is_no_attempt_when_its_sign_in_went_on_by_another_method(findings: Findings) -> None:
    excused = """
        09:00:00  alice  push_sent        sign_in=A
        09:00:30  alice  mfa_succeeded    sign_in=A  factor=OKTA_SOFT_TOKEN
        09:00:30  alice  push_unanswered  sign_in=A
        09:01:00  alice  push_rejected    sign_in=B
        09:02:00  alice  mfa_succeeded    sign_in=C
    """
    assert not findings(excused)
    assert findings(excused.replace("factor=OKTA_SOFT_TOKEN", "factor=PASSWORD_AS_FACTOR")) == [
        "alice 09:00:00-09:02:00 4 events"
    ]


def test_the_password_step_of_a_sign_in_is_no_login(findings: Findings) -> None:
    assert not findings("""
        09:00:00.000  alice  push_rejected
        09:01:00.000  alice  push_rejected
        09:02:00.000  alice  password_succeeded  sign_in=C
        09:02:00.004  alice  session_started     sign_in=C
        09:02:00.010  alice  factor_challenged   sign_in=C
    """)
    assert findings("""
        09:00:00.000  alice  push_rejected
        09:01:00.000  alice  push_rejected
        09:02:00.000  alice  password_succeeded  sign_in=C
        09:02:00.004  alice  session_started     sign_in=C
        09:02:00.010  alice  sign_on_allowed     sign_in=C
    """) == ["alice 09:00:00-09:02:00.004 3 events"]


def test_an_app_opened_is_a_login_only_in_a_session_younger_than_the_attempts(findings: Findings) -> None:
    attempts = """
        09:00:00  alice  push_rejected
        09:01:00  alice  push_rejected
        09:02:00  alice  app_opened     session=S
    """
    assert findings(attempts) == ["alice 09:00:00-09:02:00 3 events"]
    assert not findings("08:00:00  alice  app_opened  session=S\n" + attempts)


def test_a_login_between_attempts_does_not_reset_the_count(findings: Findings) -> None:
    assert findings("""
        09:00:00  alice  push_rejected
        09:01:00  alice  mfa_succeeded
        09:02:00  alice  push_rejected
        09:03:00  alice  mfa_succeeded
    """) == ["alice 09:00:00-09:03:00 3 events"]


def test_one_login_is_one_finding_and_the_next_login_is_none(findings: Findings) -> None:
    assert findings("""
        09:00:00.000  alice  push_rejected
        09:01:00.000  alice  push_rejected
        09:02:00.000  alice  mfa_succeeded     sign_in=C
        09:02:00.300  alice  sign_in_verified  sign_in=C
        09:02:01.000  alice  app_opened        sign_in=C
        09:04:00.000  alice  mfa_succeeded     sign_in=D
    """) == ["alice 09:00:00-09:02:00 5 events"]


def test_what_is_not_a_users_denial_does_not_count(findings: Findings) -> None:
    assert not findings("""
        09:00:00  alice  app_too_old
        09:01:00  alice  password_refused
        09:02:00  alice  push_rejected     factor=SIGNED_NONCE
        09:03:00  alice  push_rejected     factor=OKTA_SOFT_TOKEN
        09:04:00  alice  push_sent
        09:05:00  alice  mfa_succeeded
    """)
