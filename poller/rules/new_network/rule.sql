/*
title: Login from a network that is new for the user
id: e079f0f9-b340-441e-bcb1-ca2eded233d3
status: stable
description: |
  A user logs in from a network (AS number) from which they have not logged in as far back as the history goes. Off by
  default and informational: every hotel, train and mobile carrier is a new network. Switch it on for the few users
  whose place of work never changes, or to look back after an incident.
level: informational
enabled: false
tags: [attack.initial-access, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - Hotels, trains, another mobile carrier, a new provider at home
parameters: {history: 30d, learned: 7d}
lookback: history
summary:
  - "{user} logged in from the network {login.src_as_org} for the first time, at {trigger} UTC from {login.places}"
  - "the login before came from {before.places}"
  - "by {login.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :history (ms), :learned (ms).
with
-- A network is its AS number, else the name of who runs it.
known as not materialized (
    select org, uid, user_uid, time, coalesce(cast(src_asn as text), src_as_org) as network from login_succeeded
),
-- 1. The first login in this slice of each user from each network.
arrived as (
    select uid, user_uid, time, network,
           lag(time) over (partition by user_uid, network order by time, uid) as previous
    from known
    where org = :org and time >= :since and time < :until and network is not null
),
-- 2. Not seen before it within the history, though the user was, long enough ago. One row answers each question, since
--    the oldest is looked at first.
unseen as materialized (
    select a.uid, a.user_uid, a.time
    from arrived as a
    where (a.previous is null or a.previous < a.time - :history)
      and (select 1
           from known as b
           where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :history and b.time < :since
             and b.network = a.network
           limit 1) is null
      and (select 1
           from known as b
           where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :history
             and b.time <= a.time - :learned and b.network is not null
           limit 1) is not null
),
-- 3. With the last login before it, to compare.
told as (
    select u.uid as trigger_uid, u.user_uid, u.time as trigger_time, u.uid, 'login' as role from unseen as u
    union all
    select u.uid, u.user_uid, u.time,
           (select b.uid
            from known as b
            where b.org = :org and b.user_uid = u.user_uid and b.time >= u.time - :history and b.time <= u.time
              and (b.time < u.time or b.uid < u.uid) and b.network is not null
            order by b.time desc, b.uid desc
            limit 1),
           'before'
    from unseen as u
)
select :org as org, user_uid, trigger_uid, trigger_time, trigger_time as first_seen, uid as evidence_uid, role
from told
where uid is not null;
