/*
title: One address typed wrong passwords for many users
id: abb83737-d3a1-47c5-b83d-5e19f50d3fc4
status: stable
description: |
  One address tries passwords on many names, a few on each, so that no account locks. Fires on the wrong password that
  brings the different names in the window to the threshold, as long as more names failed than got in: where many people
  share an address, most of them get in. Fewer names are enough where many passwords are tried on them, a few on each,
  and so many of them do not get in.
level: medium
tags: [attack.credential-access, attack.t1110.003]
references:
  - https://attack.mitre.org/techniques/T1110/003/
falsepositives:
  - A shared address whose users all have to change their passwords, or whose directory is out of order
  - A vulnerability scanner or a monitoring tool
parameters: {users: 10, window: 30m, few_users: 5, tries: 15, tries_each: 6}
lookback: window + window + 5s
summary:
  - "wrong passwords for {attempts} users from {refused.places} between {first} and {trigger} UTC"
  - "among them {refused.user_name}"
  - "by {refused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users (different names), :window (ms), :few_users (enough where
-- there are :tries wrong passwords on them, on average no more than :tries_each).
with
-- 1. Wrong passwords near this slice, with the name that was typed where nobody has it. Those of one request, less than
--    5 s apart, are one try: Identity Engine writes the wrong factor and the session that did not start.
failures as materialized (
    select uid, time, src_ip,
           case when user_uid is null or user_uid = 'unknown' then 'name ' || user_name else user_uid end as name,
           lag(time) over (partition by coalesce(nullif(transaction_uid, 'unknown'), uid), user_uid
                           order by time, uid) as previous
    from password_refused
    where org = :org and time >= :since - :window - :window - 5000 and time < :until
),
-- 2. Where enough names failed, and who got in from there.
addresses as materialized (
    select src_ip from failures where src_ip is not null
    group by src_ip
    having count(distinct name) >= :users or count(distinct name) >= :few_users and count(*) >= :tries
),
seen as materialized (
    select m.*, lead(time) over (partition by src_ip, is_login, name order by time, uid) as next_time,
           lead(time) over (partition by src_ip, name order by time, uid) as next_of_both
    from (
        select f.uid, f.time, f.src_ip, f.name, 0 as is_login,
               case when previous is null or time - previous > 5000 then 1 else 0 end as is_try
        from addresses join failures as f on f.src_ip = addresses.src_ip
        where f.name is not null
        union all
        select l.uid, l.time, l.src_ip, l.user_uid, 1, 0
        from addresses cross join login_succeeded as l
        where l.org = :org and l.src_ip = addresses.src_ip
          and l.time >= :since - :window - :window and l.time < :until
    ) as m
),
-- 3. Different names in the window that ends with each event. Each is one from when it is seen until it is seen again
--    or the window has passed: a sum of steps up and down. A name is shut out until it gets in.
steps as (
    select uid, src_ip, time, is_login, 1 - is_login as refused, is_login as entered, 1 - is_login as shut_out,
           is_try as tried
    from seen
    union all
    select null, src_ip, case when next_time <= time + :window then next_time else time + :window + 1 end, is_login,
           is_login - 1, -is_login, 0, 0
    from seen
    union all
    select null, src_ip, case when next_of_both <= time + :window then next_of_both else time + :window + 1 end, 0,
           0, 0, -1, 0
    from seen where is_login = 0
    union all
    select null, src_ip, time + :window + 1, 0, 0, 0, 0, -1 from seen where is_try = 1
),
counted as (
    select uid, src_ip, time, is_login, sum(refused) over so_far as refused, sum(entered) over so_far as entered,
           sum(shut_out) over so_far as shut_out, sum(tried) over so_far as tried
    from steps
    window so_far as (partition by src_ip order by time)
),
judged as (
    select uid, src_ip, time,
           case when refused > entered
                 and (refused >= :users
                   or shut_out >= :few_users and shut_out > entered
                      and tried >= :tries and tried <= :tries_each * refused) then 1 else 0 end as is_reached
    from counted
    where uid is not null and is_login = 0
),
-- 4. The wrong password that reaches the threshold, where none in the window before it did.
crossed as (
    select judged.*,
           max(case when is_reached = 1 then time end) over (
               partition by src_ip order by time, uid rows between unbounded preceding and 1 preceding) as last_reached
    from judged
)
select :org as org, cast(null as text) as user_uid, t.uid as trigger_uid, t.time as trigger_time,
       seen.uid as evidence_uid, 'refused' as role, seen.name as attempt
from crossed as t join seen
  on  seen.src_ip = t.src_ip and seen.is_login = 0 and seen.time >= t.time - :window and seen.time <= t.time
  and (seen.next_time is null or seen.next_time > t.time or seen.uid = t.uid)
where t.is_reached = 1 and t.time >= :since and t.time < :until
  and (t.last_reached is null or t.last_reached < t.time - :window);
