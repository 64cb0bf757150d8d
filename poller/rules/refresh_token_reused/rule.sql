/*
title: A refresh token was used a second time
id: 23e755fd-4d64-4f79-b750-ee1956f40b0a
status: experimental
description: |
  Where refresh tokens rotate, each is good for one use. One that Okta had already exchanged came again: it is in two
  hands, the app's and somebody else's, and Okta ends the whole family of tokens. One finding for a user and a client
  within the window, on the first.
level: medium
tags: [attack.credential-access, attack.t1528, attack.defense-evasion, attack.t1550.001]
references:
  - https://developer.okta.com/docs/guides/refresh-tokens/main/
  - https://attack.mitre.org/techniques/T1528/
falsepositives:
  - An app that sends the same request again after a lost answer, or from two tabs or processes at once
parameters: {window: 1h}
lookback: window
lookahead: 12h
summary:
  - "a refresh token of {user} was used again at {trigger} UTC ({reused.count} {reused.count:time|times})"
  - "from {reused.places}"
  - "the actor was {reused.actor_name} ({reused.actor_type})"
  - "with {reused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's events lie in one half of a day
-- (43200000 ms), so that it ends even where they come without a pause.
-- 1. Those of the slice and around it, each with the time of the one before it, of the same user and client.
with told as materialized (
    select org, uid, user_uid, time, whose, lag(time) over (partition by whose order by time, uid) as previous
    from (select refresh_token_reused.*, coalesce(user_uid, 'unknown') || ' ' || coalesce(actor_uid, '') as whose
          from refresh_token_reused) as known
    where org = :org and time >= :since - :window and time < :until + 43200000
),
-- 2. One with none before it in the window begins a burst; so does the first after noon and midnight.
marked as (
    select told.*, case when previous is null or previous < time - :window or previous / 43200000 < time / 43200000
                        then 1 else 0 end as begins
    from told
),
bursts as materialized (
    select marked.*, sum(begins) over (partition by whose order by time, uid rows unbounded preceding) as burst
    from marked
)
-- 3. A burst is a finding.
select head.org, head.user_uid, head.uid as trigger_uid, head.time as trigger_time, act.uid as evidence_uid,
       'reused' as role
from bursts as head join bursts as act on act.whose = head.whose and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until;
