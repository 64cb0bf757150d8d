/*
title: An Okta rate limit was reached
id: d97ee5c7-961f-4a56-9820-6c4a43c3a3fd
status: experimental
description: |
  Requests came so fast that Okta warned or refused. It may be an attack (guessing, flooding) or a bad script, mostly
  the latter: informational, and off by default.
level: informational
enabled: false
tags: [attack.impact, attack.t1499, attack.t1110]
references:
  - https://attack.mitre.org/techniques/T1499/
  - https://developer.okta.com/docs/reference/rl-system-log-events/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - "Scripts and integrations that ask too fast: nearly all"
parameters: {window: 1h}
lookback: window
summary:
  - "an Okta rate limit was reached at {first} UTC"
  - "{hit.event_type}"
  - "by {hit.actor_name}"
  - "on {hit.target_name|hit.request_uri}"
  - "from {hit.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
-- 1. The hits from a window before the slice on, each with the time of the one before it by the same actor on the same
--    bucket.
with hits as materialized (
    select org, uid, user_uid, time,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(target_uid, target_name, '')
                           order by time, uid) as previous
    from rate_limit_hit
    where org = :org and time >= :since - :window and time < :until
)
-- 2. One with none before it in the window is a finding. Limits are hit in heaps: the first is evidence, no more.
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'hit' as role
from hits
where time >= :since and (previous is null or previous < time - :window)
