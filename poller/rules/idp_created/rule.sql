/*
title: An Okta identity provider was created
id: c2ac34a2-c051-44f1-9e44-fec9f8e6ce1e
status: experimental
description: |
  Whoever controls an identity provider that the org trusts can sign in as any user it names. Attackers add one of their
  own and come in as whom they like (cross-tenant impersonation).
level: high
tags: [attack.persistence, attack.defense-evasion, attack.t1484.002, attack.t1556.007]
references:
  - https://attack.mitre.org/techniques/T1484/002/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - A planned federation with a partner, a directory or a social login
parameters: {}
lookback: 0s
summary:
  - "{created.actor_name|user} created an identity provider at {first} UTC"
  - "its name: {created.target_name}"
  - "from {created.places}"
  - "new for this user: {created.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms).
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'created' as role
from idp_changed
where org = :org and time >= :since and time < :until
  and event_type = 'system.idp.lifecycle.create'
