/*
title: Accounts of several users locked from one address
id: 1b337bfc-2551-41ba-a028-26ad9c55bcdd
status: stable
description: |
  Whoever tries too many passwords on each of several accounts locks them. Fires on the lock that brings the different
  users in the window to the threshold. The address is that of the user's last wrong password before the lock, else the
  one that the lock itself bears: some locks bear an address of Okta's, and some none.
level: medium
tags: [attack.credential-access, attack.impact, attack.t1110, attack.t1531]
references:
  - https://attack.mitre.org/techniques/T1110/
falsepositives:
  - An office whose users all have to change their passwords, or whose directory is out of order
parameters: {users: 3, window: 1h, before: 30m}
lookback: window + window + before
summary:
  - "the accounts of {attempts} users were locked between {first} and {trigger} UTC"
  - "by wrong passwords from {refused.places|locked.places}"
  - "those of {locked.user_name}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users, :window (ms), :before (how long before a lock its wrong
-- passwords are looked for, ms).
with
-- 1. Locks near this slice, each with the last wrong password before it.
locks as (
    select k.uid, k.user_uid, k.time, k.src_ip,
           (select p.uid
            from password_refused as p
            where p.org = :org and p.user_uid = k.user_uid and p.time >= k.time - :before and p.time <= k.time
              and p.src_ip is not null
            order by p.time desc, p.uid desc
            limit 1) as refused_uid
    from account_locked as k
    where k.org = :org and k.time >= :since - :window - :window and k.time < :until
      and coalesce(k.user_uid, 'unknown') <> 'unknown'
),
placed as materialized (
    select locks.uid, locks.user_uid, locks.time, locks.refused_uid, coalesce(p.src_ip, locks.src_ip) as src_ip
    from locks left join password_refused as p on p.org = :org and p.uid = locks.refused_uid
),
seen as materialized (
    select placed.*, lead(time) over (partition by src_ip, user_uid order by time, uid) as next_time
    from placed
    where src_ip is not null
),
-- 2. Different users in the window that ends with each lock. Each is one from when they are locked until they are
--    locked again or the window has passed: a sum of steps up and down.
steps as (
    select uid, src_ip, time, 1 as step from seen
    union all
    select null, src_ip, case when next_time <= time + :window then next_time else time + :window + 1 end, -1 from seen
),
counted as (
    select uid, src_ip, time, sum(step) over (partition by src_ip order by time) as users from steps
),
-- 3. The lock that reaches the threshold, where none in the window before it did.
crossed as (
    select counted.*,
           max(case when users >= :users then time end) over (
               partition by src_ip order by time, uid rows between unbounded preceding and 1 preceding) as last_reached
    from counted
    where uid is not null
),
evidence as materialized (
    select t.uid as trigger_uid, t.time as trigger_time, seen.user_uid, seen.uid, seen.refused_uid
    from crossed as t join seen
      on  seen.src_ip = t.src_ip and seen.time >= t.time - :window and seen.time <= t.time
      and (seen.next_time is null or seen.next_time > t.time or seen.uid = t.uid)
    where t.users >= :users and t.time >= :since and t.time < :until
      and (t.last_reached is null or t.last_reached < t.time - :window)
)
select :org as org, cast(null as text) as user_uid, trigger_uid, trigger_time, uid as evidence_uid, 'locked' as role,
       user_uid as attempt
from evidence
union all
select :org, null, trigger_uid, trigger_time, refused_uid, 'refused', user_uid
from evidence
where refused_uid is not null;
