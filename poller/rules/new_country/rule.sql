/*
title: Login from a country that is new for the user
id: d7054a63-f7ab-4cce-828a-b58ce3681c56
status: stable
description: |
  A user logs in from a country from which they have not logged in as far back as the history goes. Quiet until the user
  has been seen for some days, so that a new deployment and a new employee make no findings.
level: low
tags: [attack.initial-access, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - A journey
  - A VPN with another exit than before
parameters: {history: 30d, learned: 7d}
lookback: history
summary:
  - "{user} logged in from {login.src_country} for the first time, at {trigger} UTC from {login.places}"
  - "the login before came from {before.places}"
  - "by {login.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :history (ms), :learned (ms).
with
-- 1. The first login in this slice of each user from each country.
arrived as (
    select uid, user_uid, time, src_country,
           lag(time) over (partition by user_uid, src_country order by time, uid) as previous
    from login_succeeded
    where org = :org and time >= :since and time < :until and src_country is not null
),
-- 2. Not seen before it within the history, though the user was, long enough ago. One row answers each question, since
--    the oldest is looked at first.
unseen as materialized (
    select a.uid, a.user_uid, a.time
    from arrived as a
    where (a.previous is null or a.previous < a.time - :history)
      and (select 1
           from login_succeeded as b
           where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :history and b.time < :since
             and b.src_country = a.src_country
           limit 1) is null
      and (select 1
           from login_succeeded as b
           where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :history
             and b.time <= a.time - :learned and b.src_country is not null
           limit 1) is not null
),
-- 3. With the last login before it, to compare.
told as (
    select u.uid as trigger_uid, u.user_uid, u.time as trigger_time, u.uid, 'login' as role from unseen as u
    union all
    select u.uid, u.user_uid, u.time,
           (select b.uid
            from login_succeeded as b
            where b.org = :org and b.user_uid = u.user_uid and b.time >= u.time - :history and b.time <= u.time
              and (b.time < u.time or b.uid < u.uid) and b.src_country is not null
            order by b.time desc, b.uid desc
            limit 1),
           'before'
    from unseen as u
)
select :org as org, user_uid, trigger_uid, trigger_time, trigger_time as first_seen, uid as evidence_uid, role
from told
where uid is not null;
