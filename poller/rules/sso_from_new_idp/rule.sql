/*
title: A user signed in through an identity provider that was just created
id: e35106e1-082a-40b1-b4d0-dc1534a1e40c
status: experimental
description: |
  An identity provider was created, and soon somebody came in through it. An attacker with admin rights does both: adds
  a provider of their own and signs in as whom they like. Fires on the first sign-in through a new provider.
level: high
tags: [attack.initial-access, attack.persistence, attack.defense-evasion, attack.t1484.002, attack.t1199]
references:
  - https://attack.mitre.org/techniques/T1484/002/
  - https://attack.mitre.org/techniques/T1199/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - The first test of a planned federation
parameters: {young: 7d, window: 1h}
lookback: young + young
lookahead: window
summary:
  - "{user} was the first to sign in through the new identity provider {created.target_name} at {trigger} UTC"
  - "it was created by {created.actor_name} from {created.places}"
  - "the sign-in came from {signed_in.places}"
  - "{signed_in.users} {signed_in.users:user|users} came in through it within the window"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :young, :window (ms).
-- 1. The identity providers that were new in the slice. Few or none, so that the rest reads little.
with providers as materialized (
    select uid, time, target_uid, target_name
    from idp_changed
    where org = :org and event_type = 'system.idp.lifecycle.create' and time >= :since - :young and time < :until
),
-- 2. Who came in through one while it was young. A sign-in names its provider by id or by name, as an app or as another
--    target; one that names none may be of any. A name tells nothing where its id was there before the provider: the
--    new one bears the name of an old one.
sign_ins as materialized (
    select s.org, s.uid, s.user_uid, s.time, providers.uid as provider_uid, providers.time as provider_time,
           case when s.app_uid = providers.target_uid or s.target_uid = providers.target_uid then 'high'
                when s.app_name = providers.target_name or s.target_name = providers.target_name then 'medium'
                else 'low' end as confidence,
           lag(s.time) over (partition by providers.uid order by s.time, s.uid) as previous
    from providers join idp_signed_in as s
      on  s.org = :org and s.time >= :since - :young and s.time < :until + :window
      and s.time >= providers.time and s.time <= providers.time + :young + :window
      and (s.app_uid = providers.target_uid or s.target_uid = providers.target_uid
        or (s.app_name = providers.target_name or s.target_name = providers.target_name)
           and (select 1 from idp_signed_in as old
                where old.org = :org and old.time >= providers.time - :young and old.time < providers.time
                  and (old.app_uid = s.app_uid or old.target_uid = s.target_uid)
                limit 1) is null
        or s.app_uid is null and s.target_uid is null)
),
-- 3. The first through each provider.
firsts as materialized (
    select * from sign_ins where time >= :since and time < :until and time <= provider_time + :young and previous is null
),
-- 4. Evidence: the creation, that sign-in, and those that follow within the window.
told as (
    select org, user_uid, uid, time, provider_uid, confidence, provider_uid as evidence_uid, 'created' as role
    from firsts
    union
    select firsts.org, firsts.user_uid, firsts.uid, firsts.time, firsts.provider_uid, firsts.confidence, sign_ins.uid,
           'signed_in'
    from firsts join sign_ins
      on  sign_ins.provider_uid = firsts.provider_uid
      and sign_ins.time >= firsts.time and sign_ins.time <= firsts.time + :window
)
select org, user_uid, uid as trigger_uid, time as trigger_time, evidence_uid, role,
       case max(case confidence when 'high' then 2 when 'medium' then 1 else 0 end) over (partition by uid)
            when 2 then 'high' when 1 then 'medium' else 'low' end as confidence
from told
