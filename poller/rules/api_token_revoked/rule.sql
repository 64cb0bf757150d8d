/*
title: An Okta API token was revoked
id: 539432ff-132e-4819-8a3d-47b18a44d8d5
status: experimental
description: |
  An API token was revoked. Mostly that is good housekeeping, so the rule is off by default: switch it on where
  integrations must not stop unnoticed, or an attacker might cut off a security tool.
level: informational
enabled: false
tags: [attack.impact, attack.t1531]
references:
  - https://attack.mitre.org/techniques/T1531/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - "Tokens that are replaced or not needed any more: nearly all of them"
parameters: {}
lookback: 0s
summary:
  - "{revoked.actor_name|user} revoked an API token at {first} UTC"
  - "its name: {revoked.target_name}"
  - "from {revoked.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms).
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'revoked' as role
from api_token_revoked
where org = :org and time >= :since and time < :until
