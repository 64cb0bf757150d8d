/*
title: One device typed wrong passwords for many users from several addresses
id: d3999d0b-31c3-4eea-b59e-0586b840ab52
status: stable
description: |
  Pairs of name and password, stolen elsewhere, are tried through changing addresses, but by one client that keeps its
  device token. Fires on the wrong password that brings the different names and addresses in the window to their
  thresholds.
level: medium
tags: [attack.credential-access, attack.t1110.004]
references:
  - https://attack.mitre.org/techniques/T1110/004/
falsepositives:
  - A shared browser, such as a kiosk, that moves between networks
  - A proxy or test tool that sends one device token for all its users
parameters: {users: 10, addresses: 2, window: 30m}
lookback: window + window
summary:
  - "one device typed wrong passwords for {attempts} users between {first} and {trigger} UTC"
  - "through {refused.places}"
  - "among them {refused.user_name}"
  - "by {refused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users (different names), :addresses, :window (ms).
with
-- 1. Wrong passwords near this slice, with the name that was typed where nobody has it.
failures as materialized (
    select uid, time, src_ip, device_token,
           case when user_uid is null or user_uid = 'unknown' then 'name ' || user_name else user_uid end as name
    from password_refused
    where org = :org and time >= :since - :window - :window and time < :until
),
-- 2. The devices that enough names failed on. What is counted of them: names and addresses.
devices as materialized (
    select device_token from failures where device_token is not null
    group by device_token having count(distinct name) >= :users
),
seen as materialized (
    select m.*, lead(time) over (partition by device_token, kind, counted_text order by time, uid) as next_time
    from (
        select f.uid, f.time, f.device_token, 'name' as kind, f.name as counted_text, f.name
        from devices join failures as f on f.device_token = devices.device_token
        where f.name is not null
        union all
        select f.uid, f.time, f.device_token, 'address', f.src_ip, f.name
        from devices join failures as f on f.device_token = devices.device_token
        where f.name is not null and f.src_ip is not null
    ) as m
),
-- 3. How many different ones the window that ends with each event holds. Each is one from when it is seen until it is
--    seen again or the window has passed: a sum of steps up and down.
steps as (
    select uid, device_token, time, kind, 1 as step from seen
    union all
    select null, device_token, case when next_time <= time + :window then next_time else time + :window + 1 end, kind,
           -1
    from seen
),
counted as (
    select uid, device_token, time, kind,
           sum(case when kind = 'name' then step else 0 end) over so_far as names,
           sum(case when kind = 'address' then step else 0 end) over so_far as places
    from steps
    window so_far as (partition by device_token order by time)
),
-- 4. The wrong password that reaches both thresholds, where none in the window before it did.
crossed as (
    select counted.*,
           max(case when names >= :users and places >= :addresses then time end) over (
               partition by device_token order by time, uid rows between unbounded preceding and 1 preceding
           ) as last_reached
    from counted
    where uid is not null and kind = 'name'
)
select :org as org, cast(null as text) as user_uid, t.uid as trigger_uid, t.time as trigger_time,
       seen.uid as evidence_uid, 'refused' as role, seen.name as attempt
from crossed as t join seen
  on  seen.device_token = t.device_token and seen.time >= t.time - :window and seen.time <= t.time
  and (seen.next_time is null or seen.next_time > t.time or seen.uid = t.uid)
where t.names >= :users and t.places >= :addresses and t.time >= :since and t.time < :until
  and (t.last_reached is null or t.last_reached < t.time - :window);
