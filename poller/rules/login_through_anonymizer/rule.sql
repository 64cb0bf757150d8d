/*
title: Sign-in through an anonymizing proxy, or from a suspected address
id: 75b2f1e5-37cf-46a4-9e2a-b7e302588a9f
status: stable
description: |
  A user began a session, or came further than the password, through an address that Okta knows as a proxy or suspects
  of attacks. Fires on the first such sign-in of a user and network, where none in the quiet time before was one.
  Wrong passwords through proxies are left to the rules about passwords.
level: low
tags: [attack.initial-access, attack.command-and-control, attack.t1090, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1090/
falsepositives:
  - A VPN or relay for privacy that the user has on at all times
  - A company gateway in the cloud that Okta takes for a proxy
parameters: {quiet: 1d}
lookback: quiet
summary:
  - "{user} signed in at {trigger} UTC through the proxy {hidden.places}"
  - "{user} signed in at {trigger} UTC from {suspected.places}, which Okta suspects of attacks"
  - "the outcome was {hidden.outcome|suspected.outcome}"
  - "threats: {hidden.threat_detections|suspected.threat_detections}"
  - "by {hidden.user_agent|suspected.user_agent}"
  - "new for this user: {hidden.new|suspected.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :quiet (ms).
with
-- 1. Those in this slice, each with the one before it of its user and network (AS number, else address).
arrived as (
    select uid, user_uid, time, is_proxy, coalesce(cast(src_asn as text), src_ip, '') as network,
           lag(time) over (
               partition by user_uid, coalesce(cast(src_asn as text), src_ip, '') order by time, uid) as previous
    from anonymized_sign_in
    where org = :org and time >= :since and time < :until
)
-- 2. The first one, where none before the slice is so near either.
select :org as org, a.user_uid, a.uid as trigger_uid, a.time as trigger_time, a.uid as evidence_uid,
       case when a.is_proxy = true then 'hidden' else 'suspected' end as role
from arrived as a
where (a.previous is null or a.previous < a.time - :quiet)
  and (select 1
       from anonymized_sign_in as b
       where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :quiet and b.time < :since
         and coalesce(cast(b.src_asn as text), b.src_ip, '') = a.network
       limit 1) is null;
