/*
title: A push was approved with the wrong number
id: 841cc532-e5aa-4135-b5c2-daf24591f118
status: experimental
description: |
  The user approved an Okta Verify push but did not know the number that the sign-in page showed: whoever asked for the
  push sees the number, and the user does not. Without number challenge this would have been a login. One finding for
  all wrong numbers of a user within the window, on the first.
level: high
tags: [attack.credential-access, attack.t1621]
references:
  - https://help.okta.com/oie/en-us/content/topics/identity-engine/authenticators/configure-okta-verify-options.htm
  - https://attack.mitre.org/techniques/T1621/
falsepositives:
  - A user who signs in and taps the wrong number by mistake
parameters: {window: 10m}
lookback: window
lookahead: window
reads: [push_rejected, push_sent, password_succeeded, session_started, factor_challenged]
summary:
  - "{user} approved an Okta Verify push at {trigger} UTC but gave the wrong number"
  - "it was asked for from {asked.places}"
  - "answered from {wrong_number.places}"
  - "new for this user: {asked.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with
-- 1. Approvals with the wrong number; the first within a window is the trigger.
wrong as materialized (
    select uid, user_uid, time, authn_request_uid as authn,
           lag(time) over (partition by user_uid order by time, uid) as previous
    from push_rejected
    where org = :org and time >= :since - :window and time < :until + :window
      and number_challenge_response = 'OV_WITH_CHALLENGE_RESPONSE_INVALID' and coalesce(user_uid, '') <> ''
),
triggers as materialized (
    select * from wrong
    where (previous is null or previous < time - :window) and time >= :since and time < :until
),
-- 2. The sign-in that asked for it, as the browser left it in the log.
asked as materialized (
    select t.uid as trigger_uid, a.uid,
           case when replace(a.behaviors, 'New Device=POSITIVE', '') <> a.behaviors
                  or replace(a.behaviors, 'New IP=POSITIVE', '') <> a.behaviors then 2
                when a.behaviors is not null then 1
                else 0 end as newness
    from triggers as t cross join activities as a
    where a.org = :org and a.user_uid = t.user_uid and a.time >= t.time - :window and a.time <= t.time
      and a.activity in ('push_sent', 'password_succeeded', 'session_started', 'factor_challenged')
      and (a.authn_request_uid = t.authn
        or a.activity = 'push_sent' and (a.authn_request_uid is null or t.authn is null))
)
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid as evidence_uid, told.role,
       case (select max(newness) from asked where asked.trigger_uid = t.uid)
           when 2 then 'high' when 1 then 'low' else 'medium' end as confidence
from triggers as t join (
    select user_uid, uid, time, 'wrong_number' as role, cast(null as text) as trigger_uid from wrong
    union all
    select null, uid, null, 'asked', trigger_uid from asked
) as told
  on  told.trigger_uid = t.uid
  or  told.user_uid = t.user_uid and told.time >= t.time and told.time <= t.time + :window;
