/*
title: An Okta identity provider was changed
id: 738a9968-5302-421f-8509-038cd07c72de
status: experimental
description: |
  An identity provider, or a key that its assertions are checked with, was changed, switched on or off, or deleted. An
  attacker points a trusted provider to keys of their own, and signs in as whom they like.
level: medium
tags: [attack.persistence, attack.defense-evasion, attack.t1484.002, attack.t1556.007]
references:
  - https://attack.mitre.org/techniques/T1484/002/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Renewal of certificates, and other planned work on a federation
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{changed.actor_name|user} changed an identity provider at {first} UTC"
  - "its name: {changed.target_name}"
  - "{changed.event_type}"
  - "from {changed.places}"
  - "new for this user: {changed.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, on the same provider.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(target_uid, target_name, '') as thing,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(target_uid, target_name, '')
                           order by time, uid) as previous
    from idp_changed
    where org = :org and time >= :since - :window and time < :until + 43200000
      and event_type <> 'system.idp.lifecycle.create'
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
