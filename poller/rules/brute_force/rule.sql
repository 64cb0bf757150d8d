/*
title: Many wrong passwords for one user
id: 8a486ff1-7cde-4f5e-b340-46e3e909c21d
status: stable
description: |
  Somebody types wrong passwords for one user, one after another, whether or not they get in. Most often it is a
  forgotten password or an old one that a device keeps sending, so the level is low: see brute_force_then_login for
  what follows. Fires on the attempt that reaches the threshold, where none in the window before did.
level: low
tags: [attack.credential-access, attack.t1110.001]
references:
  - https://attack.mitre.org/techniques/T1110/001/
falsepositives:
  - A user who has forgotten the password
  - A phone, a mail client or a script that keeps sending an old password
parameters: {attempts: 10, window: 15m}
lookback: window + window + 5s
lookahead: 5s
summary:
  - "{attempts} wrong passwords for {user} between {first} and {trigger} UTC"
  - "typed at {refused.places}"
  - "by {refused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :attempts, :window (ms).
with
-- 1. Wrong passwords near this slice. Those of one request, less than 5 s apart, are one attempt: Identity Engine
--    writes the wrong factor and the session that did not start. Its time is that of the first.
failures as (
    select uid, user_uid, time, coalesce(nullif(transaction_uid, 'unknown'), uid) as request
    from password_refused
    where org = :org and time >= :since - :window - :window - 5000 and time < :until + 5000
      and coalesce(user_uid, 'unknown') <> 'unknown'
),
spaced as (
    select failures.*, lag(time) over (partition by user_uid, request order by time, uid) as previous
    from failures
),
told as materialized (
    select uid, user_uid, time, request,
           case when previous is null or time - previous > 5000 then 1 else 0 end as is_first,
           max(case when previous is null or time - previous > 5000 then time end) over (
               partition by user_uid, request order by time, uid rows unbounded preceding) as attempt_time
    from spaced
),
-- 2. The attempts in the window that ends with each.
counted as (
    select uid, user_uid, time,
           count(*) over (
               partition by user_uid order by time range between :window preceding and current row) as attempts
    from told
    where is_first = 1
),
-- 3. The one that reaches the threshold, where none in the window before it did: a burst is one finding.
crossed as (
    select counted.*,
           max(case when attempts >= :attempts then time end) over (
               partition by user_uid order by time, uid rows between unbounded preceding and 1 preceding
           ) as last_reached
    from counted
)
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid as evidence_uid,
       'refused' as role, told.request || ' ' || told.attempt_time as attempt
from crossed as t join told
  on  told.user_uid = t.user_uid and told.attempt_time >= t.time - :window and told.attempt_time <= t.time
  and told.time <= t.time + 5000
where t.attempts >= :attempts and t.time >= :since and t.time < :until
  and (t.last_reached is null or t.last_reached < t.time - :window);
