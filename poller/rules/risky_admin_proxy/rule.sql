/*
title: An administrator worked through an anonymizing proxy
id: 37a08c03-c6ea-4227-b634-0d4b51e1d73e
status: experimental
description: |
  Settings were changed, the Admin Console was opened, another user's password or factors were reset, or Okta support
  was let in, from an address that Okta knows as a proxy: a VPN for hiding, Tor, a rented residential proxy.
  Administrators have little reason to hide.
level: medium
tags: [attack.defense-evasion, attack.privilege-escalation, attack.t1090, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1090/
  - https://attack.mitre.org/techniques/T1078/004/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - Administrators behind a commercial VPN or a web filter in the cloud
parameters: {window: 1h}
lookback: window
lookahead: 12h
summary:
  - "{acted.actor_name|user} worked as an administrator through a proxy at {first} UTC"
  - "{acted.count} {acted.count:act|acts}: {acted.event_type}"
  - "from {acted.places}"
  - "new for this user: {acted.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it.
with proxied as (
    select org, uid, time, event_type, actor_uid, actor_type, src_ip from admin_acted
    where org = :org and time >= :since - :window and time < :until + 43200000 and is_proxy
    union all
    -- What an admin lets Okta support do; what support does then is not the admin's.
    select org, uid, time, event_type, actor_uid, actor_type, src_ip from impersonation_started
    where org = :org and time >= :since - :window and time < :until + 43200000 and is_proxy
      and event_type <> 'user.session.impersonation.initiate' and (outcome = 'SUCCESS' or outcome is null)
    union all
    -- What users do to themselves is theirs, and so is what Okta does for them when they forgot the password.
    select org, uid, time, event_type, actor_uid, actor_type, src_ip from factors_reset
    where org = :org and time >= :since - :window and time < :until + 43200000 and is_proxy
      and lower(actor_type) = 'user' and actor_uid <> 'unknown' and actor_uid <> target_user_uid
    union all
    select org, uid, time, event_type, actor_uid, actor_type, src_ip from password_changed
    where org = :org and time >= :since - :window and time < :until + 43200000 and is_proxy
      and lower(actor_type) = 'user' and actor_uid <> 'unknown' and actor_uid <> target_user_uid
),
-- 2. Each with the time of the one before it by the same actor, from the same address. Where an app acted, `user_uid`
--    of the event may be a user it was done to: the finding has none.
acts as materialized (
    select org, uid, time, coalesce(actor_uid, '') as actor,
           case when lower(actor_type) = 'user' then nullif(actor_uid, 'unknown') end as user_uid,
           coalesce(src_ip, '') as thing,
           case when event_type = 'user.session.access_admin_app' then 1 else 2 end as weight,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(src_ip, '')
                           order by time, uid) as previous
    from proxied
),
-- 3. An act with none before it in the window begins a burst; so does the first after noon and midnight.
marked as (
    select acts.*, case when previous is null or previous < time - :window or previous / 43200000 < time / 43200000
                        then 1 else 0 end as begins
    from acts
),
bursts as materialized (
    select marked.*, sum(begins) over (partition by actor, thing order by time, uid rows unbounded preceding) as burst
    from marked
)
-- 4. A burst is a finding.
select head.org, head.user_uid, head.uid as trigger_uid, head.time as trigger_time,
       act.uid as evidence_uid, 'acted' as role,
       case max(act.weight) over (partition by head.uid) when 2 then 'high' when 1 then 'medium' else 'low' end
           as confidence
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
