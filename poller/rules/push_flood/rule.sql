/*
title: Many Okta pushes sent, then one approved
id: b8e43f9d-9b9d-4d41-b8c8-ae05e292d3e1
status: experimental
description: |
  Several Okta Verify pushes were sent to one user within the window, none but the last approved. Where Okta writes
  nothing when a push runs out (Classic orgs, and Identity Engine orgs without the early-access feature), this is all
  that an attack by push fatigue leaves. That the others went unanswered is inferred. Where enough failures are in the
  log, push_fatigue tells it instead.
level: medium
tags: [attack.credential-access, attack.t1621]
references:
  - https://attack.mitre.org/techniques/T1621/
falsepositives:
  - A phone without signal or with notifications off, whose user asks for the push again and again
  - A user who lets pushes run out and signs in at last
parameters: {pushes: 4, window: 10m, failures: 2}
lookback: window
lookahead: 2h
reads: [push_sent, push_rejected, push_abandoned, push_unanswered, mfa_succeeded]
summary:
  - "{user} was sent {attempts} Okta Verify pushes between {first} and {trigger} UTC and approved the last; that the
    others went unanswered is inferred"
  - "pushes asked for from {sent.places}"
  - "approved from {login.places}"
  - "new for this user: {sent.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :pushes (sent, the approved one included), :window (ms), :failures
-- (so many logged ones are for push_fatigue to tell).
with
-- 1. Pushes approved in this slice, to whom so many were sent.
approvals as materialized (
    select a.uid, a.user_uid, a.time, a.src_country
    from mfa_succeeded as a
    where a.org = :org and a.factor = 'OKTA_VERIFY_PUSH' and a.time >= :since and a.time < :until
      and (select count(*) from push_sent as p
           where p.org = :org and p.user_uid = a.user_uid
             and p.time >= a.time - :window and p.time <= a.time) >= :pushes
),
-- 2. What happened in the window that ends with it. An abandonment may be written a day (86400000 ms) after its push
--    where it says when that was sent, else two hours (7200000 ms).
story as materialized (
    select a.uid as trigger_uid, a.user_uid, a.time as trigger_time, s.uid, s.time, s.activity, s.factor,
           s.authn_request_uid as authn, s.challenge_time as challenge, s.src_country, s.behaviors
    from approvals as a cross join activities as s
    where s.org = :org and s.user_uid = a.user_uid and s.time >= a.time - :window and s.uid <> a.uid
      and (s.time <= a.time and s.activity in ('push_sent', 'push_rejected', 'push_abandoned', 'push_unanswered',
                                               'mfa_succeeded')
        or s.time <= a.time + 86400000 and s.activity in ('push_abandoned', 'push_unanswered'))
),
-- 3. Since the approval before, if there was one. Less than a second apart, those of one sign-in are one push to
--    several devices. A push is none of these where its sign-in went on by another method.
before as (
    select trigger_uid, max(time) as time from story
    where activity = 'mfa_succeeded' and factor = 'OKTA_VERIFY_PUSH'
      and (time < trigger_time or time = trigger_time and uid < trigger_uid)
    group by trigger_uid
),
spaced as (
    select s.trigger_uid, s.user_uid, s.trigger_time, s.uid, s.time, s.authn, s.src_country, s.behaviors,
           lag(s.time) over (partition by s.trigger_uid, coalesce(s.authn, '') order by s.time, s.uid) as previous
    from story as s left join before as b on b.trigger_uid = s.trigger_uid
    where s.activity = 'push_sent' and s.time <= s.trigger_time and (b.time is null or s.time > b.time)
      and not exists (
          select 1 from story as other
          where other.trigger_uid = s.trigger_uid and other.authn = s.authn and other.activity = 'mfa_succeeded'
            and other.factor <> 'OKTA_VERIFY_PUSH' and other.time >= s.time)
),
sent as materialized (
    select spaced.*,
           max(case when previous is null or time - previous >= 1000 then time end) over (
               partition by trigger_uid, coalesce(authn, '') order by time, uid rows unbounded preceding) as push
    from spaced
),
-- 4. Failures that are in the log, each push once: the one of its challenge time, else the latest sent before it.
failures as (
    select f.trigger_uid,
           case when f.activity = 'push_rejected' then coalesce(f.challenge, max(s.push), f.time)
                else coalesce(f.challenge, f.time) end as push,
           f.uid
    from story as f left join sent as s
      on  s.trigger_uid = f.trigger_uid and s.time <= f.time
      and (s.authn = f.authn or s.authn is null or f.authn is null)
    where f.activity in ('push_rejected', 'push_abandoned', 'push_unanswered')
      and coalesce(f.challenge, f.time - case f.activity when 'push_rejected' then 0 else 7200000 end) <= f.trigger_time
      and (f.activity = 'push_rejected' or f.challenge is not null
        or exists (select 1 from sent as own where own.trigger_uid = f.trigger_uid and own.authn = f.authn))
    group by f.trigger_uid, f.activity, f.challenge, f.time, f.uid
),
judged as materialized (
    select s.trigger_uid, s.user_uid, s.trigger_time,
           case when max(case when s.src_country <> a.src_country then 1 else 0 end) = 1
                  or max(case when replace(s.behaviors, 'New Device=POSITIVE', '') <> s.behaviors then 1 else 0 end) = 1
                then 'medium' else 'low' end as confidence
    from sent as s join approvals as a on a.uid = s.trigger_uid
    group by s.trigger_uid, s.user_uid, s.trigger_time
    having count(distinct coalesce(s.authn, '') || ' ' || s.push) >= :pushes
       and (select count(distinct f.push) from failures as f where f.trigger_uid = s.trigger_uid) < :failures
)
select :org as org, j.user_uid, j.trigger_uid, j.trigger_time, j.confidence, told.uid as evidence_uid, told.role,
       told.attempt
from judged as j join (
    select trigger_uid, uid, 'sent' as role, coalesce(authn, '') || ' ' || push as attempt from sent
    union all
    select trigger_uid, uid, 'login', null from (select uid as trigger_uid, uid from approvals) as approved
) as told on told.trigger_uid = j.trigger_uid;
