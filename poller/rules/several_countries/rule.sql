/*
title: Logins of one user from several countries
id: 47cba66b-9f45-4e4d-b514-26693b858baf
status: stable
description: |
  One user logs in from several countries within hours. Fires on the login that brings the different countries in the
  window to the threshold.
level: medium
tags: [attack.initial-access, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - A VPN with changing exits
  - A journey through several countries, with a login at each stop
parameters: {countries: 3, window: 6h}
lookback: window + window
summary:
  - "{user} logged in from {attempts} countries between {first} and {trigger} UTC"
  - "from {login.places}"
  - "by {login.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :countries, :window (ms).
with
-- 1. Whose login in this slice is from another country than their last one before it? Few people.
movers as materialized (
    select distinct a.user_uid
    from login_succeeded as a
    where a.org = :org and a.time >= :since and a.time < :until
      and a.src_country <> (
          select b.src_country
          from login_succeeded as b
          where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :window and b.time <= a.time
            and (b.time < a.time or b.uid < a.uid) and b.src_country is not null
          order by b.time desc, b.uid desc
          limit 1)
),
seen as materialized (
    select l.uid, l.user_uid, l.time, l.src_country as country,
           lead(l.time) over (partition by l.user_uid, l.src_country order by l.time, l.uid) as next_time
    from movers cross join login_succeeded as l
    where l.org = :org and l.user_uid = movers.user_uid and l.src_country is not null
      and l.time >= :since - :window - :window and l.time < :until
),
-- 2. Different countries in the window that ends with each login. Each is one from when it is seen until it is seen
--    again or the window has passed: a sum of steps up and down.
steps as (
    select uid, user_uid, time, 1 as step from seen
    union all
    select null, user_uid, case when next_time <= time + :window then next_time else time + :window + 1 end, -1
    from seen
),
counted as (
    select uid, user_uid, time, sum(step) over (partition by user_uid order by time) as countries from steps
),
-- 3. The login that reaches the threshold, where none in the window before it did.
crossed as (
    select counted.*,
           max(case when countries >= :countries then time end) over (
               partition by user_uid order by time, uid rows between unbounded preceding and 1 preceding
           ) as last_reached
    from counted
    where uid is not null
)
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, seen.uid as evidence_uid,
       'login' as role, seen.country as attempt
from crossed as t join seen
  on  seen.user_uid = t.user_uid and seen.time >= t.time - :window and seen.time <= t.time
  and (seen.next_time is null or seen.next_time > t.time or seen.uid = t.uid)
where t.countries >= :countries and t.time >= :since and t.time < :until
  and (t.last_reached is null or t.last_reached < t.time - :window);
