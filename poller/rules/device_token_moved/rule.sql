/*
title: The Okta device token of one browser was used by another
id: 80d0e94d-0e10-413b-bf56-9b47f34121a7
status: experimental
description: |
  Okta gives each browser a device token in a cookie. A browser keeps its name and its system; where the same token of
  the same user shows up, in another session and from another address, with another system or browser, the cookies were
  copied: by malware, or by a phishing proxy that passes them on.
level: medium
tags: [attack.credential-access, attack.t1539, attack.lateral-movement, attack.t1550.004]
references:
  - https://attack.mitre.org/techniques/T1539/
  - https://sec.okta.com/articles/sessioncookietheft/
falsepositives:
  - A browser that takes over the cookies of another one when it is set up
  - A browser that asks for the desktop form of a site, and so names another system
  - Hosted desktops, and profiles that follow the user from computer to computer
parameters: {window: 12h}
lookback: window + window
reads: [session_used]
summary:
  - "the device token of {user} that had been used from {before.places} was used from {moved.places} at {trigger} UTC"
  - "before with {before.user_agent}"
  - "now with {moved.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with
used as not materialized (
    select org, uid, user_uid, time, session_uid, coalesce(nullif(root_session_uid, 'unknown'), session_uid) as root,
           device_token, src_ip, src_asn, user_agent
    from session_used
    where device_token is not null and coalesce(src_ip, '') <> '' and user_agent is not null
      and lower(user_agent) not like 'okta-integrations%'
),
-- 1. What was done with each token in this slice, and by which client just before, in it.
uses as (
    select uid, user_uid, time, device_token, user_agent,
           lag(time) over of_token as previous_time, lag(user_agent) over of_token as previous_agent
    from used
    where org = :org and time >= :since and time < :until
    window of_token as (partition by user_uid, device_token order by time, uid)
),
-- 2. Those by another client than just before, in this slice or before it. Few are left.
changes as materialized (
    select u.*,
           (select b.user_agent from used as b
            where b.org = :org and b.user_uid = u.user_uid and b.device_token = u.device_token
              and b.time >= u.time - :window and b.time <= u.time and (b.time < u.time or b.uid < u.uid)
            order by b.time desc, b.uid desc limit 1) as before_agent
    from uses as u
    where u.previous_time is null or u.previous_time < u.time - :window - :window
       or u.previous_agent <> u.user_agent
),
moves as materialized (
    select * from changes where before_agent <> user_agent
),
-- 3. All that was done with the token in the two windows before, with system and browser in place of versions.
trail as materialized (
    select t.*,
           case when replace(agent, 'Windows', '') <> agent then 'Windows'
                when replace(agent, 'Android', '') <> agent then 'Android'
                when replace(agent, 'iPhone', '') <> agent or replace(agent, 'iPad', '') <> agent then 'iOS'
                when replace(agent, 'Mac OS', '') <> agent then 'macOS'
                when replace(agent, 'CrOS', '') <> agent then 'ChromeOS'
                when replace(agent, 'Linux', '') <> agent then 'Linux'
                else agent end || ' ' ||
           case when replace(agent, 'Edg', '') <> agent then 'Edge'
                when replace(agent, 'OPR/', '') <> agent then 'Opera'
                when replace(agent, 'Firefox', '') <> agent or replace(agent, 'FxiOS', '') <> agent then 'Firefox'
                when replace(agent, 'Chrome', '') <> agent or replace(agent, 'CriOS', '') <> agent then 'Chrome'
                when replace(agent, 'Safari', '') <> agent then 'Safari'
                else 'other' end as client
    from (
        select m.uid as trigger_uid, m.time as trigger_time, b.uid, b.time, b.session_uid, b.root, b.src_ip, b.src_asn,
               b.user_agent as agent
        from moves as m cross join used as b
        where b.org = :org and b.user_uid = m.user_uid and b.time >= m.time - :window - :window and b.time <= m.time
          and b.device_token = m.device_token and (b.time < m.time or b.uid <= m.uid)
    ) as t
),
-- 4. By a client that did not have it, while another one did, elsewhere. Within one session it is session_moved.
compared as materialized (
    select b.trigger_uid, b.uid,
           case when b.client = m.client then 1 else 0 end as is_same,
           case when b.client <> m.client and b.src_ip <> m.src_ip and b.session_uid <> m.session_uid
                 and b.root <> m.root and b.time >= b.trigger_time - :window
                then case when b.src_asn <> m.src_asn then 2 else 1 end else 0 end as unlike
    from trail as b join trail as m on m.trigger_uid = b.trigger_uid and m.uid = m.trigger_uid
    where b.uid <> b.trigger_uid
),
judged as (
    select trigger_uid, max(unlike) as unlike from compared
    group by trigger_uid
    having max(is_same) = 0 and max(unlike) > 0
)
select :org as org, m.user_uid, m.uid as trigger_uid, m.time as trigger_time, told.uid as evidence_uid, told.role,
       case when j.unlike = 2 then 'medium' else 'low' end as confidence
from judged as j
join moves as m on m.uid = j.trigger_uid
join (
    select trigger_uid, uid, 'before' as role from compared where unlike > 0
    union all
    select uid, uid, 'moved' from moves
) as told on told.trigger_uid = m.uid;
