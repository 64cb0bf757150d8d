/*
title: A factor was enrolled, then a login from elsewhere
id: 04f2b7a6-5f3d-4f0c-9a55-2d8e6ab53b9e
status: experimental
description: |
  A factor or device was added to an account, and soon after the account signed in from a place that neither added it
  nor was used by the user before. Intruders add a factor of their own, so as to be able to come back without the user.
level: medium
tags: [attack.persistence, attack.t1098.005, attack.t1556.006]
references:
  - https://attack.mitre.org/techniques/T1098/005/
falsepositives:
  - A user who sets up a new phone at home and signs in from the train
  - A new colleague whose first days are in different places; confidence is low then
parameters: {window: 4h, history: 30d}
lookback: window + history + 1m
lookahead: 1m
reads: [factor_enrolled, session_started, sign_in_verified, app_opened, sign_on_allowed, factor_challenged]
summary:
  - "{user} got a new factor at {first} UTC"
  - "then signed in at {trigger} UTC from {login.places}, a place that is new for this user"
  - "enrolled from {enrolled.places}"
  - "{enrolled.outcome_reason}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (from enrollment to login, ms), :history (ms).
-- A place is an address, and all addresses of the same network in the same country. In Identity Engine a session begins
-- after the password: where a policy asks for more within a minute (60000 ms), the session alone is neither a login nor
-- a use of the place.
with enrolled as materialized (
    select coalesce(target_user_uid, user_uid) as user_uid, uid, time, src_ip, src_country, src_asn, src_as_org
    from factor_enrolled
    where org = :org and time >= :since - :window and time < :until
      and coalesce(target_user_uid, user_uid) is not null and coalesce(target_user_uid, user_uid) <> 'unknown'
),
-- 1. What makes a place or a device the user's own.
uses as not materialized (
    select u.user_uid, u.time, u.src_ip, u.src_country, u.src_asn, u.src_as_org, u.device_token,
           coalesce(u.session_uid, '-') as session
    from activities as u
    where u.org = :org
      and (u.activity in ('app_opened', 'sign_on_allowed', 'sign_in_verified')
        or u.activity = 'session_started'
           and not exists (select 1 from activities as c
                           where c.org = :org and c.user_uid = u.user_uid and c.activity = 'factor_challenged'
                             and c.time >= u.time - 60000 and c.time <= u.time + 60000
                             and coalesce(c.src_ip, '') = u.src_ip))
),
-- 2. The logins after each enrollment, from elsewhere.
logins as materialized (
    select l.org, l.user_uid, l.uid, l.time, l.src_ip, l.src_country, l.src_asn, l.src_as_org,
           e.uid as enrolled_uid, e.time as enrolled_time,
           e.src_ip as from_ip, e.src_country as from_country, e.src_asn as from_asn, e.src_as_org as from_as_org
    from enrolled as e cross join activities as l
    where l.org = :org and l.user_uid = e.user_uid
      and l.time >= e.time and l.time <= e.time + :window and l.time < :until
      and l.src_ip is not null
      and not coalesce(l.src_ip = e.src_ip
                    or (l.src_asn = e.src_asn or l.src_as_org = e.src_as_org)
                       and coalesce(l.src_country, '') = coalesce(e.src_country, ''), false)
      and (l.activity = 'sign_in_verified'
        or l.activity = 'session_started'
           and not exists (select 1 from activities as c
                           where c.org = :org and c.user_uid = l.user_uid and c.activity = 'factor_challenged'
                             and c.time >= l.time - 60000 and c.time <= l.time + 60000
                             and coalesce(c.src_ip, '') = l.src_ip))
),
-- 3. The first of them from a place that the user had not used before the enrollment.
elsewhere as (
    select l.*, row_number() over (partition by l.enrolled_uid order by l.time, l.uid) as number
    from logins as l
    where not exists (
        select 1 from uses as u
        where u.user_uid = l.user_uid and u.time >= l.enrolled_time - :history and u.time < l.enrolled_time
          and (u.src_ip = l.src_ip
            or (u.src_asn = l.src_asn or u.src_as_org = l.src_as_org)
               and coalesce(u.src_country, '') = coalesce(l.src_country, '')))
),
-- 4. How sure? Without a history every place is new. If the enrollment came from a new place too, the more so.
judged as materialized (
    select f.*,
           case when not exists (
                    select 1 from uses as u
                    where u.user_uid = f.user_uid and u.src_ip is not null
                      and u.time >= f.enrolled_time - :history and u.time < f.enrolled_time)
                then 1
                when f.from_ip is not null and not exists (
                    select 1 from uses as u
                    where u.user_uid = f.user_uid and u.time >= f.enrolled_time - :history and u.time < f.enrolled_time
                      and (u.src_ip = f.from_ip
                        or (u.src_asn = f.from_asn or u.src_as_org = f.from_as_org)
                           and coalesce(u.src_country, '') = coalesce(f.from_country, '')))
                then 3
                else 2 end as sureness
    from elsewhere as f
    where f.number = 1 and f.time >= :since
),
told as (
    select judged.*, max(sureness) over (partition by uid) as most from judged
)
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'login' as role,
       case most when 1 then 'low' when 2 then 'medium' else 'high' end as confidence
from told
union all
select org, user_uid, uid, time, enrolled_uid, 'enrolled',
       case most when 1 then 'low' when 2 then 'medium' else 'high' end
from told;
