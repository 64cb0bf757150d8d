/*
title: The password health report was asked for
id: aac393b9-b992-46d3-8319-07f67d6e68b4
status: experimental
description: |
  Okta's report on passwords names every user and the age of their password: a list of whom to attack. Intruders of 2023
  took it first, through the address behind the Admin Console rather than the console itself.
level: low
tags: [attack.discovery, attack.t1087.004]
references:
  - https://attack.mitre.org/techniques/T1087/004/
falsepositives:
  - An admin who looks at the report in the Admin Console
parameters: {window: 1m}
lookback: window
lookahead: window
summary:
  - "{user} asked for the password health report at {first} UTC"
  - "{read.request_uri}"
  - "from {read.places}"
  - "new for this user: {read.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
-- 1. Okta does not say which event types such a request writes. So all that this org has, one step of the index each,
--    and then the events of each in the slice.
with recursive kinds(event_type) as (
    select min(event_type) from events where org = :org and event_type > ''
    union all
    select (select min(e.event_type) from events as e where e.org = :org and e.event_type > kinds.event_type)
    from kinds where kinds.event_type is not null
),
asked as materialized (
    select e.org, e.user_uid, e.uid, e.time
    from kinds cross join events as e
    where e.org = :org and e.event_type = kinds.event_type
      and e.time >= :since - :window and e.time < :until + :window
      and substr(e.request_uri, 1, 25) = '/reports/password-health/'
),
-- 2. The first of a user in a while: what follows within the window is evidence of it.
firsts as (
    select * from asked as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from asked as b
          where coalesce(b.user_uid, '') = coalesce(a.user_uid, '') and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select f.org, f.user_uid, f.uid as trigger_uid, f.time as trigger_time, a.uid as evidence_uid, 'read' as role
from firsts as f join asked as a
  on coalesce(a.user_uid, '') = coalesce(f.user_uid, '') and a.time >= f.time and a.time <= f.time + :window;
