/*
title: Okta ThreatInsight sees the org under attack
id: 439acc30-c9b2-451e-8963-a20030a90d7a
status: experimental
description: |
  ThreatInsight's models see an attack on the whole org, and Okta becomes stricter. Okta writes this seldom, and says
  when it is over.
level: high
tags: [attack.credential-access, attack.t1110]
references:
  - https://attack.mitre.org/techniques/T1110/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Load tests, or an integration that tries old passwords without end
parameters: {}
lookback: 0s
summary:
  - "Okta ThreatInsight has seen the org under attack since {first} UTC"
  - "{attacked.message}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms).
select org, null as user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'attacked' as role
from org_attacked
where org = :org and time >= :since and time < :until
