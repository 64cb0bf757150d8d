/*
title: A user opened many apps in a short time
id: 3ac9a26d-a4cd-4418-a9a0-8c010c2dedda
status: experimental
description: |
  Somebody with a session goes through the apps it opens. So does a browser that restores its tabs in the morning,
  which is why this is low: read it beside other findings of the same user.
level: low
tags: [attack.discovery, attack.lateral-movement, attack.t1526, attack.t1550.004]
references:
  - https://attack.mitre.org/techniques/T1526/
falsepositives:
  - A browser that opens all tabs of yesterday
  - An admin or tester who checks that the apps work
parameters: {apps: 10, window: 5m}
lookback: window + window
summary:
  - "{user} opened at least {attempts} different apps between {first} and {trigger} UTC"
  - "{opened.app_name}"
  - "from {opened.places}"
  - "new for this user: {opened.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :apps (different ones), :window (ms).
with opened as materialized (
    select org, user_uid, uid, time, coalesce(app_uid, app_name) as app
    from app_opened
    where org = :org and time >= :since - :window - :window and time < :until
      and coalesce(user_uid, '') <> '' and coalesce(app_uid, app_name) is not null
),
-- 1. Who opened so many at all?
busy as materialized (
    select user_uid from opened group by user_uid having count(distinct app) >= :apps
),
theirs as materialized (
    select opened.* from opened join busy on busy.user_uid = opened.user_uid
),
-- 2. The openings at which the window held enough different ones.
full_windows as materialized (
    select e.org, e.user_uid, e.uid, e.time
    from theirs as e join theirs as f
      on f.user_uid = e.user_uid and f.time >= e.time - :window and f.time <= e.time
    where e.time >= :since - :window
    group by e.org, e.user_uid, e.uid, e.time
    having count(distinct f.app) >= :apps
),
-- 3. The first of them.
crossed as (
    select * from full_windows as a
    where a.time >= :since
      and not exists (
          select 1 from full_windows as b
          where b.user_uid = a.user_uid and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select c.org, c.user_uid, c.uid as trigger_uid, c.time as trigger_time, t.uid as evidence_uid, 'opened' as role,
       t.app as attempt
from crossed as c join theirs as t
  on t.user_uid = c.user_uid and t.time >= c.time - :window and t.time <= c.time;
