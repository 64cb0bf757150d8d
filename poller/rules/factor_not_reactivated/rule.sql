/*
title: A factor was taken from a user, and none came back
id: 04e720a5-2fa3-4029-805d-9b52a9ab7cb5
status: experimental
description: |
  A factor was deactivated or suspended, and the user enrolled none afterwards. The finding is made at once and undone
  as soon as a factor is activated within the window, so young ones are often on their way out: informational.
level: informational
tags: [attack.persistence, attack.defense-evasion, attack.t1556.006]
references:
  - https://attack.mitre.org/techniques/T1556/006/
falsepositives:
  - A user who enrolled the new phone first, and then removed the old one
  - Somebody who left, whose factors were removed
parameters: {window: 8h}
lookback: window
lookahead: window + window
summary:
  - "{user} lost {removed.count} {removed.count:factor|factors} from {first} UTC on and has enrolled none since"
  - "removed by {removed.actor_name}"
  - "{removed.outcome_reason}"
  - "from {removed.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). The finding is about whose factor it was.
with returned as materialized (
    select coalesce(target_user_uid, user_uid) as user_uid, time from factor_enrolled
    where org = :org and time >= :since - :window and time < :until + :window + :window
    union all
    select coalesce(target_user_uid, user_uid), time from factor_unsuspended
    where org = :org and time >= :since - :window and time < :until + :window + :window
),
-- 1. Removals without an enrollment after them.
removed as materialized (
    select r.org, coalesce(r.target_user_uid, r.user_uid) as user_uid, r.uid, r.time
    from factor_removed as r
    where r.org = :org and r.time >= :since - :window and r.time < :until + :window
      and coalesce(r.target_user_uid, r.user_uid) is not null
      and not exists (
          select 1 from returned as e
          where e.user_uid = coalesce(r.target_user_uid, r.user_uid) and e.time > r.time and e.time <= r.time + :window)
),
-- 2. The first of them: those that follow within the window are evidence of it.
firsts as (
    select * from removed as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from removed as b
          where b.user_uid = a.user_uid and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select f.org, f.user_uid, f.uid as trigger_uid, f.time as trigger_time, r.uid as evidence_uid, 'removed' as role
from firsts as f join removed as r
  on r.user_uid = f.user_uid and r.time >= f.time and r.time <= f.time + :window;
