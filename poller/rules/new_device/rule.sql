/*
title: Login by a device that is new for the user
id: 75263f2a-873f-4c88-aab4-e63858d2881e
status: stable
description: |
  A user logs in by a device by which they have not logged in as far back as the history goes. Off by default and
  informational: a cleared cookie, a private window and another browser are new devices. Switch it on for the few users
  whose devices are managed, or to look back after an incident.
level: informational
enabled: false
tags: [attack.initial-access, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - A private window, cleared cookies, another browser, a new laptop
parameters: {history: 30d, learned: 7d}
lookback: history
summary:
  - "{user} logged in by a new device at {trigger} UTC, from {login.places}"
  - "it calls itself {login.user_agent}"
  - "the login before came from {before.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :history (ms), :learned (ms).
with
-- A device is its token, else the family of its browser and system, which stays the same through updates.
known as not materialized (
    select org, uid, user_uid, time,
           coalesce(
               device_token,
               case when replace(user_agent, 'Edg/', '') <> user_agent then 'Edge'
                    when replace(user_agent, 'OPR/', '') <> user_agent then 'Opera'
                    when replace(user_agent, 'Firefox/', '') <> user_agent then 'Firefox'
                    when replace(user_agent, 'Chrome/', '') <> user_agent then 'Chrome'
                    when replace(user_agent, 'Safari/', '') <> user_agent then 'Safari'
                    when user_agent is not null then 'other' end
               || case when replace(user_agent, 'Windows', '') <> user_agent then ' on Windows'
                       when replace(user_agent, 'iPhone', '') <> user_agent then ' on iOS'
                       when replace(user_agent, 'iPad', '') <> user_agent then ' on iOS'
                       when replace(user_agent, 'Macintosh', '') <> user_agent then ' on macOS'
                       when replace(user_agent, 'Android', '') <> user_agent then ' on Android'
                       when replace(user_agent, 'Linux', '') <> user_agent then ' on Linux'
                       else ' on another system' end
           ) as client
    from login_succeeded
),
-- 1. The first login in this slice of each user from each device.
arrived as (
    select uid, user_uid, time, client,
           lag(time) over (partition by user_uid, client order by time, uid) as previous
    from known
    where org = :org and time >= :since and time < :until and client is not null
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
             and b.client = a.client
           limit 1) is null
      and (select 1
           from known as b
           where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :history
             and b.time <= a.time - :learned and b.client is not null
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
              and (b.time < u.time or b.uid < u.uid) and b.client is not null
            order by b.time desc, b.uid desc
            limit 1),
           'before'
    from unseen as u
)
select :org as org, user_uid, trigger_uid, trigger_time, trigger_time as first_seen, uid as evidence_uid, role
from told
where uid is not null;
