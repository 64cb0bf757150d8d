/*
title: An Okta app was changed by somebody who does not do that
id: 85b729da-7ded-4034-842e-7a432b00be48
status: experimental
description: |
  An app was created, changed, switched or deleted by an account that has not touched any app lately. Quiet until the
  log reaches back far enough to know.
level: medium
tags: [attack.persistence, attack.privilege-escalation, attack.t1098]
references:
  - https://attack.mitre.org/techniques/T1098/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - New administrators
  - Administrators who seldom work on apps
parameters: {learned: 30d, burst: 1h}
lookback: learned + 7d
lookahead: burst
summary:
  - "{changed.actor_name|user} changed an app at {first} UTC, for the first time in long"
  - "{changed.count} {changed.count:act|acts}: {changed.event_type}"
  - "apps: {changed.app_name|changed.target_name}"
  - "from {changed.places}"
  - "new for this user: {changed.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :learned, :burst (ms).
-- 1. What was done to apps in the slice, and for :burst after it. Where an app acted, `user_uid` of the event may be a
--    user it was done to: the finding has none.
with acts as materialized (
    select org, uid, actor_uid, time,
           case when lower(actor_type) = 'user' then nullif(actor_uid, 'unknown') end as user_uid,
           lag(time) over (partition by actor_uid order by time, uid) as previous
    from app_changed
    where org = :org and time >= :since and time < :until + :burst
      and actor_uid is not null and coalesce(actor_type, 'User') <> 'SystemPrincipal'
),
-- 2. The first such act of an actor in :learned. Whether the log is old enough to know that, a login or such an act in
--    its earlier half, or in the week (604800000 ms) before it, tells: an org that is new to poller stays quiet.
--    Look-ups by a scalar, so that both databases go by the index.
firsts as materialized (
    select acts.*
    from acts
    where acts.time < :until and (acts.previous is null or acts.previous < acts.time - :learned)
      and (select 1 from app_changed as earlier
           where earlier.org = :org and earlier.actor_uid = acts.actor_uid and earlier.time >= acts.time - :learned
             and (earlier.time < acts.time or earlier.time = acts.time and earlier.uid < acts.uid)
           limit 1) is null
      and ((select 1 from login_succeeded as old
            where old.org = :org and old.time >= acts.time - :learned - 604800000
              and old.time < acts.time - :learned / 2
            limit 1) is not null
        or (select 1 from app_changed as old
            where old.org = :org and old.time >= acts.time - :learned - 604800000
              and old.time < acts.time - :learned / 2
            limit 1) is not null)
)
-- 3. What the same actor did next is evidence too.
select firsts.org, firsts.user_uid, firsts.uid as trigger_uid, firsts.time as trigger_time,
       acts.uid as evidence_uid, 'changed' as role
from firsts join acts
  on  acts.actor_uid = firsts.actor_uid and acts.time >= firsts.time and acts.time <= firsts.time + :burst
