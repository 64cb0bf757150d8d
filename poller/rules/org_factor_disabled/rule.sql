/*
title: A factor was switched off for the whole Okta org
id: f31efdec-b919-4c2c-b87e-5c70c6799111
status: experimental
description: |
  An admin took a kind of factor away from everybody. What replaces it may be weaker, or nothing.
level: high
tags: [attack.defense-evasion, attack.persistence, attack.t1556.006]
references:
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - A planned change, such as the end of text messages in favor of passkeys
parameters: {}
lookback: 0s
summary:
  - "{disabled.actor_name|user} switched off a factor for the whole org at {first} UTC"
  - "it was {disabled.target_name}"
  - "reason: {disabled.outcome_reason}"
  - "from {disabled.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms). The finding is about the admin.
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'disabled' as role
from org_factor_disabled
where org = :org and time >= :since and time < :until and (outcome is null or outcome = 'SUCCESS');
