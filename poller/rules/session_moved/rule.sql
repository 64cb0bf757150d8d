/*
title: An Okta session went on from another network and client
id: 784e37f7-8616-45f7-9bf3-bf9c8a415e86
status: experimental
description: |
  A session that was used from one network goes on, within the window, from another autonomous system and from another
  operating system or browser, or from another country: its cookie may be stolen. A new address alone, a new network
  alone (mobile handover, home and office) and a new version of the same browser are no move.
level: medium
tags: [attack.credential-access, attack.t1539, attack.lateral-movement, attack.t1550.004]
references:
  - https://sec.okta.com/articles/sessioncookietheft/
  - https://attack.mitre.org/techniques/T1539/
falsepositives:
  - A VPN that is switched on or off within a session, and comes out in another country
  - Secure web gateways that send part of the traffic out elsewhere
  - A browser that asks for the desktop form of a site, and so names another system
parameters: {window: 8h}
lookback: window + window
reads: [session_used]
summary:
  - "a session of {user} that had been used from {before.places} was used from {moved.places} at {trigger} UTC"
  - "before with {before.user_agent}"
  - "now with {moved.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
-- A network is its AS number, else the country: where no AS number is known, another country is another network. Okta's
-- own servers act in sessions as Okta-Integrations.
with
used as not materialized (
    select org, uid, user_uid, time, session_uid, root_session_uid, src_ip, src_asn, src_country, user_agent,
           coalesce(cast(src_asn as text), src_country) as network
    from session_used
    where coalesce(src_ip, '') <> '' and (src_asn is not null or src_country is not null)
      and lower(coalesce(user_agent, '')) not like 'okta-integrations%'
),
-- 1. What sessions were used for in this slice, and from where each was used just before, in it.
uses as (
    select uid, user_uid, time, session_uid as session, nullif(root_session_uid, 'unknown') as root, network,
           user_agent,
           lag(time) over in_session as previous_time, lag(network) over in_session as previous_network,
           lag(user_agent) over in_session as previous_agent
    from used
    where org = :org and time >= :since and time < :until
    window in_session as (partition by user_uid, session_uid order by time, uid)
),
-- 2. Those from another network or with another client than just before, in this slice or before it. Few are left.
changes as materialized (
    select u.uid, u.user_uid, u.time, u.session, u.root, u.network, u.user_agent,
           (select b.uid from used as b
            where b.org = :org and b.user_uid = u.user_uid and b.time >= u.time - :window and b.time <= u.time
              and (b.time < u.time or b.uid < u.uid) and (b.session_uid = u.session or b.root_session_uid = u.root)
            order by b.time desc, b.uid desc limit 1) as before_uid
    from uses as u
    where u.previous_time is null or u.previous_time < u.time - :window - :window
       or u.previous_network <> u.network or coalesce(u.previous_agent <> u.user_agent, true)
),
moves as materialized (
    select c.* from changes as c cross join used as b
    where b.org = :org and b.uid = c.before_uid
      and (b.network <> c.network or coalesce(b.user_agent <> c.user_agent, true))
),
-- 3. All that the session was used for in the two windows before, with system and browser in place of versions.
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
        select m.uid as trigger_uid, m.time as trigger_time, b.uid, b.time, b.src_ip, b.src_asn, b.src_country,
               b.network, b.user_agent as agent
        from moves as m cross join used as b
        where b.org = :org and b.user_uid = m.user_uid and b.time >= m.time - :window - :window and b.time <= m.time
          and (b.session_uid = m.session or b.root_session_uid = m.root)
          and (b.time < m.time or b.uid <= m.uid)
    ) as t
),
-- 4. New in network and client, with something quite unlike it in the window.
compared as materialized (
    select b.trigger_uid, b.uid,
           case when (b.network = m.network or (b.src_asn is null or m.src_asn is null) and b.src_country = m.src_country)
                 and (b.client = m.client or b.client is null and m.client is null)
                then 1 else 0 end as is_same,
           case when b.src_ip <> m.src_ip and b.time >= b.trigger_time - :window
                 and (b.src_asn <> m.src_asn
                   or (b.src_asn is null or m.src_asn is null) and b.src_country <> m.src_country)
                then case when b.client <> m.client then 2 when b.src_country <> m.src_country then 1 else 0 end
                else 0 end as unlike
    from trail as b join trail as m on m.trigger_uid = b.trigger_uid and m.uid = m.trigger_uid
    where b.uid <> b.trigger_uid
),
judged as (
    select trigger_uid, max(unlike) as unlike from compared
    group by trigger_uid
    having max(is_same) = 0 and max(unlike) > 0
)
select :org as org, m.user_uid, m.uid as trigger_uid, m.time as trigger_time, told.uid as evidence_uid, told.role,
       case when j.unlike = 2 then 'high' else 'low' end as confidence
from judged as j
join moves as m on m.uid = j.trigger_uid
join (
    select trigger_uid, uid, 'before' as role from compared where unlike > 0
    union all
    select uid, uid, 'moved' from moves
) as told on told.trigger_uid = m.uid;
