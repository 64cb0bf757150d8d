/*
title: An Okta admin role was given to a user
id: 1ebf67c5-86c7-4f2d-b884-3f960173cc1a
status: experimental
description: |
  Somebody made a user an administrator. Confidence is high where the role is super or organization administrator, low
  where Okta refused.
level: medium
tags: [attack.persistence, attack.privilege-escalation, attack.t1098.003]
references:
  - https://attack.mitre.org/techniques/T1098/003/
  - https://developer.okta.com/docs/reference/api/event-types/
falsepositives:
  - New administrators, and changes of who does what
parameters: {window: 10m}
lookback: window
lookahead: 12h
summary:
  - "{granted.actor_name|user} gave an admin role at {granted.first} UTC"
  - "{refused.actor_name|user} tried to give an admin role at {refused.first} UTC, and Okta refused"
  - "to {granted.target_user_name|refused.target_user_name|granted.target_name|refused.target_name}"
  - "roles: {granted.privilege|refused.privilege}"
  - "from {granted.places|refused.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's acts lie in one half of a day
-- (43200000 ms), so that it ends even where somebody acts without a pause.
-- 1. The acts of the slice and around it, each with the time of the one before it
--    by the same actor, to the same account.
with acts as materialized (
    select org, uid, user_uid, time, coalesce(actor_uid, '') as actor,
           coalesce(target_user_uid, target_uid, '') as thing,
           case when outcome not in ('SUCCESS', 'ALLOW') then 'refused' else 'granted' end as part,
           case when outcome not in ('SUCCESS', 'ALLOW') then 0
                when lower(privilege) like '%super%' or lower(privilege) like '%organization%' then 2
                else 1 end as weight,
           lag(time) over (partition by coalesce(actor_uid, ''), coalesce(target_user_uid, target_uid, '')
                           order by time, uid) as previous
    from admin_role_granted
    where org = :org and time >= :since - :window and time < :until + 43200000
      and (event_type = 'user.account.privilege.grant'
        or event_type = 'iam.resourceset.bindings.add'
           and (target_user_uid is not null or target_type is null
             or target_type not in ('UserGroup', 'Group', 'PublicClientApp', 'PublicClientAppEntity', 'AppInstance')))
),
-- 2. An act with none before it in the window begins a burst; so does the first after noon and midnight.
marked as (
    select acts.*, case when previous is null or previous < time - :window or previous / 43200000 < time / 43200000
                        then 1 else 0 end as begins
    from acts
),
bursts as materialized (
    select marked.*, sum(begins) over (partition by actor, thing order by time, uid rows unbounded preceding) as burst
    from marked
)
-- 3. A burst is a finding.
select head.org, head.user_uid, head.uid as trigger_uid, head.time as trigger_time,
       act.uid as evidence_uid, act.part as role,
       case max(act.weight) over (partition by head.uid) when 2 then 'high' when 1 then 'medium' else 'low' end
           as confidence
from bursts as head join bursts as act
  on  act.actor = head.actor and act.thing = head.thing and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until
