-- One view per activity: what an Okta eventType means is decided here, once.
-- Rules read these views; so can you. Sources: Okta event type catalogue and System Log samples, see docs/activities.md.

-- A push was sent to one device. Several devices make several rows for one push, milliseconds apart.
create view push_sent as
select * from events
where event_type = 'system.push.send_factor_verify_push'
  and outcome = 'SUCCESS'
  and user_uid <> 'unknown';

-- A push was answered with anything but approval: denied, wrong number, an error in the app. Classic has a type of
-- its own for it, and older Classic orgs only the reason.
create view push_rejected as
select * from events
where event_type = 'user.mfa.okta_verify.deny_push'
  and user_uid <> 'unknown'
union all
select * from events
where event_type = 'user.authentication.auth_via_mfa'
  and outcome = 'FAILURE'
  and (factor = 'OKTA_VERIFY_PUSH' or outcome_reason = 'User rejected Okta push verify')
  and user_uid <> 'unknown';

-- A push ran out. Okta writes this on expiry, minutes after the push and even after a success.
create view push_abandoned as
select * from events
where event_type = 'user.authentication.auth_via_mfa'
  and outcome = 'ABANDONED'
  and factor = 'OKTA_VERIFY_PUSH'
  and user_uid <> 'unknown';

-- A push got no answer before the user signed in, or tried to, by other means.
create view push_unanswered as
select * from events
where event_type = 'user.authentication.auth_via_mfa'
  and outcome = 'UNANSWERED'
  and factor = 'OKTA_VERIFY_PUSH'
  and user_uid <> 'unknown';

-- A factor other than something known was verified in a sign-in (not while enrolling or recovering).
create view mfa_succeeded as
select * from events
where event_type = 'user.authentication.auth_via_mfa'
  and outcome = 'SUCCESS'
  and (factor is null or factor not in ('PASSWORD_AS_FACTOR', 'PASSWORD', 'SECURITY_QUESTION', 'QUESTION'))
  and (factor_intent is null or factor_intent not in ('CREDENTIAL_ENROLLMENT', 'CREDENTIAL_RECOVERY'))
  and user_uid <> 'unknown';

-- The password, or another thing known, was right.
create view password_succeeded as
select * from events
where event_type = 'user.authentication.auth_via_mfa'
  and outcome = 'SUCCESS'
  and factor in ('PASSWORD_AS_FACTOR', 'PASSWORD', 'SECURITY_QUESTION', 'QUESTION')
  and user_uid <> 'unknown';

-- A whole sign-in was verified (Identity Engine).
create view sign_in_verified as
select * from events
where event_type = 'user.authentication.verify'
  and outcome = 'SUCCESS'
  and user_uid <> 'unknown';

-- A session began. In Identity Engine this stands after the first factor: the second may still be waited for.
create view session_started as
select * from events
where event_type = 'user.session.start'
  and outcome = 'SUCCESS'
  and user_uid <> 'unknown';

-- A sign-on policy asked for one more factor.
create view factor_challenged as
select * from events
where event_type = 'policy.evaluate_sign_on'
  and outcome = 'CHALLENGE'
  and user_uid <> 'unknown';

-- A sign-on policy was satisfied.
create view sign_on_allowed as
select * from events
where event_type = 'policy.evaluate_sign_on'
  and outcome = 'ALLOW'
  and user_uid <> 'unknown';

-- An app was opened through single sign-on: by a fresh sign-in or, all day long, by an open session.
create view app_opened as
select * from events
where event_type = 'user.authentication.sso'
  and outcome = 'SUCCESS'
  and user_uid <> 'unknown';
