/*
title: Okta ThreatInsight took an address for an attacker
id: 1ab05ed8-876f-41da-85e2-9cba494a2b59
status: experimental
description: |
  ThreatInsight recognized requests of an address as an attack. Level low: the internet attacks every org all day, and
  mostly Okta has refused already. Confidence is medium where Okta let the request go on.
level: low
tags: [attack.credential-access, attack.t1110]
references:
  - https://attack.mitre.org/techniques/T1110/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Shared addresses, such as those of a phone network or a proxy, that others attack from
parameters: {window: 1h}
lookback: window
summary:
  - "Okta ThreatInsight took requests for an attack at {first} UTC"
  - "from {detected.places}"
  - "why: {detected.threat_detections|detected.outcome_reason}"
  - "Okta's answer: {detected.outcome}"
  - "the name tried: {detected.actor_name}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
-- 1. The detections of the slice that are not right behind another one from their address.
with detections as materialized (
    select org, uid, src_ip, time, coalesce(outcome = 'ALLOW', false) as is_allowed,
           lag(time) over (partition by coalesce(src_ip, ''), coalesce(outcome = 'ALLOW', false)
                           order by time, uid) as previous
    from threat_detected
    where org = :org and time >= :since and time < :until
)
-- 2. A finding begins with one that has none before it in the window. An attack is thousands: only its first is read,
--    and only one look-up by address asks for those before the slice.
select org, null as user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'detected' as role,
       case when is_allowed then 'medium' else 'low' end as confidence
from detections
where src_ip is not null and (previous is null or previous < time - :window)
  and (select 1 from threat_detected as earlier
       where earlier.org = :org and earlier.src_ip = detections.src_ip
         and coalesce(earlier.outcome = 'ALLOW', false) = detections.is_allowed
         and earlier.time >= detections.time - :window
         and (earlier.time < detections.time or earlier.time = detections.time and earlier.uid < detections.uid)
       limit 1) is null
