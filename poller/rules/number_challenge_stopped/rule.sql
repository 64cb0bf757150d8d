/*
title: A push was approved with the wrong number
id: 841cc532-e5aa-4135-b5c2-daf24591f118
status: experimental
description: |
  The user approved an Okta Verify push but did not know the number that the sign-in page showed: whoever asked for the
  push sees the number, and the user does not. Without number challenge this would have been a login. One finding for
  all wrong numbers of a user within the window, on the first. A slip that is put right at once does not count.
level: high
tags: [attack.credential-access, attack.t1621]
references:
  - https://help.okta.com/oie/en-us/content/topics/identity-engine/authenticators/configure-okta-verify-options.htm
  - https://attack.mitre.org/techniques/T1621/
falsepositives:
  - A user who signs in and taps the wrong number by mistake
parameters: {window: 10m}
lookback: window + window
lookahead: window + window
reads: [push_rejected, push_sent, mfa_succeeded, password_succeeded, session_started, factor_challenged]
summary:
  - "{user} approved an Okta Verify push at {trigger} UTC but gave the wrong number"
  - "it was asked for from {asked.places}"
  - "answered from {wrong_number.places}"
  - "new for this user: {asked.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with
-- 1. Approvals with the wrong number, and the sign-in that asked for each, as the browser left it in the log.
answered as materialized (
    select uid, user_uid, time, src_ip, authn_request_uid as authn, nullif(transaction_uid, 'unknown') as tx
    from push_rejected
    where org = :org and time >= :since - :window and time < :until + :window
      and number_challenge_response = 'OV_WITH_CHALLENGE_RESPONSE_INVALID' and coalesce(user_uid, '') <> ''
),
asked as materialized (
    select w.uid as answer_uid, a.uid, case when a.src_ip = w.src_ip then 0 else 1 end as is_elsewhere,
           case when replace(a.behaviors, 'New Device=POSITIVE', '') <> a.behaviors
                  or replace(a.behaviors, 'New IP=POSITIVE', '') <> a.behaviors then 2
                when a.behaviors is not null then 1
                else 0 end as newness
    from answered as w cross join activities as a
    where a.org = :org and a.user_uid = w.user_uid and a.time >= w.time - :window and a.time <= w.time
      and a.activity in ('push_sent', 'password_succeeded', 'session_started', 'factor_challenged')
      and (a.authn_request_uid = w.authn
        or a.activity = 'push_sent' and (a.authn_request_uid is null or w.authn is null))
),
-- 2. A slip: asked for and answered at one address, and there a push of the same sign-in is approved soon after.
wrong as materialized (
    select w.*, lag(w.time) over (partition by w.user_uid order by w.time, w.uid) as previous
    from answered as w
    where coalesce((select max(is_elsewhere) from asked where asked.answer_uid = w.uid), 1) = 1
       or not exists (
           select 1 from mfa_succeeded as m
           where m.org = :org and m.user_uid = w.user_uid and m.time >= w.time and m.time <= w.time + :window
             and m.factor = 'OKTA_VERIFY_PUSH' and m.src_ip = w.src_ip
             and (m.authn_request_uid = w.authn or m.transaction_uid = w.tx))
),
-- 3. The first within a window is the trigger.
triggers as materialized (
    select * from wrong
    where (previous is null or previous < time - :window) and time >= :since and time < :until
)
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid as evidence_uid, told.role,
       case (select max(newness) from asked where asked.answer_uid = t.uid)
           when 2 then 'high' when 1 then 'low' else 'medium' end as confidence
from triggers as t join (
    select user_uid, uid, time, 'wrong_number' as role, cast(null as text) as trigger_uid from wrong
    union all
    select null, uid, null, 'asked', answer_uid from asked
) as told
  on  told.trigger_uid = t.uid
  or  told.user_uid = t.user_uid and told.time >= t.time and told.time <= t.time + :window;
