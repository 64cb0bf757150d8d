/*
title: A user was refused an app
id: 1d1a19db-6fb7-4e18-936f-1921fa70563f
status: experimental
description: |
  A user asked for an app that is not assigned to them, or that the policy denies them. Once is a stale bookmark, which
  is why this is low; several different apps in a short time is somebody trying doors, and the confidence says so.
level: low
tags: [attack.discovery, attack.t1526]
references:
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - A bookmark or a link in a mail to an app that the user had once
  - An app that was just unassigned, or a policy that was just changed
parameters: {apps: 3, window: 1h}
lookback: window
lookahead: window
summary:
  - "{user} was refused {attempts} {attempts:app|apps} from {first} UTC on"
  - "{refused.app_name}"
  - "from {refused.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :apps (so many are no accident), :window (ms).
with refused as materialized (
    select org, user_uid, uid, time, coalesce(src_ip, '') as place,
           coalesce(app_uid, app_name, target_uid, 'an app') as app
    from app_access_refused
    where org = :org and time >= :since - :window and time < :until + :window
      and coalesce(user_uid, 'unknown') <> 'unknown'
),
-- The first of a user from an address in a while: what follows within the window is evidence of it. A bookmark that
-- the user clicks does not hide who tries the doors from elsewhere.
firsts as (
    select * from refused as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from refused as b
          where b.user_uid = a.user_uid and b.place = a.place and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
),
told as (
    select f.uid, f.user_uid, f.place, f.time, count(distinct r.app) as apps
    from firsts as f join refused as r
      on r.user_uid = f.user_uid and r.place = f.place and r.time >= f.time and r.time <= f.time + :window
    group by f.uid, f.user_uid, f.place, f.time
)
select r.org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, r.uid as evidence_uid, 'refused' as role,
       r.app as attempt, case when t.apps >= :apps then 'high' else 'low' end as confidence
from told as t join refused as r
  on r.user_uid = t.user_uid and r.place = t.place and r.time >= t.time and r.time <= t.time + :window;
