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
lookahead: window
summary:
  - "a refresh token of {user} was used again at {trigger} UTC ({reused.count} {reused.count:time|times})"
  - "from {reused.places}"
  - "the actor was {reused.actor_name} ({reused.actor_type})"
  - "with {reused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with reused as materialized (
    select uid, user_uid, time, whose, lag(time) over (partition by whose order by time, uid) as previous
    from (select refresh_token_reused.*, coalesce(user_uid, 'unknown') || ' ' || coalesce(actor_uid, '') as whose
          from refresh_token_reused) as known
    where org = :org and time >= :since - :window and time < :until + :window
)
-- The first within a window is the trigger; what follows within one is its evidence.
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid as evidence_uid,
       'reused' as role
from reused as t join reused as told
  on told.whose = t.whose and told.time >= t.time and told.time <= t.time + :window
where (t.previous is null or t.previous < t.time - :window) and t.time >= :since and t.time < :until;
