/*
title: An Okta user was created by somebody who does not do that
id: 408af8a7-4cac-42e2-ab96-2a84d839d573
status: experimental
description: |
  A user was created by an account that has created none lately: an attacker makes a user to come back by. Level low,
  because help desks change and directories are connected in ordinary work.
level: low
tags: [attack.persistence, attack.t1136.003]
references:
  - https://attack.mitre.org/techniques/T1136/003/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - New administrators and help desk staff
  - A new directory or HR system
parameters: {learned: 30d, burst: 1h}
lookback: learned + 7d
lookahead: burst
summary:
  - "{created.actor_name|user} created {created.count} {created.count:user|users} at {first} UTC, for the first time
    in long"
  - "created: {created.target_user_name}"
  - "from {created.places}"
  - "new for this user: {created.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :learned, :burst (ms).
-- 1. What users were created in the slice, and for :burst after it. Where an app acted, `user_uid` of the event is the
--    new user: the finding has none.
with acts as materialized (
    select org, uid, actor_uid, time,
           case when lower(actor_type) = 'user' then nullif(actor_uid, 'unknown') end as user_uid,
           lag(time) over (partition by actor_uid order by time, uid) as previous
    from user_created
    where org = :org and time >= :since and time < :until + :burst
      and actor_uid is not null and coalesce(actor_type, 'User') <> 'SystemPrincipal'
      and (target_user_uid is null or target_user_uid <> actor_uid)
),
-- 2. The first such act of an actor in :learned. Whether the log is old enough to know that, a login or such an act in
--    its earlier half, or in the week (604800000 ms) before it, tells: an org that is new to poller stays quiet.
--    Look-ups by a scalar, so that both databases go by the index.
firsts as materialized (
    select acts.*
    from acts
    where acts.time < :until and (acts.previous is null or acts.previous < acts.time - :learned)
      and (select 1 from user_created as earlier
           where earlier.org = :org and earlier.actor_uid = acts.actor_uid and earlier.time >= acts.time - :learned
             and (earlier.time < acts.time or earlier.time = acts.time and earlier.uid < acts.uid)
             and (earlier.target_user_uid is null or earlier.target_user_uid <> earlier.actor_uid)
           limit 1) is null
      and ((select 1 from login_succeeded as old
            where old.org = :org and old.time >= acts.time - :learned - 604800000
              and old.time < acts.time - :learned / 2
            limit 1) is not null
        or (select 1 from user_created as old
            where old.org = :org and old.time >= acts.time - :learned - 604800000
              and old.time < acts.time - :learned / 2
            limit 1) is not null)
)
-- 3. What the same actor did next is evidence too.
select firsts.org, firsts.user_uid, firsts.uid as trigger_uid, firsts.time as trigger_time,
       acts.uid as evidence_uid, 'created' as role
from firsts join acts
  on  acts.actor_uid = firsts.actor_uid and acts.time >= firsts.time and acts.time <= firsts.time + :burst
