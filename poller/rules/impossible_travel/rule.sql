/*
title: Logins of one user from places too far apart to travel
id: e02d0c12-a7c9-4a4a-8d72-abdd9b7efc74
status: stable
description: |
  A user logs in, and then again from so far away that no flight covers it in that time: two people use the account.
  Compares each login with the user's last one before it. Left out are logins through known proxies, which say nothing
  about where somebody is (login_through_anonymizer tells of those), and pairs in one network (AS number), since mobile
  carriers and company gateways change places without moving.
level: medium
tags: [attack.initial-access, attack.t1078.004]
references:
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - A VPN that is switched on or off and that Okta does not know as a proxy
  - Places of addresses are guesses, and some are far off
parameters: {distance: 500, speed: 1000, window: 20h}
lookback: window + window
summary:
  - "{user} logged in from {login.places} at {trigger} UTC, too soon after {before.places} at {first} UTC to have
    travelled"
  - "by {login.user_agent}"
  - "new for this user: {login.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :distance (km), :speed (km/h), :window (ms).
-- A degree is 111.2 km at most, which is bound enough to choose users by.
with
-- 1. Whose login in this slice is far from their last one before it? Few people, so that what follows reads few rows.
arrived as materialized (
    select a.user_uid, a.time, a.src_lat, a.src_lon,
           (select b.uid
            from login_succeeded as b
            where b.org = :org and b.user_uid = a.user_uid and b.time >= a.time - :window and b.time <= a.time
              and (b.time < a.time or b.uid < a.uid)
              and b.src_lat is not null and b.src_lon is not null and b.is_proxy is not true
            order by b.time desc, b.uid desc
            limit 1) as previous_uid
    from login_succeeded as a
    where a.org = :org and a.time >= :since and a.time < :until
      and a.src_lat is not null and a.src_lon is not null and a.is_proxy is not true
),
travellers as materialized (
    select distinct a.user_uid
    from arrived as a join login_succeeded as b on b.org = :org and b.uid = a.previous_uid
    where (abs(a.src_lat - b.src_lat) + abs(a.src_lon - b.src_lon)) * 111.2 > :distance
      and (abs(a.src_lat - b.src_lat) + abs(a.src_lon - b.src_lon)) * 111.2 * 3600000 > :speed * (a.time - b.time)
),
-- 2. Each of their logins beside the one before it.
pairs as (
    select l.uid, l.user_uid, l.time, l.src_lat as lat, l.src_lon as lon, l.src_asn as asn, l.device_token as token,
           lag(l.uid) over by_time as previous_uid, lag(l.time) over by_time as previous_time,
           lag(l.src_lat) over by_time as previous_lat, lag(l.src_lon) over by_time as previous_lon,
           lag(l.src_asn) over by_time as previous_asn, lag(l.device_token) over by_time as previous_token
    from travellers cross join login_succeeded as l
    where l.org = :org and l.user_uid = travellers.user_uid
      and l.time >= :since - :window - :window and l.time < :until
      and l.src_lat is not null and l.src_lon is not null and l.is_proxy is not true
    window by_time as (partition by l.user_uid order by l.time, l.uid)
),
-- 3. How far apart: the haversine formula, on a globe of 6371 km.
halves as (
    select pairs.*,
           sin(radians(lat - previous_lat) / 2) * sin(radians(lat - previous_lat) / 2)
           + cos(radians(previous_lat)) * cos(radians(lat))
             * sin(radians(lon - previous_lon) / 2) * sin(radians(lon - previous_lon) / 2) as half
    from pairs
    where previous_time >= time - :window
      and (asn is null or previous_asn is null or asn <> previous_asn)
),
far as (
    select halves.*, 2 * 6371.0 * asin(sqrt(case when half > 1 then 1.0 else half end)) as distance
    from halves
),
-- 4. The first such pair of a user, where none in the window before it was one: coming and going is one finding.
crossed as materialized (
    select far.*, lag(time) over (partition by user_uid order by time, uid) as last_reached
    from far
    where distance > :distance and distance * 3600000 > :speed * (time - previous_time)
),
triggers as (
    select *
    from crossed
    where time >= :since and time < :until and (last_reached is null or last_reached < time - :window)
)
select :org as org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'login' as role,
       case when token = previous_token then 'low' else 'medium' end as confidence
from triggers
union all
select :org, user_uid, uid, time, previous_uid, 'before',
       case when token = previous_token then 'low' else 'medium' end
from triggers;
