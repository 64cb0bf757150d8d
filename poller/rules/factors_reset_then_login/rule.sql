/*
title: Factors or password reset, then a login from a new place
id: f7af4537-782b-453c-bca4-8330a6b0b58c
status: experimental
description: |
  The password or factors of a user were reset, by an admin or with the account itself, and soon after the account
  signed in from a place that the user had not used before. That is how a call to the help desk in somebody's name ends.
level: high
tags: [attack.initial-access, attack.credential-access, attack.t1078.004, attack.t1656, attack.t1556.006]
references:
  - https://attack.mitre.org/techniques/T1656/
  - https://sec.okta.com/articles/2023/08/cross-tenant-impersonation-prevention-and-detection
falsepositives:
  - A user on a journey who lost the phone, and whose caller the help desk checked
  - A user who comes to a help desk in an office where they had not been
parameters: {window: 4h, history: 30d, settled: 30m}
lookback: window + history + 1m
lookahead: 1m
reads: [factors_reset, factor_removed, password_changed, session_started, sign_in_verified, app_opened, sign_on_allowed,
        factor_challenged]
summary:
  - "factors or password of {user} were reset from {first} UTC on by {reset.actor_name}"
  - "then {user} signed in at {trigger} UTC from {login.places}, a place that is new for this user"
  - "reset: {reset.event_type}"
  - "the reset came from {reset.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (from reset to login, ms), :history (ms), :settled (how
-- long before the reset a place must have been used to be the user's own, ms).
-- A place is an address, and all addresses of the same network in the same country. In Identity Engine a session begins
-- after the password: where a policy asks for more within a minute (60000 ms), the session alone is neither a login nor
-- a use of the place.
with all_resets as (
    select * from factors_reset where org = :org and time >= :since - :window and time < :until
    union all
    select * from factor_removed where org = :org and time >= :since - :window and time < :until
    union all
    select * from password_changed where org = :org and time >= :since - :window and time < :until
),
-- 1. A password that users change by themselves, and one that runs out, are daily business.
resets as materialized (
    select coalesce(target_user_uid, user_uid) as user_uid, uid, time, src_ip, src_country, src_asn, src_as_org,
           case when actor_uid <> target_user_uid then 1 else 0 end as is_by_other,
           case when actor_uid = coalesce(target_user_uid, user_uid) and lower(event_type) like 'user.mfa.factor.%'
                then 1 else 0 end as is_swap
    from all_resets
    where coalesce(target_user_uid, user_uid) is not null and coalesce(target_user_uid, user_uid) <> 'unknown'
      and event_type <> 'user.account.expire_password'
      and (event_type <> 'user.account.update_password' or actor_uid <> target_user_uid)
),
-- 2. What makes a place or a device the user's own.
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
-- 3. The logins after each reset.
logins as materialized (
    select l.org, l.user_uid, l.uid, l.time, l.src_ip, l.src_country, l.src_asn, l.src_as_org,
           r.uid as reset_uid, r.time as reset_time, r.is_by_other, r.is_swap,
           r.src_ip as from_ip, r.src_country as from_country, r.src_asn as from_asn, r.src_as_org as from_as_org
    from resets as r cross join activities as l
    where l.org = :org and l.user_uid = r.user_uid
      and l.time >= r.time and l.time <= r.time + :window and l.time < :until
      and l.src_ip is not null
      and (l.activity = 'sign_in_verified'
        or l.activity = 'session_started'
           and not exists (select 1 from activities as c
                           where c.org = :org and c.user_uid = l.user_uid and c.activity = 'factor_challenged'
                             and c.time >= l.time - 60000 and c.time <= l.time + 60000
                             and coalesce(c.src_ip, '') = l.src_ip))
),
-- 4. The first of them from a new place, for a user who has places. Users who removed a factor of theirs at a place of
--    theirs, as for a new phone, and then travel, are daily business.
elsewhere as (
    select l.*, row_number() over (partition by l.reset_uid order by l.time, l.uid) as number
    from logins as l
    where not exists (
        select 1 from uses as u
        where u.user_uid = l.user_uid
          and u.time >= l.reset_time - :history and u.time <= l.reset_time - :settled
          and (u.src_ip = l.src_ip
            or (u.src_asn = l.src_asn or u.src_as_org = l.src_as_org)
               and coalesce(u.src_country, '') = coalesce(l.src_country, '')))
      and not (l.is_swap = 1 and exists (
        select 1 from uses as u
        where u.user_uid = l.user_uid
          and u.time >= l.reset_time - :history and u.time <= l.reset_time - :settled
          and (u.src_ip = l.from_ip
            or (u.src_asn = l.from_asn or u.src_as_org = l.from_as_org)
               and coalesce(u.src_country, '') = coalesce(l.from_country, ''))))
),
told as (
    select f.*, max(is_by_other) over (partition by uid) as any_by_other
    from elsewhere as f
    where f.number = 1 and f.time >= :since
      and exists (
        select 1 from uses as u
        where u.user_uid = f.user_uid and u.src_ip is not null
          and u.time >= f.reset_time - :history and u.time <= f.reset_time - :settled)
)
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'login' as role,
       case any_by_other when 1 then 'high' else 'medium' end as confidence
from told
union all
select org, user_uid, uid, time, reset_uid, 'reset', case any_by_other when 1 then 'high' else 'medium' end
from told;
