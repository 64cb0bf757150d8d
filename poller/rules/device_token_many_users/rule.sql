/*
title: One device signed in as several users
id: 3e5d6126-096f-433d-bfcd-356102c2fb74
status: experimental
description: |
  Okta gives each browser a device token. Within the window, one browser signed in as several users: somebody has
  several passwords. Fires on the user who makes it enough. Shared computers do the same, so the level is low: raise it
  where there are none, or except their addresses.
level: low
tags: [attack.initial-access, attack.t1078.004, attack.credential-access, attack.t1110.004]
references:
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - Kiosks, reception desks, class rooms, warehouse terminals, hosted desktops made from one image
  - An administrator or tester who tries accounts out
parameters: {users: 4, window: 1h}
lookback: window + window
summary:
  - "one device signed in as {attempts} users between {first} and {trigger} UTC, from {login.places}"
  - "users: {login.user_name}"
  - "with {login.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users, :window (ms).
with
-- 1. Sign-ins near this slice, by devices that are in several hands.
logins as materialized (
    select uid, user_uid, time, device_token
    from login_succeeded
    where org = :org and time >= :since - :window - :window and time < :until and device_token is not null
),
shared as materialized (
    select device_token from logins
    group by device_token
    having count(distinct user_uid) >= :users and max(time) >= :since
),
mine as materialized (
    select l.*, lag(l.time) over (partition by l.device_token, l.user_uid order by l.time, l.uid) as previous
    from shared as s join logins as l on l.device_token = s.device_token
),
-- 2. The first sign-in of a user within a window, and how many users there are with it.
tally as (
    select f.uid, f.device_token, f.time,
           (select count(distinct o.user_uid) from mine as o
            where o.device_token = f.device_token and o.time >= f.time - :window and o.time <= f.time) as held
    from mine as f
    where f.previous is null or f.previous < f.time - :window
),
crossings as materialized (
    select * from (
        select tally.*, lag(held) over (partition by device_token order by time, uid) as before,
               lag(time) over (partition by device_token order by time, uid) as before_time
        from tally
    ) as t
    where held >= :users and (before is null or before < :users or before_time < time - :window)
      and time >= :since and time < :until
)
select :org as org, cast(null as text) as user_uid, c.uid as trigger_uid, c.time as trigger_time,
       m.uid as evidence_uid, 'login' as role, m.user_uid as attempt
from crossings as c join mine as m
  on m.device_token = c.device_token and m.time >= c.time - :window and m.time <= c.time;
