-- An activity is a named kind of event, and a view. What an Okta eventType means is decided here, once: for the steps of
-- a sign-in in the view `activities`, whose rows the first views pick out; for all else in a view of its own. Rules read
-- these views; so can you. Each view names its event types as literals: they tell which rules a page can matter to.
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

-- What follows is not of a sign-in that a push may belong to: views of their own, straight over `events`. Where a name
-- was typed that nobody has, user_uid is 'unknown': attacks on many names hold many of those.

-- ---- credentials ----

-- A password was wrong. Identity Engine writes the wrong factor and the session that did not start, a few milliseconds
-- apart and in one transaction; Classic the session alone; directory agents an event of their own.
create view password_refused as
select 'password_refused' as activity, events.* from events
where event_type in ('user.authentication.auth_via_mfa', 'user.session.start', 'user.authentication.auth_via_AD_agent',
                     'user.authentication.auth_via_LDAP_agent', 'user.authentication.auth_via_radius')
  and outcome = 'FAILURE'
  and (event_type <> 'user.authentication.auth_via_mfa' or factor in ('PASSWORD_AS_FACTOR', 'PASSWORD'))
  and (event_type <> 'user.session.start'
    or coalesce(outcome_reason, 'INVALID_CREDENTIALS') in ('INVALID_CREDENTIALS', 'VERIFICATION_ERROR', 'LOCKED_OUT'));

-- Somebody got in: a session began (in Identity Engine after the first factor), or a whole sign-in was verified.
-- With `coalesce`, no planner is tempted to the users' index.
create view login_succeeded as
select 'login_succeeded' as activity, events.* from events
where event_type in ('user.session.start', 'user.authentication.verify') and outcome = 'SUCCESS'
  and coalesce(user_uid, 'unknown') <> 'unknown';

-- A session was begun, or asked for with the right password, through an address that Okta knows as a proxy or suspects.
create view anonymized_sign_in as
select 'anonymized_sign_in' as activity, events.* from events
where event_type = 'user.session.start' and (is_proxy = true or threat_suspected = true)
  and coalesce(user_uid, 'unknown') <> 'unknown'
  and (outcome = 'SUCCESS'
    or coalesce(outcome_reason, 'INVALID_CREDENTIALS') not in ('INVALID_CREDENTIALS', 'VERIFICATION_ERROR',
                                                               'LOCKED_OUT'));

-- Too many wrong passwords: the account is locked.
create view account_locked as
select 'account_locked' as activity, events.* from events
where event_type in ('user.account.lock', 'user.account.lock.limit');

-- A way back in was asked for: a password reset or an unlock, by mail, text or call.
create view recovery_requested as
select 'recovery_requested' as activity, events.* from events
where event_type in ('user.account.reset_password', 'user.account.unlock_token', 'user.account.unlock',
                     'system.email.password_reset.sent_message', 'system.email.account_unlock.sent_message',
                     'system.sms.send_password_reset_message', 'system.sms.send_account_unlock_message',
                     'system.voice.send_password_reset_call', 'system.voice.send_account_unlock_call');

-- A password was changed, or is to be changed.
create view password_changed as
select 'password_changed' as activity, events.* from events
where event_type in ('user.account.update_password', 'user.account.reset_password', 'user.account.expire_password')
  and outcome = 'SUCCESS';

-- ---- sessions ----

-- FastPass refused to answer, since the page that asked is not the org's: a phishing site in between.
create view phishing_refused as
select 'phishing_refused' as activity, events.* from events
where event_type = 'user.authentication.auth_via_mfa' and outcome = 'FAILURE'
  and outcome_reason = 'FastPass declined phishing attempt';

-- A refresh token was used a second time: it is in two hands.
create view refresh_token_reused as
select 'refresh_token_reused' as activity, events.* from events
where event_type in ('app.oauth2.as.token.detect_reuse', 'app.oauth2.token.detect_reuse');

-- A user said about a mail of Okta's: that was not me.
create view suspicious_activity_reported as
select 'suspicious_activity_reported' as activity, events.* from events
where event_type = 'user.account.report_suspicious_activity_by_enduser';

-- A session was used: begun, let through by a policy, or taken to an app.
create view session_used as
select 'session_used' as activity, events.* from events
where event_type in ('user.session.start', 'policy.evaluate_sign_on', 'user.authentication.sso',
                     'user.session.access_admin_app', 'user.authentication.verify', 'app.oauth2.authorize.code',
                     'app.oauth2.as.authorize.code')
  and outcome in ('SUCCESS', 'ALLOW')
  and coalesce(user_uid, 'unknown') <> 'unknown' and coalesce(session_uid, 'unknown') <> 'unknown';

-- ---- factors ----

create view factor_enrolled as
select 'factor_enrolled' as activity, events.* from events
where event_type in ('user.mfa.factor.activate', 'device.enrollment.create') and outcome = 'SUCCESS';

create view factor_removed as
select 'factor_removed' as activity, events.* from events
where event_type in ('user.mfa.factor.deactivate', 'user.mfa.factor.suspend') and outcome = 'SUCCESS';

-- A factor that had been suspended works again.
create view factor_unsuspended as
select 'factor_unsuspended' as activity, events.* from events
where event_type = 'user.mfa.factor.unsuspend' and outcome = 'SUCCESS';

-- A factor was changed: its phone number, its name.
create view factor_updated as
select 'factor_updated' as activity, events.* from events
where event_type = 'user.mfa.factor.update' and outcome = 'SUCCESS';

create view factors_reset as
select 'factors_reset' as activity, events.* from events
where event_type = 'user.mfa.factor.reset_all' and outcome = 'SUCCESS';

-- A second factor was asked for and passed by.
create view mfa_bypassed as
select 'mfa_bypassed' as activity, events.* from events
where event_type = 'user.mfa.attempt_bypass';

-- A kind of factor was switched off for the whole org.
create view org_factor_disabled as
select 'org_factor_disabled' as activity, events.* from events
where event_type in ('system.mfa.factor.deactivate', 'security.authenticator.lifecycle.deactivate');

-- ---- apps and secrets ----

create view admin_console_opened as
select 'admin_console_opened' as activity, events.* from events
where event_type in ('user.session.access_admin_app', 'user.authentication.sso', 'policy.evaluate_sign_on')
  and outcome in ('SUCCESS', 'ALLOW')
  and (event_type = 'user.session.access_admin_app' or app_name = 'Okta Admin Console');

-- A sign-on policy was asked to let somebody into the Admin Console, whatever it answered.
create view admin_console_asked as
select 'admin_console_asked' as activity, events.* from events
where event_type = 'policy.evaluate_sign_on' and app_name = 'Okta Admin Console';

create view app_access_refused as
select 'app_access_refused' as activity, events.* from events
where event_type in ('app.generic.unauth_app_access_attempt', 'application.policy.sign_on.deny_access');

-- The password of an app account was shown in clear.
create view password_shown as
select 'password_shown' as activity, events.* from events
where event_type = 'application.user_membership.show_password' and (outcome = 'SUCCESS' or outcome is null);

create view app_changed as
select 'app_changed' as activity, events.* from events
where event_type in ('application.lifecycle.create', 'application.lifecycle.update', 'application.lifecycle.activate',
                     'application.lifecycle.deactivate', 'application.lifecycle.delete',
                     'app.oauth2.client.lifecycle.create', 'app.oauth2.client.lifecycle.update',
                     'app.oauth2.client.lifecycle.activate', 'app.oauth2.client.lifecycle.deactivate',
                     'app.oauth2.client.lifecycle.delete')
  and (outcome is null or outcome not in ('FAILURE', 'DENY', 'SKIPPED'));

-- A secret or a key was added to an app: whoever has it can act as the app.
create view app_credential_added as
select 'app_credential_added' as activity, events.* from events
where event_type in ('app.oauth2.credentials.lifecycle.create', 'app.oauth2.credentials.lifecycle.activate')
  and (outcome = 'SUCCESS' or outcome is null);

-- ---- administration ----

-- An admin role was given to a user, a group or an app, or somebody tried to: `outcome` tells.
create view admin_role_granted as
select 'admin_role_granted' as activity, events.* from events
where event_type in ('user.account.privilege.grant', 'group.privilege.grant', 'iam.resourceset.bindings.add',
                     'app.oauth2.client.privilege.grant');

create view admin_role_revoked as
select 'admin_role_revoked' as activity, events.* from events
where event_type in ('user.account.privilege.revoke', 'group.privilege.revoke', 'iam.resourceset.bindings.delete')
  and (outcome = 'SUCCESS' or outcome is null);

create view api_token_created as
select 'api_token_created' as activity, events.* from events
where event_type = 'system.api_token.create' and (outcome = 'SUCCESS' or outcome is null);

create view api_token_revoked as
select 'api_token_revoked' as activity, events.* from events
where event_type = 'system.api_token.revoke' and (outcome = 'SUCCESS' or outcome is null);

-- A token was used from where it may not be used.
create view token_used_elsewhere as
select 'token_used_elsewhere' as activity, events.* from events
where event_type in ('system.api_token.request_outside_allowed_range',
                     'system.oauth2.token.request_outside_allowed_range');

-- An identity provider, or the key that its assertions are checked with.
create view idp_changed as
select 'idp_changed' as activity, events.* from events
where event_type in ('system.idp.lifecycle.create', 'system.idp.lifecycle.update', 'system.idp.lifecycle.activate',
                     'system.idp.lifecycle.deactivate', 'system.idp.lifecycle.delete', 'system.idp.key.create',
                     'system.idp.key.update')
  and (outcome = 'SUCCESS' or outcome is null);

-- A user signed in through an identity provider outside the org.
create view idp_signed_in as
select 'idp_signed_in' as activity, events.* from events
where event_type in ('user.authentication.auth_via_IDP', 'user.authentication.auth_via_inbound_SAML',
                     'user.authentication.auth_via_social')
  and outcome = 'SUCCESS';

create view policy_weakened as
select 'policy_weakened' as activity, events.* from events
where event_type in ('policy.lifecycle.update', 'policy.lifecycle.deactivate', 'policy.lifecycle.delete',
                     'policy.lifecycle.overwrite')
  and (outcome = 'SUCCESS' or outcome is null);

create view policy_rule_weakened as
select 'policy_rule_weakened' as activity, events.* from events
where event_type in ('policy.rule.update', 'policy.rule.deactivate', 'policy.rule.delete')
  and (outcome = 'SUCCESS' or outcome is null);

create view sign_on_policy_weakened as
select 'sign_on_policy_weakened' as activity, events.* from events
where event_type in ('application.policy.sign_on.update', 'application.policy.sign_on.rule.create',
                     'application.policy.sign_on.rule.update', 'application.policy.sign_on.rule.delete')
  and (outcome = 'SUCCESS' or outcome is null);

create view network_zone_weakened as
select 'network_zone_weakened' as activity, events.* from events
where event_type in ('zone.update', 'zone.deactivate', 'zone.delete', 'zone.remove_blacklist',
                     'security.zone.remove_blacklist', 'network_zone.rule.disabled')
  and (outcome = 'SUCCESS' or outcome is null);

create view log_stream_changed as
select 'log_stream_changed' as activity, events.* from events
where event_type in ('system.log_stream.lifecycle.deactivate', 'system.log_stream.lifecycle.delete',
                     'system.log_stream.lifecycle.update', 'system.log_stream.lifecycle.create',
                     'system.log_stream.lifecycle.activate', 'event_hook.deactivated', 'event_hook.deleted',
                     'event_hook.updated')
  and (outcome = 'SUCCESS' or outcome is null);

create view impersonation_started as
select 'impersonation_started' as activity, events.* from events
where event_type in ('user.session.impersonation.grant', 'user.session.impersonation.extend',
                     'user.session.impersonation.initiate');

-- ThreatInsight took a request for an attack.
create view threat_detected as
select 'threat_detected' as activity, events.* from events
where event_type = 'security.threat.detected';

-- ThreatInsight sees the whole org under attack.
create view org_attacked as
select 'org_attacked' as activity, events.* from events
where event_type = 'security.attack.start';

-- What Okta itself does against attacks was set anew: ThreatInsight, behaviors, protections of passwords, sessions and
-- admins' acts.
create view threat_insight_changed as
select 'threat_insight_changed' as activity, events.* from events
where event_type in ('security.threat.configuration.update', 'security.behavior.settings.update',
                     'security.behavior.settings.delete', 'security.attack_protection.settings.update',
                     'security.session_protection.status.update', 'security.protected_action.settings.update')
  and (outcome = 'SUCCESS' or outcome is null);

create view rate_limit_hit as
select 'rate_limit_hit' as activity, events.* from events
where event_type in ('system.org.rate_limit.violation', 'system.org.rate_limit.burst', 'system.org.rate_limit.warning',
                     'core.concurrency.org.limit.violation', 'system.operation.rate_limit.violation',
                     'system.operation.rate_limit.warning', 'system.operation.concurrency_limit.violation',
                     'system.client.rate_limit.violation', 'system.client.concurrency_rate_limit.violation',
                     'app.oauth2.client_id_rate_limit_warning', 'application.integration.rate_limit_exceeded');

-- What only administrators do, by hand or by a token: settings, roles, keys, and the Admin Console itself.
create view admin_acted as
select 'admin_acted' as activity, events.* from events
where event_type in ('policy.lifecycle.update', 'policy.lifecycle.create', 'policy.lifecycle.activate',
                     'policy.lifecycle.deactivate', 'policy.lifecycle.delete', 'policy.lifecycle.overwrite',
                     'policy.rule.add', 'policy.rule.update', 'policy.rule.activate', 'policy.rule.deactivate',
                     'policy.rule.delete', 'application.policy.sign_on.update', 'application.policy.sign_on.rule.create',
                     'application.policy.sign_on.rule.delete', 'application.lifecycle.create',
                     'application.lifecycle.update', 'application.lifecycle.activate',
                     'application.lifecycle.deactivate', 'application.lifecycle.delete',
                     'app.oauth2.credentials.lifecycle.create', 'app.oauth2.credentials.lifecycle.activate',
                     'app.oauth2.client.privilege.grant', 'user.account.privilege.grant',
                     'user.account.privilege.revoke', 'group.privilege.grant', 'group.privilege.revoke',
                     'iam.resourceset.bindings.add', 'iam.resourceset.bindings.delete', 'iam.role.create',
                     'iam.role.update', 'iam.role.permissions.add', 'system.api_token.create',
                     'system.api_token.enable', 'system.api_token.update', 'system.api_token.revoke',
                     'system.idp.lifecycle.create', 'system.idp.lifecycle.update', 'system.idp.lifecycle.activate',
                     'system.idp.lifecycle.deactivate', 'system.idp.lifecycle.delete',
                     'system.idp.lifecycle.read_client_secret', 'system.idp.key.create', 'system.idp.key.update',
                     'system.log_stream.lifecycle.create', 'system.log_stream.lifecycle.update',
                     'system.log_stream.lifecycle.deactivate', 'system.log_stream.lifecycle.delete',
                     'event_hook.created', 'event_hook.updated', 'event_hook.deactivated', 'event_hook.deleted',
                     'zone.create', 'zone.update', 'zone.deactivate', 'zone.delete', 'zone.remove_blacklist',
                     'security.threat.configuration.update', 'security.trusted_origin.create',
                     'security.authenticator.lifecycle.deactivate', 'security.authenticator.lifecycle.update',
                     'system.mfa.factor.deactivate', 'system.feature.disable', 'user.session.access_admin_app')
  and (outcome = 'SUCCESS' or outcome is null);

create view user_created as
select 'user_created' as activity, events.* from events
where event_type = 'user.lifecycle.create' and (outcome = 'SUCCESS' or outcome is null);
