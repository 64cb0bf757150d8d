/*
title: Account locked by wrong passwords
id: 86cc5232-fa08-4a75-9251-317ce1015876
status: stable
description: |
  Too many wrong passwords locked one account. Every org has these daily, nearly all of them forgotten passwords: it is
  informational, for the picture of a user, and lockouts_by_address tells of those that belong together.
level: informational
tags: [attack.credential-access, attack.impact, attack.t1110, attack.t1531]
references:
  - https://attack.mitre.org/techniques/T1110/
falsepositives:
  - A user who has forgotten the password
  - A phone, a mail client or a script that keeps sending an old password
parameters: {quiet: 1h, before: 30m}
lookback: quiet + before
summary:
  - "the account of {user} was locked at {trigger} UTC"
  - "after wrong passwords from {refused.places}"
  - "the lock came from {locked.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :quiet (an account locked again so soon is no new finding, ms),
-- :before (how long before the lock its wrong passwords are looked for, ms).
with locks as (
    select uid, user_uid, time, lag(time) over (partition by user_uid order by time, uid) as previous
    from account_locked
    where org = :org and time >= :since - :quiet and time < :until and coalesce(user_uid, 'unknown') <> 'unknown'
),
triggers as materialized (
    select uid, user_uid, time
    from locks
    where time >= :since and (previous is null or previous < time - :quiet)
)
select :org as org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'locked' as role
from triggers
union all
select :org, t.user_uid, t.uid, t.time, p.uid, 'refused'
from triggers as t cross join password_refused as p
where p.org = :org and p.user_uid = t.user_uid and p.time >= t.time - :before and p.time <= t.time;
