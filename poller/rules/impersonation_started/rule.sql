/*
title: Okta support was given access, or used it
id: 855a7b0c-a711-4ce5-ba2f-d27440d4d071
status: experimental
description: |
  An admin let Okta's support staff into the org, prolonged that, or a session in the place of a user began. Okta's
  support system was itself broken into in 2022 and 2023, so each of these should match a support case.
level: high
tags: [attack.initial-access, attack.t1199]
references:
  - https://help.okta.com/en-us/content/topics/settings/settings-support-access.htm
falsepositives:
  - A support case that your admins opened
parameters: {}
lookback: 0s
summary:
  - "{access.event_type} by {access.actor_name|user} at {first} UTC"
  - "in the place of {access.target_user_name}"
  - "from {access.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms). The finding is about who acted.
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'access' as role
from impersonation_started
where org = :org and time >= :since and time < :until and (outcome is null or outcome = 'SUCCESS');
