/*
title: Password resets or unlocks asked for again and again
id: 59c6ba22-cabb-4d8e-abcd-8166bb71ad9e
status: stable
description: |
  One address asks Okta for ways back into several accounts: somebody looks for one whose mail or phone they hold, or
  finds out which names exist. Or somebody asks for ways back into one account again and again: their mailbox is
  flooded, or codes are guessed. Fires on the request that brings the different users of an address in the window to the
  threshold, or the requests of one kind for one user to one of its own. What an admin does for others is left out, with
  the messages that Okta sends for it.
level: medium
tags: [attack.credential-access, attack.reconnaissance, attack.t1110, attack.t1589.001]
references:
  - https://attack.mitre.org/techniques/T1589/001/
falsepositives:
  - An office whose users are all told to reset their passwords
  - A help desk portal that asks Okta for its users, from one address
  - A user who waits for a mail that does not arrive, and asks again and again
parameters: {users: 5, requests: 5, window: 1h}
lookback: window + window + 5s
lookahead: 5s
summary:
  - "ways back into the accounts of {attempts} users were asked for from {asked.places} between {first} and {trigger}
    UTC"
  - "a way back into the account of {user} was asked for {repeated.count} times between {first} and {trigger} UTC"
  - "from {repeated.places}"
  - "by {asked.event_type|repeated.event_type}"
  - "among them {asked.target_user_name|asked.user_name}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users, :requests (for one user), :window (ms).
with
-- 1. What was asked for near this slice, and for whom: the target, else who asked. A name that nobody has counts too.
asked as materialized (
    select uid, time, src_ip, event_type, nullif(transaction_uid, 'unknown') as request,
           case when coalesce(target_user_uid, user_uid, 'unknown') = 'unknown'
                then 'name ' || coalesce(target_user_name, user_name)
                else coalesce(target_user_uid, user_uid) end as name,
           nullif(coalesce(target_user_uid, user_uid), 'unknown') as user_uid,
           case when actor_type = 'User' and actor_uid <> target_user_uid then 1 else 0 end as is_by_admin
    from recovery_requested
    where org = :org and time >= :since - :window - :window - 5000 and time < :until + 5000
),
admins_requests as materialized (
    select request, time from asked where is_by_admin = 1 and request is not null
),
wanted as materialized (
    select a.*, lag(time) over (partition by name, event_type, coalesce(request, uid) order by time, uid) as previous
    from asked as a
    where a.is_by_admin = 0 and a.name is not null and a.time < :until
      and not exists (
          select 1 from admins_requests as r
          where r.request = a.request and r.time >= a.time - 5000 and r.time <= a.time + 5000)
),
seen as materialized (
    select w.*, lead(time) over (partition by src_ip, name order by time, uid) as next_time
    from wanted as w
    where w.src_ip is not null
),
-- 2. Different users in the window that ends with each request. Each is one from when it is asked for until it is asked
--    for again or the window has passed: a sum of steps up and down.
steps as (
    select uid, src_ip, time, 1 as step from seen
    union all
    select null, src_ip, case when next_time <= time + :window then next_time else time + :window + 1 end, -1 from seen
),
counted as materialized (
    select uid, src_ip, time, sum(step) over (partition by src_ip order by time) as users from steps
),
-- 3. The request that reaches the threshold, where none in the window before it did.
crossed as (
    select counted.*,
           max(case when users >= :users then time end) over (
               partition by src_ip order by time, uid rows between unbounded preceding and 1 preceding) as last_reached
    from counted
    where uid is not null
),
triggers as (
    select uid, src_ip, time
    from crossed
    where users >= :users and time >= :since and time < :until
      and (last_reached is null or last_reached < time - :window)
),
-- 4. Requests of one kind for one user, from any address: of a request and its message each is counted by itself, and
--    what Okta writes twice in one request, less than 5 s apart, is one.
repeated as materialized (
    select uid, user_uid, name, event_type, src_ip, time,
           count(*) over (
               partition by name, event_type order by time range between :window preceding and current row) as requests
    from wanted
    where previous is null or time - previous > 5000
),
-- 5. The request that reaches the threshold, where none for this user in the window before it did. Where it comes from an
--    address that asks for several users, the finding about the address tells of it.
repeats as (
    select repeated.*,
           max(case when requests >= :requests then time end) over (
               partition by name order by time, uid rows between unbounded preceding and 1 preceding) as last_reached
    from repeated
)
select :org as org, cast(null as text) as user_uid, t.uid as trigger_uid, t.time as trigger_time,
       seen.uid as evidence_uid, 'asked' as role, seen.name as attempt
from triggers as t join seen
  on  seen.src_ip = t.src_ip and seen.time >= t.time - :window and seen.time <= t.time
  and (seen.next_time is null or seen.next_time > t.time or seen.uid = t.uid)
union all
select :org, t.user_uid, t.uid, t.time, r.uid, 'repeated', r.uid
from repeats as t join repeated as r
  on  r.name = t.name and r.event_type = t.event_type and r.time >= t.time - :window and r.time <= t.time
where t.requests >= :requests and t.time >= :since and t.time < :until
  and (t.last_reached is null or t.last_reached < t.time - :window)
  and not exists (
      select 1 from counted as c
      where c.src_ip = t.src_ip and c.users >= :users and c.time >= t.time - :window and c.time <= t.time);
