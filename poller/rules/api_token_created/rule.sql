/*
title: An Okta API token was created
id: aa892d15-5f7b-4087-8f87-d082a522272c
status: experimental
description: |
  An API token has all the rights of the admin who made it, for as long as it is used, without a second factor.
  Attackers who hold a session make one, since it outlives the session.
level: medium
tags: [attack.persistence, attack.credential-access, attack.t1098.001, attack.t1528]
references:
  - https://attack.mitre.org/techniques/T1098/001/
  - https://attack.mitre.org/techniques/T1528/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Setting up an integration or a script
parameters: {}
lookback: 0s
summary:
  - "{created.actor_name|user} created an API token at {first} UTC"
  - "its name: {created.target_name}"
  - "from {created.places}"
  - "new for this user: {created.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms).
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'created' as role
from api_token_created
where org = :org and time >= :since and time < :until
