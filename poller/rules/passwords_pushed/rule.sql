/*
title: Passwords of users are pushed to an app in clear
id: 6f2d7da1-2c87-441e-8933-c746634f16cd
status: experimental
description: |
  The provisioning of an app was set to hand it the Okta passwords of its users. Whoever runs the server on the other
  side, reads them. An app admin can do this with a server of their own.
level: high
tags: [attack.credential-access, attack.t1556]
references:
  - https://help.okta.com/en-us/content/topics/provisioning/lcm/con-okta-prov.htm
falsepositives:
  - A directory or an older app that needs the same password, set up with the knowledge of security
parameters: {}
lookback: 0s
summary:
  - "{pushed.actor_name|user} set up an app at {first} UTC so that Okta pushes passwords to it"
  - "the app: {pushed.app_name|pushed.target_name}"
  - "from {pushed.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms). The finding is about the admin who changed the app. Okta says what
-- was changed in words, in the reason or in the message.
select org, case when lower(actor_type) = 'user' then nullif(actor_uid, 'unknown') end as user_uid, uid as trigger_uid,
       time as trigger_time, uid as evidence_uid, 'pushed' as role
from app_changed
where org = :org and time >= :since and time < :until
  and event_type = 'application.lifecycle.update'
  and replace(lower(coalesce(outcome_reason, '') || ' ' || coalesce(message, '')), 'pushing user passwords', '')
   <> lower(coalesce(outcome_reason, '') || ' ' || coalesce(message, ''));
