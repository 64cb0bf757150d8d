/*
title: Multiple Okta pushes denied or abandoned, then a login
id: 5f0c7b0e-6a3c-4d5e-9a55-3f6f2a1f4f10
status: stable
description: |
  Someone who has the password keeps sending Okta Verify pushes until the user gives in. Fires on the first login at
  or after the last failed push attempt, when enough attempts lie in the window that ends with that login.
level: medium
tags: [attack.credential-access, attack.t1621]
references:
  - https://attack.mitre.org/techniques/T1621/
falsepositives:
  - A user who denies their own pushes by mistake, or lets them run out, and then signs in
parameters: {rejections: 2, window: 10m}
lookback: window + 4h
lookahead: 2h
summary:
  - "{user} did not approve {attempts} Okta Verify {attempts:push|pushes} ({kinds}) between {first} and {last} UTC, then signed in at {trigger} UTC"
  - "signed in by {login.factors}"
  - "pushes asked for from {sent.places|abandoned.places|login.browser_places}"
  - "answered from {rejected.places|login.phone_places}"
  - "new for this user: {login.new|sent.new|rejected.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :rejections (attempts), :window (ms).
-- A sign-in lasts at most two hours (7200000 ms); an abandonment is written at most a day (86400000 ms) after its push.
with recursive
-- 1. Whose pushes failed near this slice? Few people, so that everything below reads few rows.
victims as materialized (
    select user_uid from push_rejected
    where org = :org and time >= :since - :window and time < :until + 7200000
    union
    select user_uid from push_abandoned
    where org = :org and time >= :since - :window and time < :until + 86400000
    union
    select user_uid from push_unanswered
    where org = :org and time >= :since - :window and time < :until + 86400000
),
failed_events as (
    select f.uid, f.user_uid, f.time, 'rejected' as role,
           f.authn_request_uid, f.session_uid, f.transaction_uid, f.challenge_time
    from victims cross join push_rejected as f
    where f.org = :org and f.user_uid = victims.user_uid
      and f.time >= :since - :window - 14400000 and f.time < :until + 7200000
    union all
    select f.uid, f.user_uid, f.time, 'abandoned',
           f.authn_request_uid, f.session_uid, f.transaction_uid, f.challenge_time
    from victims cross join push_abandoned as f
    where f.org = :org and f.user_uid = victims.user_uid
      and f.time >= :since - :window - 14400000 and f.time < :until + 86400000
    union all
    select f.uid, f.user_uid, f.time, 'unanswered',
           f.authn_request_uid, f.session_uid, f.transaction_uid, f.challenge_time
    from victims cross join push_unanswered as f
    where f.org = :org and f.user_uid = victims.user_uid
      and f.time >= :since - :window - 14400000 and f.time < :until + 86400000
),
-- Classic writes one denial twice, in one transaction: what one of the two leaves out, the other says.
failed as materialized (
    select uid, user_uid, time, role, transaction_uid,
           coalesce(authn_request_uid, max(authn_request_uid) over same_request,
                    case when role <> 'rejected' then session_uid end) as sign_in,
           coalesce(challenge_time, max(challenge_time) over same_request) as challenge_time
    from failed_events
    window same_request as (partition by user_uid, coalesce(transaction_uid, uid))
),
approved as materialized (
    select s.uid, s.user_uid, s.time, s.factor, s.challenge_time,
           s.authn_request_uid, s.session_uid, s.root_session_uid, s.transaction_uid
    from victims cross join mfa_succeeded as s
    where s.org = :org and s.user_uid = victims.user_uid
      and s.time >= :since - :window - 14400000 and s.time < :until + 86400000
),
sent as materialized (
    select s.uid, s.user_uid, s.time, s.authn_request_uid, s.session_uid, s.transaction_uid
    from victims cross join push_sent as s
    where s.org = :org and s.user_uid = victims.user_uid
      and s.time >= :since - :window - 14400000 and s.time < :until + 7200000
),
-- 2. The pushes of each sign-in, by when they were sent: as the answers say, else as the sends say.
marks as materialized (
    select user_uid, sign_in, challenge_time as time, 1 as exact from failed
    where challenge_time is not null and sign_in is not null
    union
    select user_uid, authn_request_uid, challenge_time, 1 from approved
    where challenge_time is not null and authn_request_uid is not null and factor = 'OKTA_VERIFY_PUSH'
    union
    select user_uid, authn_request_uid, time, 0 from sent where authn_request_uid is not null
    union
    select user_uid, session_uid, time, 0 from sent where session_uid is not null
),
pushes as materialized (
    select m.user_uid, m.sign_in, m.time,
           lead(m.time) over (partition by m.user_uid, m.sign_in order by m.time) as next_time
    from marks as m
    where m.exact = 1
       or not exists (
          select 1 from marks as same
          where same.user_uid = m.user_uid and same.sign_in = m.sign_in
            and (same.exact = 1 and same.time >= m.time - 2000 and same.time <= m.time + 2000
              or same.exact = 0 and same.time >= m.time - 1000 and same.time < m.time)
       )
),
-- 3. Which push does a failure belong to? An answer to the latest before it; silence to the next one left open.
open_pushes as materialized (
    select p.user_uid, p.sign_in, p.time,
           row_number() over (partition by p.user_uid, p.sign_in order by p.time) as nth
    from pushes as p
    where not exists (
          select 1 from failed as f
          where f.user_uid = p.user_uid and f.sign_in = p.sign_in
            and (f.challenge_time = p.time
              or f.challenge_time is null and f.role = 'rejected'
                 and f.time >= p.time and (p.next_time is null or f.time < p.next_time))
       )
      and not exists (
          select 1 from approved as a
          where a.user_uid = p.user_uid and a.authn_request_uid = p.sign_in and a.factor = 'OKTA_VERIFY_PUSH'
            and (a.challenge_time = p.time
              or a.challenge_time is null and a.time >= p.time and (p.next_time is null or a.time < p.next_time))
       )
),
silences as (
    select uid, user_uid, sign_in, time,
           row_number() over (partition by user_uid, sign_in order by time, uid) as nth
    from failed
    where role <> 'rejected' and challenge_time is null and sign_in is not null
),
placed as materialized (
    select f.uid, f.user_uid, f.time, f.role, f.sign_in, f.transaction_uid,
           coalesce(
               f.challenge_time,
               (select o.time from silences as s join open_pushes as o
                  on o.user_uid = s.user_uid and o.sign_in = s.sign_in and o.nth = s.nth and o.time <= s.time
                where s.uid = f.uid),
               (select max(p.time) from pushes as p
                where p.user_uid = f.user_uid and p.sign_in = f.sign_in and p.time <= f.time
                  and (f.role = 'rejected' or not exists (
                      select 1 from approved as a
                      where a.user_uid = p.user_uid and a.authn_request_uid = p.sign_in
                        and a.factor = 'OKTA_VERIFY_PUSH'
                        and a.time >= p.time and (p.next_time is null or a.time < p.next_time)))),
               (select max(p.time) from pushes as p
                where p.user_uid = f.user_uid and p.sign_in = f.sign_in and p.time <= f.time)
           ) as sent_time
    from failed as f
),
-- 4. Attempts, not events: the failures of one push are one attempt.
failures as materialized (
    select uid, user_uid, time, role, sent_time,
           case
               when sent_time is not null then 'push ' || sent_time || ' ' || coalesce(sign_in, '')
               when sign_in is not null then 'sign-in ' || sign_in
               else 'request ' || coalesce(transaction_uid, uid)
           end as attempt
    from placed as f
    where f.role <> 'unanswered'
       or not exists (
          select 1 from approved as other
          where other.user_uid = f.user_uid
            and f.sign_in in (other.authn_request_uid, other.session_uid)
            and other.factor <> 'OKTA_VERIFY_PUSH'
            and (f.sent_time is null or other.time >= f.sent_time)
       )
),
attempts as materialized (
    select user_uid, attempt,
           coalesce(min(case when role = 'rejected' then time end), min(coalesce(sent_time, time))) as time
    from failures
    group by user_uid, attempt
),
-- 5. Logins. A session that began while its sign-in still waits for a second factor is none.
steps as (
    select user_uid, time, 'strong' as step, authn_request_uid, session_uid, transaction_uid from approved
    union all
    select user_uid, time, 'asked', authn_request_uid, session_uid, transaction_uid from sent
    union all
    select user_uid, time, 'asked', authn_request_uid, session_uid, transaction_uid from failed_events
    union all
    select c.user_uid, c.time, 'asked', c.authn_request_uid, c.session_uid, c.transaction_uid
    from victims cross join factor_challenged as c
    where c.org = :org and c.user_uid = victims.user_uid
      and c.time >= :since - :window - 14400000 and c.time < :until + 7200000
    union all
    select p.user_uid, p.time, 'password', p.authn_request_uid, p.session_uid, p.transaction_uid
    from victims cross join password_succeeded as p
    where p.org = :org and p.user_uid = victims.user_uid
      and p.time >= :since - :window - 14400000 and p.time < :until + 7200000
    union all
    select a.user_uid, a.time, 'allowed', a.authn_request_uid, a.session_uid, a.transaction_uid
    from victims cross join sign_on_allowed as a
    where a.org = :org and a.user_uid = victims.user_uid
      and a.time >= :since - :window - 14400000 and a.time < :until + 7200000
),
starts as materialized (
    select s.uid, s.user_uid, s.time, s.authn_request_uid, s.session_uid, s.root_session_uid, s.transaction_uid
    from victims cross join session_started as s
    where s.org = :org and s.user_uid = victims.user_uid
      and s.time >= :since - :window - 7200000 and s.time < :until + :window
),
password_steps as materialized (
    select s.uid
    from starts as s join steps
      on steps.user_uid = s.user_uid
     and steps.time >= s.time - 7200000 and steps.time <= s.time + 7200000
     and (steps.authn_request_uid = s.authn_request_uid
       or (steps.authn_request_uid is null or s.authn_request_uid is null) and steps.time <= s.time + 300000
          and (steps.session_uid = s.session_uid or steps.transaction_uid = s.transaction_uid))
    group by s.uid
    having count(case when step = 'strong' and steps.time <= s.time + 1000 then 1 end) = 0
       and (count(case when step = 'strong' then 1 end) > 0
         or count(case when step = 'asked' and steps.time >= s.time - 1000 then 1 end) > 0
         or count(case when step = 'password' and steps.time <= s.time + 1000 then 1 end) > 0
            and count(case when step = 'allowed' and steps.time >= s.time - 1000 then 1 end) = 0)
),
successes as materialized (
    select uid, user_uid, time, 1 as kind, factor,
           authn_request_uid, session_uid, root_session_uid, transaction_uid
    from approved
    where time >= :since - :window - 7200000 and time < :until + :window
    union all
    select v.uid, v.user_uid, v.time, 2, v.factor,
           v.authn_request_uid, v.session_uid, v.root_session_uid, v.transaction_uid
    from victims cross join sign_in_verified as v
    where v.org = :org and v.user_uid = victims.user_uid
      and v.time >= :since - :window - 7200000 and v.time < :until + :window
    union all
    select uid, user_uid, time, 3, null, authn_request_uid, session_uid, root_session_uid, transaction_uid
    from starts
    where uid not in (select uid from password_steps)
    union all
    select o.uid, o.user_uid, o.time, 4, null,
           o.authn_request_uid, o.session_uid, o.root_session_uid, o.transaction_uid
    from victims cross join app_opened as o
    where o.org = :org and o.user_uid = victims.user_uid
      and o.time >= :since - :window - 7200000 and o.time < :until + :window
),
-- Each with the attempts that its window holds. An app opened is a login only in a session younger than they are.
counted as (
    select s.uid, s.user_uid, s.time, s.kind, s.authn_request_uid, s.session_uid, s.root_session_uid,
           s.transaction_uid, count(*) as attempts, min(a.time) as first_attempt, max(a.time) as last_attempt
    from successes as s join attempts as a
      on a.user_uid = s.user_uid and a.time >= s.time - :window and a.time <= s.time
    group by s.uid, s.user_uid, s.time, s.kind, s.authn_request_uid, s.session_uid, s.root_session_uid,
             s.transaction_uid
),
logins as materialized (
    select c.*
    from counted as c
    where c.kind < 4
       or coalesce(c.session_uid, c.root_session_uid) is not null
          and not exists (
              select 1 from events as e
              where e.org = :org and e.user_uid = c.user_uid and e.time < c.first_attempt
                and (e.session_uid in (c.session_uid, c.root_session_uid)
                  or e.root_session_uid in (c.session_uid, c.root_session_uid))
          )
),
-- 6. The first login at or after the last failed attempt, with enough of them behind it.
candidates as materialized (
    select l.*
    from logins as l
    where l.attempts >= :rejections
      and l.time >= :since - 7200000 and l.time < :until
      and not exists (
          select 1 from logins as earlier
          where earlier.user_uid = l.user_uid and earlier.time >= l.last_attempt
            and (earlier.time < l.time
              or earlier.time = l.time and (earlier.kind < l.kind or earlier.kind = l.kind and earlier.uid < l.uid))
      )
),
-- 7. One finding for one login: the success events that follow in the same sign-in are its evidence.
same_sign_in as (
    select uid as trigger_uid, time as trigger_time, uid, user_uid, time, kind,
           authn_request_uid, session_uid, root_session_uid, transaction_uid
    from candidates
    union
    select k.trigger_uid, k.trigger_time, s.uid, s.user_uid, s.time, s.kind,
           s.authn_request_uid, s.session_uid, s.root_session_uid, s.transaction_uid
    from same_sign_in as k join successes as s
      on s.user_uid = k.user_uid
     and s.time >= k.trigger_time and s.time <= k.trigger_time + 7200000
     and (s.authn_request_uid = k.authn_request_uid
       or s.transaction_uid = k.transaction_uid
       or (s.kind >= 3 or s.kind = 2 and (s.authn_request_uid is null or k.authn_request_uid is null))
          and (s.session_uid = k.session_uid or s.root_session_uid = k.root_session_uid))
),
triggers as materialized (
    select c.uid, c.user_uid, c.time, c.first_attempt, c.last_attempt
    from candidates as c
    where c.time >= :since
      and not exists (
          select 1 from same_sign_in as k
          where k.uid = c.uid and k.trigger_time < c.time
      )
),
told as (
    select t.uid as trigger_uid, f.uid as evidence_uid, f.role, a.attempt
    from triggers as t
    join attempts as a on a.user_uid = t.user_uid and a.time >= t.time - :window and a.time <= t.time
    join failures as f on f.user_uid = a.user_uid and f.attempt = a.attempt
    union all
    select k.trigger_uid, k.uid, 'login', null
    from triggers as t join same_sign_in as k on k.trigger_uid = t.uid and k.time <= t.time + :window
    union all
    select t.uid, s.uid, 'sent', null
    from triggers as t join sent as s
      on s.user_uid = t.user_uid and s.time >= t.first_attempt - 300000 and s.time <= t.time
)
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time,
       t.first_attempt as first_seen, t.last_attempt as last_attempt,
       (select case
                   when count(case when s.kind = 1 and s.factor = 'OKTA_VERIFY_PUSH' then 1 end) > 0 then 'high'
                   when count(case when s.kind = 1 and s.factor is not null or s.kind = 2 then 1 end) > 0 then 'medium'
                   else 'low'
               end
        from same_sign_in as k join successes as s on s.uid = k.uid
        where k.trigger_uid = t.uid and k.time <= t.time + :window) as confidence,
       told.evidence_uid, told.role, told.attempt
from triggers as t join told on told.trigger_uid = t.uid;
