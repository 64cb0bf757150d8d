/*
title: A user signed in through an outside identity provider
id: d7af4b28-e7cc-4823-b427-b79208e8578e
status: experimental
description: |
  A user came in by the word of an identity provider outside the org. Where the org trusts none, each is an alarm; where
  it does, it is the daily way in. So the rule is off by default and informational.
level: informational
enabled: false
tags: [attack.initial-access, attack.t1199]
references:
  - https://attack.mitre.org/techniques/T1199/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Every login, in orgs that sign in through another provider
parameters: {window: 1d}
lookback: window
summary:
  - "{user} signed in through an outside identity provider at {first} UTC"
  - "the provider: {signed_in.app_name|signed_in.target_name}"
  - "from {signed_in.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
-- 1. The sign-ins of the slice that are not right behind another one of the same user and provider.
with sign_ins as materialized (
    select org, uid, user_uid, time, coalesce(app_uid, target_uid, '') as provider,
           lag(time) over (partition by coalesce(user_uid, ''), coalesce(app_uid, target_uid, '')
                           order by time, uid) as previous
    from idp_signed_in
    where org = :org and time >= :since and time < :until
)
-- 2. One with none before it in the window is a finding.
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'signed_in' as role
from sign_ins
where (previous is null or previous < time - :window)
  and (select 1 from idp_signed_in as earlier
       where earlier.org = :org and earlier.user_uid = sign_ins.user_uid
         and coalesce(earlier.app_uid, earlier.target_uid, '') = sign_ins.provider
         and earlier.time >= sign_ins.time - :window
         and (earlier.time < sign_ins.time or earlier.time = sign_ins.time and earlier.uid < sign_ins.uid)
       limit 1) is null
