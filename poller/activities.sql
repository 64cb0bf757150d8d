-- An activity is a named kind of event. What an Okta eventType means is decided here, once, in the view `activities`;
-- each activity is a view of its own besides. Rules read these views; so can you.
-- Sources: Okta event type catalogue and System Log samples, see docs/rules.md.

create view activities as
select
    case
        when user_uid = 'unknown' then null  -- a name that nobody has was typed: not one user's doing
        -- A push was sent to one device. Several devices make several rows for one push, milliseconds apart.
        when event_type = 'system.push.send_factor_verify_push' and outcome = 'SUCCESS' then 'push_sent'
        -- A push was answered with anything but approval: denied, wrong number, an error in the app. Classic has a
        -- type of its own for it, and older Classic orgs only the reason.
        when event_type = 'user.mfa.okta_verify.deny_push' then 'push_rejected'
        when event_type = 'user.authentication.auth_via_mfa' then
            case
                when outcome = 'FAILURE'
                 and (factor = 'OKTA_VERIFY_PUSH' or outcome_reason = 'User rejected Okta push verify'
                   or factor is null and coalesce(push_response, number_challenge_response) is not null)
                    then 'push_rejected'
                -- A push ran out. Okta writes this on expiry, minutes after the push and even after a success.
                when outcome = 'ABANDONED' and factor = 'OKTA_VERIFY_PUSH' then 'push_abandoned'
                -- A push got no answer before the user signed in by other means.
                when outcome = 'UNANSWERED' and factor = 'OKTA_VERIFY_PUSH' then 'push_unanswered'
                -- The password, or another thing known, was right.
                when outcome = 'SUCCESS'
                 and factor in ('PASSWORD_AS_FACTOR', 'PASSWORD', 'SECURITY_QUESTION', 'QUESTION')
                    then 'password_succeeded'
                -- A factor that is not something known was verified to sign in (not to enrol or recover one).
                when outcome = 'SUCCESS'
                 and (factor_intent is null or factor_intent not in ('CREDENTIAL_ENROLLMENT', 'CREDENTIAL_RECOVERY'))
                    then 'mfa_succeeded'
            end
        -- A sign-on policy asked for one more factor, or was satisfied.
        when event_type = 'policy.evaluate_sign_on' and outcome = 'CHALLENGE' then 'factor_challenged'
        when event_type = 'policy.evaluate_sign_on' and outcome = 'ALLOW' then 'sign_on_allowed'
        -- A whole sign-in was verified (Identity Engine).
        when event_type = 'user.authentication.verify' and outcome = 'SUCCESS' then 'sign_in_verified'
        -- A session began. In Identity Engine this stands after the first factor: the second may still be waited for.
        when event_type = 'user.session.start' and outcome = 'SUCCESS' then 'session_started'
        -- An app was opened: by a fresh sign-in or, all day long, by an open session.
        when event_type = 'user.authentication.sso' and outcome = 'SUCCESS' then 'app_opened'
    end as activity,
    events.*
from events;

create view push_sent as
select * from activities
where event_type = 'system.push.send_factor_verify_push' and activity = 'push_sent';

create view push_rejected as
select * from activities
where event_type in ('user.mfa.okta_verify.deny_push', 'user.authentication.auth_via_mfa')
  and (event_type = 'user.mfa.okta_verify.deny_push' or outcome = 'FAILURE') -- an index answers this much
  and activity = 'push_rejected';

create view push_abandoned as
select * from activities
where event_type = 'user.authentication.auth_via_mfa' and outcome = 'ABANDONED' and activity = 'push_abandoned';

create view push_unanswered as
select * from activities
where event_type = 'user.authentication.auth_via_mfa' and outcome = 'UNANSWERED' and activity = 'push_unanswered';

create view password_succeeded as
select * from activities
where event_type = 'user.authentication.auth_via_mfa' and outcome = 'SUCCESS' and activity = 'password_succeeded';

create view mfa_succeeded as
select * from activities
where event_type = 'user.authentication.auth_via_mfa' and outcome = 'SUCCESS' and activity = 'mfa_succeeded';

create view factor_challenged as
select * from activities
where event_type = 'policy.evaluate_sign_on' and activity = 'factor_challenged';

create view sign_on_allowed as
select * from activities
where event_type = 'policy.evaluate_sign_on' and activity = 'sign_on_allowed';

create view sign_in_verified as
select * from activities
where event_type = 'user.authentication.verify' and activity = 'sign_in_verified';

create view session_started as
select * from activities
where event_type = 'user.session.start' and activity = 'session_started';

create view app_opened as
select * from activities
where event_type = 'user.authentication.sso' and activity = 'app_opened';
