/*
title: Admin Console opened from a new device or place
id: 24e2834c-5f94-45a0-91bf-70b3ce4a9343
status: experimental
description: |
  The Admin Console was asked for from a device and an address that are new by Okta's own account, or from a device or a
  place from which this admin has not worked before. Confidence is high where both are new, and low for one alone.
level: high
tags: [attack.initial-access, attack.privilege-escalation, attack.t1078.004]
references:
  - https://sec.okta.com/articles/2023/08/cross-tenant-impersonation-prevention-and-detection
falsepositives:
  - An admin with a new laptop, or on a journey
  - A browser that forgets its cookies is a new device each time
parameters: {history: 30d, learned: 2d, sign_in: 1h, window: 12h}
lookback: window + history + 1m
reads: [admin_console_asked, admin_console_opened, app_opened, sign_on_allowed, sign_in_verified, session_started,
        factor_challenged]
summary:
  - "{user} asked for the Admin Console at {first} UTC from a new device or place"
  - "from {console.places}"
  - "the browser: {console.user_agent}"
  - "new for this user, says Okta: {console.new}"
  - "result: {console.outcome}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :history (ms), :sign_in (a sign-in takes no longer: what was used
-- only since then is of it, ms), :learned (known so long, an admin's habits are known, ms), :window (one finding in that
-- time, ms).
-- A place is an address, and all addresses of the same network in the same country. In Identity Engine a session begins
-- after the password: where a policy asks for more within a minute (60000 ms), that session alone is no use of
-- the place.
with asked as materialized (
    select user_uid from admin_console_asked
    where org = :org and time >= :since and time < :until and user_uid <> 'unknown'
    union
    select user_uid from admin_console_opened
    where org = :org and time >= :since and time < :until and user_uid <> 'unknown'
),
-- 1. The same admins' requests for the console, from a window before.
requests as materialized (
    select c.org, c.user_uid, c.uid, c.time, c.src_ip, c.src_country, c.src_asn, c.src_as_org, c.device_token,
           coalesce(c.session_uid, '') as session,
           case when replace(c.behaviors, 'New Device=POSITIVE', '') <> c.behaviors
                 and replace(c.behaviors, 'New IP=POSITIVE', '') <> c.behaviors then 1 else 0 end as okta_says
    from asked cross join admin_console_asked as c
    where c.org = :org and c.user_uid = asked.user_uid and c.time >= :since - :window and c.time < :until
    union
    select c.org, c.user_uid, c.uid, c.time, c.src_ip, c.src_country, c.src_asn, c.src_as_org, c.device_token,
           coalesce(c.session_uid, ''),
           case when replace(c.behaviors, 'New Device=POSITIVE', '') <> c.behaviors
                 and replace(c.behaviors, 'New IP=POSITIVE', '') <> c.behaviors then 1 else 0 end
    from asked cross join admin_console_opened as c
    where c.org = :org and c.user_uid = asked.user_uid and c.time >= :since - :window and c.time < :until
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
-- 3. Is the place new, is the device? Only to an admin of whom others have been known for a while.
compared as materialized (
    select r.*,
           case when r.src_ip is not null
                 and exists (select 1 from uses as u
                             where u.user_uid = r.user_uid and u.session <> r.session
                               and u.time >= r.time - :history and u.time < r.time - :learned
                               and u.src_ip is not null)
                 and not exists (select 1 from uses as u
                                 where u.user_uid = r.user_uid and u.session <> r.session
                                   and u.time >= r.time - :history and u.time < r.time - :sign_in
                                   and (u.src_ip = r.src_ip
                                     or (u.src_asn = r.src_asn or u.src_as_org = r.src_as_org)
                                        and coalesce(u.src_country, '') = coalesce(r.src_country, '')))
                then 1 else 0 end as is_new_place,
           case when r.device_token is not null
                 and exists (select 1 from uses as u
                             where u.user_uid = r.user_uid and u.session <> r.session
                               and u.time >= r.time - :history and u.time < r.time - :learned
                               and u.device_token is not null)
                 and not exists (select 1 from uses as u
                                 where u.user_uid = r.user_uid and u.session <> r.session
                                   and u.time >= r.time - :history and u.time < r.time - :sign_in
                                   and u.device_token = r.device_token)
                then 1 else 0 end as is_new_device
    from requests as r
),
unusual as materialized (
    select * from compared where okta_says + is_new_place + is_new_device > 0
)
-- 4. The first of an admin in a while. A sign-in writes several, and the session goes on.
select a.org, a.user_uid, a.uid as trigger_uid, a.time as trigger_time, a.uid as evidence_uid, 'console' as role,
       case when a.okta_says = 1 or a.is_new_place + a.is_new_device = 2 then 'high' else 'low' end as confidence
from unusual as a
where a.time >= :since
  and not exists (
      select 1 from unusual as b
      where b.user_uid = a.user_uid and b.time >= a.time - :window
        and (b.time < a.time or b.time = a.time and b.uid < a.uid));
