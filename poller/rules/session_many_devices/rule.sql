/*
title: One Okta session used by several devices
id: de833e8d-4042-43c0-b006-53d920060eb1
status: experimental
description: |
  Okta gives each browser a device token. Within the window, one session was used with several of them and from several
  addresses: whoever copied the session's cookie did not copy the other. Fires on the device that makes it enough.
level: medium
tags: [attack.credential-access, attack.t1539, attack.lateral-movement, attack.t1550.004]
references:
  - https://sec.okta.com/articles/sessioncookietheft/
  - https://attack.mitre.org/techniques/T1539/
falsepositives:
  - A browser that forgets its device token (private windows, cleared cookies) while its address changes
  - Desktop and browser apps that share a session
parameters: {devices: 2, window: 8h}
lookback: window + window
summary:
  - "a session of {user} was used by {attempts} devices between {first} and {trigger} UTC"
  - "before from {before.places}"
  - "then from {joined.places}"
  - "before with {before.user_agent}"
  - "then with {joined.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :devices (different device tokens), :window (ms).
with
-- 1. What sessions were used for in this slice.
uses as (
    select uid, user_uid, time, session_uid as session, nullif(root_session_uid, 'unknown') as root, device_token,
           src_ip, lag(time) over in_session as previous_time, lag(device_token) over in_session as previous
    from session_used
    where org = :org and time >= :since and time < :until and device_token is not null and coalesce(src_ip, '') <> ''
    window in_session as (partition by user_uid, session_uid order by time, uid)
),
-- 2. Those whose session was used by another device just before, in this slice or before it.
changes as materialized (
    select u.*,
           (select b.device_token from session_used as b
            where b.org = :org and b.user_uid = u.user_uid and b.time >= u.time - :window and b.time <= u.time
              and (b.time < u.time or b.uid < u.uid) and (b.session_uid = u.session or b.root_session_uid = u.root)
              and b.device_token is not null and coalesce(b.src_ip, '') <> ''
            order by b.time desc, b.uid desc limit 1) as before_token
    from uses as u
    where u.previous_time is null or u.previous_time < u.time - :window - :window or u.previous <> u.device_token
),
joins as materialized (
    select * from changes where before_token <> device_token
),
-- 3. All that the session was used for in the two windows before.
trail as materialized (
    select j.uid as trigger_uid, b.uid, b.device_token,
           case when b.time >= j.time - :window then 1 else 0 end as is_near,
           case when b.device_token = j.device_token then 1 else 0 end as is_same,
           case when b.src_ip = j.src_ip then 1 else 0 end as is_there
    from joins as j cross join session_used as b
    where b.org = :org and b.user_uid = j.user_uid and b.time >= j.time - :window - :window and b.time <= j.time
      and (b.session_uid = j.session or b.root_session_uid = j.root) and (b.time < j.time or b.uid < j.uid)
      and b.device_token is not null and coalesce(b.src_ip, '') <> ''
),
-- 4. A device that is new in the session, at an address that is new in it, and the one that makes it enough.
judged as (
    select trigger_uid from trail
    group by trigger_uid
    having max(is_same) = 0 and max(is_there * is_near) = 0
       and count(distinct case when is_near = 1 then device_token end) = :devices - 1
)
select :org as org, j.user_uid, j.uid as trigger_uid, j.time as trigger_time, told.uid as evidence_uid, told.role,
       told.device_token as attempt
from judged
join joins as j on j.uid = judged.trigger_uid
join (
    select trigger_uid, uid, 'before' as role, device_token from trail where is_near = 1
    union all
    select uid, uid, 'joined', device_token from joins
) as told on told.trigger_uid = j.uid;
