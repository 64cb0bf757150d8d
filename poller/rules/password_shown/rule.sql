/*
title: Somebody looked at the app password of another user
id: 8b2186e9-d1d6-4687-b86e-0121e6a429fe
status: experimental
description: |
  Okta keeps passwords of apps without single sign-on and can show them. Users may look at their own; here somebody
  looked at one of another user.
level: medium
tags: [attack.credential-access, attack.t1552]
references:
  - https://help.okta.com/en-us/content/topics/apps/apps_revealing_the_password.htm
falsepositives:
  - An admin who looks after a shared account of an app
parameters: {window: 1h}
lookback: window
lookahead: window
summary:
  - "{shown.actor_name|user} looked at {shown.count} app {shown.count:password|passwords} of others from {first} UTC on"
  - "those of {shown.target_user_name}"
  - "for {shown.app_name}"
  - "from {shown.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). The finding is about who looked: where that is an
-- app or Okta itself, `user_uid` of the event is whose password it was, and the finding has no user.
with shown as materialized (
    select org, uid, time, coalesce(actor_uid, '') as actor,
           case when lower(actor_type) = 'user' then nullif(actor_uid, 'unknown') end as user_uid
    from password_shown
    where org = :org and time >= :since - :window and time < :until + :window
      -- One person: names without their case where both are there, since the ids of app accounts differ; else ids.
      and case when actor_name is not null and target_user_name is not null
               then lower(actor_name) <> lower(target_user_name)
               else actor_uid <> target_user_uid end
),
-- The first in a while: what follows within the window is evidence of it.
firsts as (
    select * from shown as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from shown as b
          where b.actor = a.actor and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select f.org, f.user_uid, f.uid as trigger_uid, f.time as trigger_time, a.uid as evidence_uid, 'shown' as role
from firsts as f join shown as a
  on a.actor = f.actor and a.time >= f.time and a.time <= f.time + :window;
