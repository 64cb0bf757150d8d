/*
title: All factors of an Okta user were reset
id: 8c243699-72f2-4fb3-9f8a-15570d9dc305
status: experimental
description: |
  Every second factor of a user was removed in one act, so that the next sign-in can enroll new ones. Help desks do this
  daily; so does a caller who talks them into it. `factors_reset_then_login` finds the login that follows.
level: low
tags: [attack.persistence, attack.t1556.006]
references:
  - https://help.okta.com/en-us/content/topics/security/mfa/mfa-reset-users.htm
falsepositives:
  - A user has a new phone or lost the old one, and the help desk checked who was calling
parameters: {}
lookback: 0s
summary:
  - "all factors of {user} were reset at {first} UTC by {reset.actor_name}"
  - "from {reset.places}"
  - "reason: {reset.outcome_reason}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms). The finding is about the user whose factors are gone.
select org, coalesce(target_user_uid, user_uid) as user_uid, uid as trigger_uid, time as trigger_time,
       uid as evidence_uid, 'reset' as role
from factors_reset
where org = :org and time >= :since and time < :until;
