/*
title: Login from where many users' passwords were tried
id: 6d36ab78-354a-4a3a-adb3-fda813d43cbd
status: stable
description: |
  An address or a device that typed wrong passwords for many users gets into an account: one password fitted. Fires on
  the first login of each user from there, as long as more names failed than got in, since where many people share an
  address most of them get in.
level: high
tags: [attack.credential-access, attack.initial-access, attack.t1110.003, attack.t1110.004, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1110/003/
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - A shared address whose users all have to change their passwords, or whose directory is out of order
parameters: {users: 10, window: 3h}
lookback: window + window
summary:
  - "{user} was signed in to at {trigger} UTC from {login.places}, where wrong passwords for {attempts} users had been
    typed since {first} UTC"
  - "by {login.user_agent}"
  - "new for this user: {login.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users (different names), :window (ms).
with
-- 1. Wrong passwords near this slice, with the name that was typed where nobody has it.
failures as materialized (
    select uid, time, src_ip, device_token,
           case when user_uid is null or user_uid = 'unknown' then 'name ' || user_name else user_uid end as name
    from password_refused
    where org = :org and time >= :since - :window - :window and time < :until
),
-- 2. The addresses and devices that enough names failed from, and the logins from there.
tried as (
    select uid, time, name, 'address' as kind, src_ip as origin from failures
    where src_ip is not null and name is not null
    union all
    select uid, time, name, 'device', device_token from failures
    where device_token is not null and name is not null
),
attackers as materialized (
    select kind, origin from tried group by kind, origin having count(distinct name) >= :users
),
seen as materialized (
    select m.*, lead(time) over (partition by kind, origin, is_login, name order by time, uid) as next_time
    from (
        select t.uid, t.time, t.name, t.kind, t.origin, 0 as is_login
        from attackers as a join tried as t on t.kind = a.kind and t.origin = a.origin
        union all
        select l.uid, l.time, l.user_uid, a.kind, a.origin, 1
        from attackers as a cross join login_succeeded as l
        where a.kind = 'address' and l.org = :org and l.src_ip = a.origin
          and l.time >= :since - :window - :window and l.time < :until
        union all
        select l.uid, l.time, l.user_uid, a.kind, a.origin, 1
        from attackers as a cross join login_succeeded as l
        where a.kind = 'device' and l.org = :org and l.device_token = a.origin
          and l.time >= :since - :window - :window and l.time < :until
    ) as m
),
-- 3. Different names in the window that ends with each event. Each is one from when it is seen until it is seen again
--    or the window has passed: a sum of steps up and down.
steps as (
    select uid, kind, origin, time, name, is_login, 1 as step from seen
    union all
    select null, kind, origin, case when next_time <= time + :window then next_time else time + :window + 1 end, null,
           is_login, -1
    from seen
),
counted as (
    select uid, kind, origin, time, name, is_login,
           sum(case when is_login = 0 then step else 0 end) over so_far as refused,
           sum(case when is_login = 1 then step else 0 end) over so_far as entered
    from steps
    window so_far as (partition by kind, origin order by time)
),
-- 4. The first such login of a user, by address or device, where none of theirs in the window before it was one.
after_attack as materialized (
    select uid, kind, origin, time, name as user_uid
    from counted
    where uid is not null and is_login = 1 and refused >= :users and refused > entered
),
crossed as (
    select uid, time, user_uid, lag(time) over (partition by user_uid order by time, uid) as last_reached
    from (select distinct uid, time, user_uid from after_attack) as each_once
),
triggers as materialized (
    select a.uid, a.kind, a.origin, a.time, a.user_uid
    from crossed as c join after_attack as a on a.uid = c.uid
    where c.time >= :since and c.time < :until and (c.last_reached is null or c.last_reached < c.time - :window)
)
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, seen.uid as evidence_uid,
       'refused' as role, seen.name as attempt
from triggers as t join seen
  on  seen.kind = t.kind and seen.origin = t.origin and seen.is_login = 0
  and seen.time >= t.time - :window and seen.time <= t.time
  and (seen.next_time is null or seen.next_time > t.time)
union all
select distinct :org, user_uid, uid, time, uid, 'login', null from triggers;
