/*
title: A secret or key was added to an OAuth app
id: 29754367-a893-4f42-a91b-d0c4595889f8
status: experimental
description: |
  Whoever holds a client secret or private key acts as the app. A second one, added beside the first, keeps the app
  running while a stranger uses it too. Level low: keys are rotated in ordinary work.
level: low
tags: [attack.persistence, attack.t1098.001]
references:
  - https://attack.mitre.org/techniques/T1098/001/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Rotation of keys, new apps
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{added.actor_name|user} added a credential to an app at {first} UTC"
  - "the app: {added.app_name|added.target_name}"
  - "from {added.places}"
  - "new for this user: {added.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, to the same app.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(app_uid, target_uid, target_name, '') as thing,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(app_uid, target_uid, target_name, '')
                           order by time, uid) as previous
    from app_credential_added
    where org = :org and time >= :since - :window and time < :until + 43200000
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
       act.uid as evidence_uid, 'added' as role
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
