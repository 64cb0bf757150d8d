/*
title: A push was asked for in one place and approved in another
id: 4aede1a7-77c7-4ac0-a2b2-1306c7ae6e39
status: experimental
description: |
  An Okta Verify push was approved from another network, and mostly another country, than the one the sign-in asks from,
  and Okta finds both the device and the address of that sign-in new for the user: somebody else signs in, and the user
  lets them. One push that is approved at once leaves no other trace. Quiet where both are in one city, and Okta finds
  nothing new in where the sign-in comes from: a new computer at home, and the phone on mobile data.
level: medium
tags: [attack.credential-access, attack.t1621, attack.initial-access, attack.t1078.004]
references:
  - https://help.okta.com/oie/en-us/content/topics/security/behavior-detection/about-behavior-detection.htm
  - https://attack.mitre.org/techniques/T1621/
falsepositives:
  - The first sign-in on a new computer, with the phone on a mobile network
  - A VPN or a hosted desktop that the user opens for the first time
parameters: {window: 10m}
lookback: window
lookahead: 5m
reads: [push_sent, mfa_succeeded, password_succeeded, session_started, factor_challenged, sign_on_allowed,
        sign_in_verified]
summary:
  - "{user} approved at {trigger} UTC an Okta Verify push that was asked for elsewhere"
  - "asked for from {asked.places}"
  - "approved from {approved.places}"
  - "new for this user: {asked.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
-- A push is asked for by a browser and approved by a phone; the phone's event bears the phone's address.
with
-- 1. Pushes that were approved in this slice.
approvals as materialized (
    select uid, user_uid, time, authn_request_uid as authn, src_country, src_city, src_asn
    from mfa_succeeded
    where org = :org and factor = 'OKTA_VERIFY_PUSH' and time >= :since and time < :until
      and coalesce(user_uid, '') <> ''
),
-- 2. What the log says of the browser: the push sent, and what else bears the same sign-in. What a sign-in policy says
--    is written up to five minutes (300000 ms) after. Classic names no sign-in: there the address ties them.
around as materialized (
    select p.uid as trigger_uid, p.time as trigger_time, a.uid, a.time, a.activity, a.src_ip, a.behaviors,
           case when a.activity = 'push_sent' and a.time <= p.time
                 and (a.authn_request_uid = p.authn or a.authn_request_uid is null or p.authn is null) then 1
                when a.authn_request_uid = p.authn then 1
                else 0 end as is_tied,
           case when a.src_asn = p.src_asn then 0
                when a.src_country <> p.src_country then 3
                when a.src_asn <> p.src_asn then case when a.src_city = p.src_city then 1 else 2 end
                else 0 end as apart
    from approvals as p cross join activities as a
    where a.org = :org and a.user_uid = p.user_uid and a.time >= p.time - :window and a.time <= p.time + 300000
      and a.activity in ('push_sent', 'password_succeeded', 'session_started', 'factor_challenged', 'sign_on_allowed',
                         'sign_in_verified')
),
asked as materialized (
    select a.* from around as a
    where is_tied = 1
       or exists (select 1 from around as s
                  where s.trigger_uid = a.trigger_uid and s.is_tied = 1 and s.activity = 'push_sent'
                    and s.src_ip = a.src_ip)
),
-- 3. New device, new address, and no trace of that sign-in in the network that the phone is in; nor in its city, unless
--    Okta finds something new in where the sign-in comes from.
judged as (
    select trigger_uid, min(apart) as apart
    from asked
    group by trigger_uid
    having min(apart) > 0
       and max(case when replace(behaviors, 'New Device=POSITIVE', '') <> behaviors then 1 else 0 end) = 1
       and max(case when replace(behaviors, 'New IP=POSITIVE', '') <> behaviors then 1 else 0 end) = 1
       and (min(apart) > 1
         or max(case when replace(behaviors, 'New Geo-Location=POSITIVE', '') <> behaviors
                       or replace(behaviors, 'New Country=POSITIVE', '') <> behaviors
                       or replace(behaviors, 'New State=POSITIVE', '') <> behaviors
                       or replace(behaviors, 'New City=POSITIVE', '') <> behaviors
                       or replace(behaviors, 'Velocity=POSITIVE', '') <> behaviors then 1 else 0 end) = 1)
)
select :org as org, p.user_uid, p.uid as trigger_uid, p.time as trigger_time, told.uid as evidence_uid, told.role,
       case when j.apart = 3 then 'high' else 'low' end as confidence
from judged as j
join approvals as p on p.uid = j.trigger_uid
join (
    select trigger_uid, uid, 'asked' as role from asked where time <= trigger_time
    union all
    select uid, uid, 'approved' from approvals
) as told on told.trigger_uid = p.uid;
