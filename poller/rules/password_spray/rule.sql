/*
title: One address typed wrong passwords for many users
id: abb83737-d3a1-47c5-b83d-5e19f50d3fc4
status: stable
description: |
  One address tries passwords on many names, a few on each, so that no account locks. Fires on the wrong password that
  brings the different names in the window to the threshold, as long as more names failed than got in: where many people
  share an address, most of them get in.
level: medium
tags: [attack.credential-access, attack.t1110.003]
references:
  - https://attack.mitre.org/techniques/T1110/003/
falsepositives:
  - A shared address whose users all have to change their passwords, or whose directory is out of order
  - A vulnerability scanner or a monitoring tool
parameters: {users: 10, window: 30m}
lookback: window + window
summary:
  - "wrong passwords for {attempts} users from {refused.places} between {first} and {trigger} UTC"
  - "among them {refused.user_name}"
  - "by {refused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users (different names), :window (ms).
with
-- 1. Wrong passwords near this slice, with the name that was typed where nobody has it.
failures as materialized (
    select uid, time, src_ip,
           case when user_uid is null or user_uid = 'unknown' then 'name ' || user_name else user_uid end as name
    from password_refused
    where org = :org and time >= :since - :window - :window and time < :until
),
-- 2. Where enough names failed, and who got in from there.
addresses as materialized (
    select src_ip from failures where src_ip is not null group by src_ip having count(distinct name) >= :users
),
seen as materialized (
    select m.*, lead(time) over (partition by src_ip, is_login, name order by time, uid) as next_time
    from (
        select f.uid, f.time, f.src_ip, f.name, 0 as is_login
        from addresses join failures as f on f.src_ip = addresses.src_ip
        where f.name is not null
        union all
        select l.uid, l.time, l.src_ip, l.user_uid, 1
        from addresses cross join login_succeeded as l
        where l.org = :org and l.src_ip = addresses.src_ip
          and l.time >= :since - :window - :window and l.time < :until
    ) as m
),
-- 3. Different names in the window that ends with each event. Each is one from when it is seen until it is seen again
--    or the window has passed: a sum of steps up and down.
steps as (
    select uid, src_ip, time, is_login, 1 as step from seen
    union all
    select null, src_ip, case when next_time <= time + :window then next_time else time + :window + 1 end, is_login, -1
    from seen
),
counted as (
    select uid, src_ip, time, is_login,
           sum(case when is_login = 0 then step else 0 end) over so_far as refused,
           sum(case when is_login = 1 then step else 0 end) over so_far as entered
    from steps
    window so_far as (partition by src_ip order by time)
),
-- 4. The wrong password that reaches the threshold, where none in the window before it did.
crossed as (
    select counted.*,
           max(case when refused >= :users and refused > entered then time end) over (
               partition by src_ip order by time, uid rows between unbounded preceding and 1 preceding) as last_reached
    from counted
    where uid is not null and is_login = 0
)
select :org as org, cast(null as text) as user_uid, t.uid as trigger_uid, t.time as trigger_time,
       seen.uid as evidence_uid, 'refused' as role, seen.name as attempt
from crossed as t join seen
  on  seen.src_ip = t.src_ip and seen.is_login = 0 and seen.time >= t.time - :window and seen.time <= t.time
  and (seen.next_time is null or seen.next_time > t.time or seen.uid = t.uid)
where t.refused >= :users and t.refused > t.entered and t.time >= :since and t.time < :until
  and (t.last_reached is null or t.last_reached < t.time - :window);
