/*
title: An Okta token was used from outside its network zone
id: ab19b8e5-68b7-412a-b3e7-b63931347735
status: experimental
description: |
  An API token or an OAuth access token is limited to a network zone, and was used from elsewhere. Okta refused; but
  somebody has the token. Needs zones on tokens.
level: high
tags: [attack.credential-access, attack.t1528, attack.t1550.001]
references:
  - https://attack.mitre.org/techniques/T1550/001/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - An integration that moved to other addresses
  - An admin who tries a script at home
parameters: {window: 1h}
lookback: window
lookahead: 12h
summary:
  - "a token of {used.actor_name|user} was used from outside its network zone at {first} UTC"
  - "the token: {used.target_name}"
  - "from {used.places}"
  - "by {used.user_agent}"
  - "{used.count} {used.count:time|times}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, from the same address.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(src_ip, '') as thing,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(src_ip, '')
                           order by time, uid) as previous
    from token_used_elsewhere
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
       act.uid as evidence_uid, 'used' as role
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
