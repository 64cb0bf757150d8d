/*
title: Pushes of several users at one address, and not approved
id: e071ff1b-66bb-4c32-a0c4-940371399deb
status: experimental
description: |
  From one address Okta Verify pushes were asked for in the name of several users, and none of them got in that way:
  somebody tries a list of stolen passwords. Where the log does not say who asked, the address at which the push was
  denied counts. Fires on the user who makes it enough within the window, if more users of that address failed than got
  in.
level: high
tags: [attack.credential-access, attack.t1621, attack.t1110.004]
references:
  - https://attack.mitre.org/techniques/T1621/
  - https://attack.mitre.org/techniques/T1110/004/
falsepositives:
  - An office, VPN or hosted desktop whose users all go out by one address, while pushes do not reach their phones
parameters: {users: 3, window: 30m, settle: 5m}
lookback: window + window + settle
lookahead: settle
reads: [push_sent, push_abandoned, push_rejected, mfa_succeeded]
summary:
  - "Okta Verify pushes of {attempts} users were not approved between {first} and {trigger} UTC"
  - "asked for from {asked.places|abandoned.places}"
  - "denied at {denied.places}, which may be the address of the phones"
  - "users: {asked.user_name|abandoned.user_name|denied.user_name}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :users, :window and :settle (ms; how long a push is waited for).
-- A push that is sent, and one that runs out, bear the address of the browser that asked for it. A denial bears that of
-- the phone in Identity Engine: it counts only where no send in the log says who asked.
with
-- 1. Addresses at which pushes of so many users were asked for or denied near this slice.
asked as materialized (
    select uid, user_uid, time, src_ip, authn_request_uid as authn, 'asked' as role
    from push_sent
    where org = :org and time >= :since - :window - :window and time < :until
      and coalesce(src_ip, '') <> '' and coalesce(user_uid, '') <> ''
    union all
    select uid, user_uid, time, src_ip, authn_request_uid, 'abandoned'
    from push_abandoned
    where org = :org and time >= :since - :window - :window and time < :until
      and coalesce(src_ip, '') <> '' and coalesce(user_uid, '') <> ''
    union all
    select d.uid, d.user_uid, d.time, d.src_ip, null, 'denied'
    from push_rejected as d
    where d.org = :org and d.time >= :since - :window - :window and d.time < :until
      and coalesce(d.src_ip, '') <> '' and coalesce(d.user_uid, '') <> ''
      and not exists (
          select 1 from push_sent as s
          where s.org = :org and s.user_uid = d.user_uid and s.time >= d.time - :settle and s.time <= d.time)
),
crowded as materialized (
    select src_ip from asked group by src_ip having count(distinct user_uid) >= :users
),
-- 2. Which of those pushes were followed by a second factor of that user? A denial, by one of any sign-in.
judged as materialized (
    select a.*,
           case when exists (
               select 1 from mfa_succeeded as m
               where m.org = :org and m.user_uid = a.user_uid
                 and m.time >= a.time - :settle and m.time <= a.time + :settle
                 and (m.authn_request_uid = a.authn or m.authn_request_uid is null or a.authn is null))
               then 1 else 0 end as got_in
    from crowded as c join asked as a on a.src_ip = c.src_ip
),
admitted as materialized (
    select src_ip, user_uid, time from judged where got_in = 1
    union all
    select m.src_ip, m.user_uid, m.time
    from crowded as c cross join mfa_succeeded as m
    where m.org = :org and m.src_ip = c.src_ip and m.time >= :since - :window - :window and m.time < :until
),
-- 3. The first failure of a user within a window, how many users there are with it, and how many got in.
fresh as materialized (
    select * from (
        select judged.*, lag(time) over (partition by src_ip, user_uid order by time, uid) as previous
        from judged where got_in = 0
    ) as f
    where previous is null or previous < time - :window
),
tally as (
    select f.uid, f.src_ip, f.time, f.user_uid,
           (select count(distinct j.user_uid) from judged as j
            where j.src_ip = f.src_ip and j.got_in = 0 and j.time >= f.time - :window and j.time <= f.time) as held,
           (select count(distinct a.user_uid) from admitted as a
            where a.src_ip = f.src_ip and a.time >= f.time - :window and a.time <= f.time) as let_in
    from fresh as f
),
enough as (
    select tally.*, case when held >= :users and held > let_in then 1 else 0 end as is_enough from tally
),
crossings as materialized (
    select * from (
        select enough.*, lag(is_enough) over (partition by src_ip order by time, uid) as before,
               lag(time) over (partition by src_ip order by time, uid) as before_time
        from enough
    ) as t
    where is_enough = 1 and (before is null or before = 0 or before_time < time - :window)
      and time >= :since and time < :until
)
select :org as org, cast(null as text) as user_uid, c.uid as trigger_uid, c.time as trigger_time,
       j.uid as evidence_uid, j.role, j.user_uid as attempt
from crossings as c join judged as j
  on  j.src_ip = c.src_ip and j.got_in = 0 and j.time >= c.time - :window and j.time <= c.time;
