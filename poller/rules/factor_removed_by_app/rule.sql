/*
title: An app took a factor from a user
id: e17ceaba-4b78-4b55-be75-0fbd2b045d0c
status: experimental
description: |
  A service app, with a token of its own and no person behind it, deactivated, suspended or reset factors of a user. A
  stolen app credential with the right scope does this before a takeover.
level: high
tags: [attack.defense-evasion, attack.persistence, attack.t1556.006]
references:
  - https://attack.mitre.org/techniques/T1556/006/
falsepositives:
  - A help desk tool or a joiner-and-leaver process that resets factors by design
parameters: {window: 1h}
lookback: window
lookahead: window
summary:
  - "{removed.actor_name}, an app, removed factors of {user} from {first} UTC on"
  - "{removed.outcome_reason}"
  - "from {removed.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). The finding is about whose factor it was. A reset of
-- all factors is written beside the removal of each.
with removals as (
    select org, coalesce(target_user_uid, user_uid) as user_uid, actor_uid, actor_type, uid, time from factor_removed
    where org = :org and time >= :since - :window and time < :until + :window
    union all
    select org, coalesce(target_user_uid, user_uid), actor_uid, actor_type, uid, time from factors_reset
    where org = :org and time >= :since - :window and time < :until + :window
),
removed as materialized (
    select org, user_uid, uid, time, coalesce(user_uid, '') || ' ' || coalesce(actor_uid, '') as pair
    from removals
    where lower(actor_type) not in ('user', 'systemprincipal')
),
-- The first in a while: what follows within the window is evidence of it.
firsts as (
    select * from removed as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from removed as b
          where b.pair = a.pair and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select f.org, f.user_uid, f.uid as trigger_uid, f.time as trigger_time, r.uid as evidence_uid, 'removed' as role
from firsts as f join removed as r
  on r.pair = f.pair and r.time >= f.time and r.time <= f.time + :window;
