/*
title: An Org2Org app was created or changed
id: af9a19f9-170b-465d-ba6a-00bfe7954f42
status: experimental
description: |
  Org2Org connects two Okta orgs, and hands users and their passwords from one to the other. With it, an attacker's own
  org can become the source of identities of yours, or be pushed what yours holds.
level: medium
tags: [attack.persistence, attack.defense-evasion, attack.t1484.002, attack.t1199]
references:
  - https://attack.mitre.org/techniques/T1484/002/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Companies with several Okta orgs that connect them
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{changed.actor_name|user} changed an Org2Org app at {first} UTC"
  - "the app: {changed.app_name|changed.target_name}"
  - "{changed.event_type}"
  - "from {changed.places}"
  - "new for this user: {changed.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, on the same app.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(app_uid, app_name, target_name, '') as thing,
           case when event_type in ('application.lifecycle.create', 'application.lifecycle.activate') then 2
                else 1 end as weight,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(app_uid, app_name, target_name, '')
                           order by time, uid) as previous
    from app_changed
    where org = :org and time >= :since - :window and time < :until + 43200000
      and (lower(app_name) like '%org2org%' or lower(app_name) like '%org 2 org%'
        or lower(target_name) like '%org2org%')
),
-- 2. An act with none before it in the window begins a burst; so does the first after noon and midnight.
marked as (
    select acts.*, case when previous is null or previous < time - :window or previous / 43200000 < time / 43200000
                        then 1 else 0 end as begins
    from acts
),
bursts as materialized (
    select marked.*, sum(begins) over (partition by actor, thing order by time, uid rows unbounded preceding) as burst
    from marked
)
-- 3. A burst is a finding.
select head.org, head.user_uid, head.uid as trigger_uid, head.time as trigger_time,
       act.uid as evidence_uid, 'changed' as role,
       case max(act.weight) over (partition by head.uid) when 2 then 'high' when 1 then 'medium' else 'low' end
           as confidence
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
