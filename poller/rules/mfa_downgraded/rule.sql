/*
title: A user of strong factors signed in with a weak one from a new place or device
id: 00071869-4f56-41de-846a-de54fcd5f9bc
status: experimental
description: |
  A user who signs in with FastPass, a passkey or Okta Verify pushes was verified by text message, call, mail or
  security question instead, from a place or a device that is new for them. Phishing pages that can't pass a passkey on
  ask for what they can pass on. Lost phones look the same, which is why this is low.
level: low
tags: [attack.credential-access, attack.defense-evasion, attack.t1556.006, attack.t1557]
references:
  - https://attack.mitre.org/techniques/T1556/006/
falsepositives:
  - A user who left the phone or the key at home
  - A user on a journey with a new computer
parameters: {history: 30d, sign_in: 1h, window: 12h}
lookback: window + history + 1m
reads: [mfa_succeeded, password_succeeded, app_opened, sign_on_allowed, sign_in_verified, session_started,
        factor_challenged]
summary:
  - "{user} signed in by {weak.factors} at {first} UTC, from a place or device that is new for this user"
  - "had used {strong.factors} before"
  - "from {weak.places}"
  - "the browser: {weak.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :history (ms), :sign_in (a sign-in takes no longer: what was used
-- only since then is of it, ms), :window (one finding in that time, ms).
-- A place is an address, and all addresses of the same network in the same country. In Identity Engine a session begins
-- after the password: where a policy asks for more within a minute (60000 ms), that session alone is no use of
-- the place.
with weakly as materialized (
    select user_uid from mfa_succeeded
    where org = :org and time >= :since and time < :until
      and factor in ('SMS_FACTOR', 'CALL_FACTOR', 'EMAIL_FACTOR', 'SMS', 'CALL', 'EMAIL')
    union
    select user_uid from password_succeeded
    where org = :org and time >= :since and time < :until and factor in ('SECURITY_QUESTION', 'QUESTION')
      and coalesce(factor_intent, '') not in ('CREDENTIAL_ENROLLMENT', 'CREDENTIAL_RECOVERY')
),
-- 1. The same users' weak verifications, from a window before.
verified as materialized (
    select w.org, w.user_uid, w.uid, w.time, w.src_ip, w.src_country, w.src_asn, w.src_as_org, w.device_token,
           coalesce(w.session_uid, '') as session
    from weakly cross join activities as w
    where w.org = :org and w.user_uid = weakly.user_uid and w.time >= :since - :window and w.time < :until
      and (w.activity = 'mfa_succeeded'
             and w.factor in ('SMS_FACTOR', 'CALL_FACTOR', 'EMAIL_FACTOR', 'SMS', 'CALL', 'EMAIL')
        or w.activity = 'password_succeeded' and w.factor in ('SECURITY_QUESTION', 'QUESTION')
             and coalesce(w.factor_intent, '') not in ('CREDENTIAL_ENROLLMENT', 'CREDENTIAL_RECOVERY'))
),
-- 2. What makes a place or a device the user's own.
uses as not materialized (
    select u.user_uid, u.time, u.src_ip, u.src_country, u.src_asn, u.src_as_org, u.device_token,
           coalesce(u.session_uid, '-') as session
    from activities as u
    where u.org = :org
      and (u.activity in ('app_opened', 'sign_on_allowed', 'sign_in_verified')
        or u.activity = 'mfa_succeeded'
           and u.factor in ('SIGNED_NONCE', 'FIDO_WEBAUTHN', 'FIDO2_WEBAUTHN', 'WEBAUTHN', 'FIDO_U2F', 'U2F')
        or u.activity = 'session_started'
           and not exists (select 1 from activities as c
                           where c.org = :org and c.user_uid = u.user_uid and c.activity = 'factor_challenged'
                             and c.time >= u.time - 60000 and c.time <= u.time + 60000
                             and coalesce(c.src_ip, '') = u.src_ip))
),
-- 3. Is the place new, is the device? Most are not, and are found soon.
compared as materialized (
    select v.*,
           case when v.src_ip is not null
                 and not exists (select 1 from uses as u
                                 where u.user_uid = v.user_uid and u.session <> v.session
                                   and u.time >= v.time - :history and u.time < v.time - :sign_in
                                   and (u.src_ip = v.src_ip
                                     or (u.src_asn = v.src_asn or u.src_as_org = v.src_as_org)
                                        and coalesce(u.src_country, '') = coalesce(v.src_country, '')))
                then 1 else 0 end as is_new_place,
           case when v.device_token is not null
                 and not exists (select 1 from uses as u
                                 where u.user_uid = v.user_uid and u.session <> v.session
                                   and u.time >= v.time - :history and u.time < v.time - :sign_in
                                   and u.device_token = v.device_token)
                then 1 else 0 end as is_new_device
    from verified as v
),
strangers as materialized (
    select * from compared where is_new_place + is_new_device > 0
),
-- 4. The last strong factor before that, of another sign-in.
downgraded as materialized (
    select s.org, s.user_uid, s.uid, s.time, s.is_new_place, s.is_new_device, strong.uid as strong_uid,
           row_number() over (partition by s.uid order by strong.time desc, strong.uid) as number
    from strangers as s cross join activities as strong
    where strong.org = :org and strong.user_uid = s.user_uid
      and strong.time >= s.time - :history and strong.time < s.time - :sign_in
      and strong.activity = 'mfa_succeeded'
      and strong.factor in ('SIGNED_NONCE', 'FIDO_WEBAUTHN', 'FIDO2_WEBAUTHN', 'WEBAUTHN', 'FIDO_U2F', 'U2F',
                            'OKTA_VERIFY_PUSH')
),
-- 5. The first of a user in a while.
firsts as (
    select * from downgraded as a
    where a.number = 1 and a.time >= :since
      and not exists (
          select 1 from downgraded as b
          where b.user_uid = a.user_uid and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'weak' as role,
       case is_new_place + is_new_device when 2 then 'medium' else 'low' end as confidence, time as first_seen
from firsts
union all
select org, user_uid, uid, time, strong_uid, 'strong',
       case is_new_place + is_new_device when 2 then 'medium' else 'low' end, time
from firsts;
