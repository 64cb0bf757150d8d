/*
title: A protection of Okta's own was set anew
id: 09f6c87e-bfed-4faf-891d-a07b7c380493
status: experimental
description: |
  ThreatInsight, behavior detection, protection of passwords and sessions or of admins' acts was changed. Such settings
  are changed once in a long while; before an attack, to let it pass.
level: medium
tags: [attack.defense-evasion, attack.t1562.001]
references:
  - https://attack.mitre.org/techniques/T1562/001/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Setting up or tuning these protections
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{changed.actor_name|user} set a protection of Okta's anew at {first} UTC"
  - "{changed.event_type}"
  - "which: {changed.target_name}"
  - "from {changed.places}"
  - "new for this user: {changed.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, of the same kind.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           event_type as thing,
           lag(time) over (partition by coalesce(actor_uid, ''), event_type
                           order by time, uid) as previous
    from threat_insight_changed
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
       act.uid as evidence_uid, 'changed' as role
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
