/*
title: An Okta log stream or event hook was changed, stopped or deleted
id: 4ab9cb9a-e40a-4558-af76-01d7770878b8
status: experimental
description: |
  Log streams and event hooks carry the log to those who watch it. Whoever stops them, or sends them elsewhere, works
  unseen. poller itself reads the System Log API and goes on.
level: high
tags: [attack.defense-evasion, attack.t1562.008]
references:
  - https://attack.mitre.org/techniques/T1562/008/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - A move to another log system
  - Okta stops a stream by itself when its destination does not answer
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{changed.actor_name|user} changed a log stream or event hook at {first} UTC"
  - "its name: {changed.target_name}"
  - "{changed.event_type}"
  - "from {changed.places}"
  - "new for this user: {changed.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, on the same stream or hook.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(target_uid, target_name, '') as thing,
           case when coalesce(actor_type, '') = 'SystemPrincipal' then 0
                when event_type in ('system.log_stream.lifecycle.update', 'event_hook.updated') then 1
                else 2 end as weight,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(target_uid, target_name, '')
                           order by time, uid) as previous
    from log_stream_changed
    where org = :org and time >= :since - :window and time < :until + 43200000
      and event_type not in ('system.log_stream.lifecycle.create', 'system.log_stream.lifecycle.activate')
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
