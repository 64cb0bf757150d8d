/*
title: An Okta policy was changed, switched off or deleted
id: a2f3ae63-6989-49a8-a6a6-33f7fe8b1fb8
status: experimental
description: |
  Policies decide who must prove what. Switching one off or deleting it has medium confidence; a mere change may as well
  strengthen it, so its confidence, like the rule's level, is low.
level: low
tags: [attack.defense-evasion, attack.persistence, attack.t1556.009]
references:
  - https://attack.mitre.org/techniques/T1556/009/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Ordinary work on policies
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{changed.actor_name|user} changed a policy at {first} UTC"
  - "{changed.event_type}"
  - "which: {changed.target_name}"
  - "from {changed.places}"
  - "new for this user: {changed.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, on the same policy.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(target_uid, target_name, '') as thing,
           case when event_type = 'policy.lifecycle.update' then 0 else 1 end as weight,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(target_uid, target_name, '')
                           order by time, uid) as previous
    from policy_weakened
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
       act.uid as evidence_uid, 'changed' as role,
       case max(act.weight) over (partition by head.uid) when 2 then 'high' when 1 then 'medium' else 'low' end
           as confidence
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
