/*
title: Okta support reset a password or a factor
id: d11262d8-f314-4fa3-a6c8-5cbf59b6ae25
status: experimental
description: |
  A password or factor was reset by Okta's own system account outside of any request of the org: no transaction, no
  browser, no place. That is the trace of a reset by Okta's support staff.
level: high
tags: [attack.initial-access, attack.persistence, attack.t1199, attack.t1098]
references:
  - https://help.okta.com/en-us/content/topics/directory/get-support.htm
falsepositives:
  - A support case in which your admins asked for the reset
parameters: {}
lookback: 0s
summary:
  - "{reset.event_type} for {reset.target_user_name|user} at {first} UTC by {reset.actor_name}, outside of any request of yours"
*/
-- Binds: :org, :since, :until (the slice, epoch ms). The finding is about the user whose credential was reset.
with resets as (
    select * from password_changed where org = :org and time >= :since and time < :until
    union all
    select * from factors_reset where org = :org and time >= :since and time < :until
    union all
    select * from factor_removed where org = :org and time >= :since and time < :until
    union all
    select * from factor_updated where org = :org and time >= :since and time < :until
    union all
    select * from org_factor_disabled where org = :org and time >= :since and time < :until
    union all
    select * from mfa_bypassed where org = :org and time >= :since and time < :until
)
select org, coalesce(target_user_uid, user_uid) as user_uid, uid as trigger_uid, time as trigger_time,
       uid as evidence_uid, 'reset' as role
from resets
where lower(actor_name) = 'system@okta.com'
  and coalesce(transaction_uid, 'unknown') = 'unknown'
  and user_agent is null and src_country is null;
