/*
title: A second factor was bypassed
id: 3ec43d14-4603-450d-9efc-fa542b32195e
status: experimental
description: |
  Okta logged an attempt to pass by a second factor. It is written rarely, and ordinary sign-ins do not write it.
level: high
tags: [attack.credential-access, attack.defense-evasion, attack.t1111]
references:
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Okta support, or an admin, who helps a user that is locked out
parameters: {window: 1h}
lookback: window
lookahead: window
summary:
  - "second factor of {user} bypassed, or nearly so, {attempt.count} {attempt.count:time|times} from {first} UTC on"
  - "by {attempt.actor_name}"
  - "from {attempt.places}"
  - "result: {attempt.outcome}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with attempts as materialized (
    select org, coalesce(target_user_uid, user_uid) as user_uid, uid, time
    from mfa_bypassed
    where org = :org and time >= :since - :window and time < :until + :window
),
-- The first in a while: what follows within the window is evidence of it.
firsts as (
    select * from attempts as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from attempts as b
          where coalesce(b.user_uid, '') = coalesce(a.user_uid, '') and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select f.org, f.user_uid, f.uid as trigger_uid, f.time as trigger_time, a.uid as evidence_uid, 'attempt' as role
from firsts as f join attempts as a
  on coalesce(a.user_uid, '') = coalesce(f.user_uid, '') and a.time >= f.time and a.time <= f.time + :window;
