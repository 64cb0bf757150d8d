/*
title: Many wrong passwords for one user, then the right one
id: e987e9dd-444b-4bee-bd31-e79986aaea3e
status: stable
description: |
  Somebody guesses the password of one user until it fits. Fires on the first login from an address, be it the password
  step of one that still asks for a second factor, when enough attempts lie in the window that ends with it. One attempt
  that Okta writes twice counts once.
level: medium
tags: [attack.credential-access, attack.initial-access, attack.t1110.001, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1110/001/
falsepositives:
  - A user who tries several old passwords before the right one
  - A device that keeps sending an old password while its user signs in as ever
parameters: {attempts: 5, window: 10m}
lookback: window + window + 5s
summary:
  - "{attempts} wrong passwords for {user} between {first} and {trigger} UTC, then the right password"
  - "they were typed at {refused.places}"
  - "the right one came from {login.places}"
  - "new for this user: {login.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :attempts, :window (ms).
with
-- 1. Wrong passwords near this slice. Those of one request, less than 5 s apart, are one attempt: Identity Engine
--    writes the wrong factor and the session that did not start. Its time is that of the first.
failures as (
    select uid, user_uid, time, src_ip, device_token, coalesce(nullif(transaction_uid, 'unknown'), uid) as request
    from password_refused
    where org = :org and time >= :since - :window - :window - 5000 and time < :until
      and coalesce(user_uid, 'unknown') <> 'unknown'
),
spaced as (
    select failures.*, lag(time) over (partition by user_uid, request order by time, uid) as previous
    from failures
),
told as materialized (
    select uid, user_uid, time, src_ip, device_token, request,
           case when previous is null or time - previous > 5000 then 1 else 0 end as is_first,
           max(case when previous is null or time - previous > 5000 then time end) over (
               partition by user_uid, request order by time, uid rows unbounded preceding) as attempt_time
    from spaced
),
-- 2. Who has enough of them, and when they got in.
victims as materialized (
    select user_uid from told where is_first = 1 group by user_uid having count(*) >= :attempts
),
entered as materialized (
    select l.uid, l.user_uid, l.time, coalesce(l.src_ip, '') as src_ip, l.device_token
    from victims cross join login_succeeded as l
    where l.org = :org and l.user_uid = victims.user_uid and l.time >= :since - :window and l.time < :until
),
-- 3. The attempts in the window that ends with each login, both ends included.
counted as (
    select m.*,
           count(case when is_login = 0 then 1 end) over (
               partition by user_uid order by time range between :window preceding and current row) as attempts
    from (
        select uid, user_uid, time, src_ip, device_token, 1 as is_login from entered
        union all
        select uid, user_uid, time, null, null, 0 from told where is_first = 1
    ) as m
),
-- 4. The first login from its address with enough of them, where none from there in the window before had. The user's
--    own login elsewhere does not hide that of whoever guessed.
crossed as (
    select counted.*,
           max(case when attempts >= :attempts then time end) over (
               partition by user_uid, src_ip order by time, uid rows between unbounded preceding and 1 preceding
           ) as last_reached
    from counted
    where is_login = 1
),
triggers as materialized (
    select uid, user_uid, time, src_ip, device_token
    from crossed
    where attempts >= :attempts and time >= :since and time < :until
      and (last_reached is null or last_reached < time - :window)
),
-- 5. Whoever logs in where the wrong passwords were typed has guessed or remembered; elsewhere it may be the user.
evidence as (
    select t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid, 'refused' as role,
           told.request || ' ' || told.attempt_time as attempt,
           case when told.src_ip = t.src_ip or told.device_token = t.device_token then 1 else 0 end as is_same_client
    from triggers as t join told
      on  told.user_uid = t.user_uid and told.attempt_time >= t.time - :window and told.time <= t.time
    union all
    select user_uid, uid, time, uid, 'login', null, 0 from triggers
)
select :org as org, user_uid, trigger_uid, trigger_time, uid as evidence_uid, role, attempt,
       case max(is_same_client) over (partition by trigger_uid) when 1 then 'high' else 'low' end as confidence
from evidence;
