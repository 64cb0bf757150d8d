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
lookahead: window + 4h
summary:
  - "{user} did not approve {attempts} Okta Verify {attempts:push|pushes} ({kinds}) between {first} and {last} UTC,
    then signed in at {trigger} UTC"
  - "signed in by {login.factors}"
  - "pushes asked for from {sent.places|abandoned.places|login.browser_places}"
  - "answered from {rejected.places|login.phone_places}"
  - "new for this user: {login.new|sent.new|rejected.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :rejections (attempts), :window (ms).
-- A sign-in lasts at most two hours (7200000 ms). An abandonment that says when its push was sent may be written a day
-- (86400000 ms) later. Whether a session is an old one is looked up seven days back (604800000 ms).
with recursive
-- 1. Whose pushes failed near this slice? Few people, so that everything below reads few rows.
victims as materialized (
    select user_uid from push_rejected
    where org = :org and time >= :since - :window and time < :until
    union
    select user_uid from activities
    where org = :org and event_type = 'user.authentication.auth_via_mfa' and outcome in ('ABANDONED', 'UNANSWERED')
      and activity in ('push_abandoned', 'push_unanswered')
      and time >= :since - :window and time < :until + 86400000
),
-- 2. What the log says of their sign-ins around it.
story as materialized (
    select a.activity, a.uid, a.user_uid, a.time, a.factor, a.authn_request_uid as authn, a.root_session_uid as root,
           nullif(a.session_uid, 'unknown') as session, nullif(a.transaction_uid, 'unknown') as tx,
           case when a.challenge_time >= a.time - 86400000 and a.challenge_time <= a.time
                then a.challenge_time end as challenge,
           coalesce(a.user_agent, '') || ' ' || coalesce(a.device, '') || ' ' || coalesce(a.src_ip, '') as client
    from victims cross join activities as a
    where a.org = :org and a.user_uid = victims.user_uid and a.activity is not null
      and a.time >= :since - :window - 14400000
      and (a.time < :until + 7200000
        or a.time < :until + 86400000 and a.activity in ('push_abandoned', 'push_unanswered'))
),
-- 3. The answers to pushes, and silences. What one event of a request leaves out, another of it says (Classic writes
--    one denial twice); the sign-in is that of the pushes sent in its session, where no event of it says.
sessions as (
    select user_uid, session, max(authn) as authn from story
    where activity = 'push_sent' and session is not null
    group by user_uid, session
),
answers as materialized (
    select s.uid, s.user_uid, s.time, s.activity, s.client, coalesce(s.tx, s.uid) as request,
           case when s.activity in ('push_abandoned', 'push_unanswered') then 1 else 0 end as silent,
           min(s.time) over same_request as request_time,
           coalesce(s.authn, max(s.authn) over same_request,
                    case when s.challenge is not null then max(s.authn) over same_challenge end,
                    sessions.authn, sessions.session) as sign_in,
           coalesce(s.challenge, max(s.challenge) over same_request) as challenge
    from story as s left join sessions on sessions.user_uid = s.user_uid and sessions.session = s.session
    where s.activity in ('push_rejected', 'push_abandoned', 'push_unanswered')
       or s.activity = 'mfa_succeeded' and s.factor = 'OKTA_VERIFY_PUSH'
    window same_request as (partition by s.user_uid, coalesce(s.tx, s.uid)),
           same_challenge as (partition by s.user_uid, s.challenge)
),
-- 4. The pushes of each sign-in, by when they were sent. Less than a second apart, they are one to several devices.
sends as (
    select user_uid, sign_in, challenge as time from answers where sign_in is not null and challenge is not null
    union
    select user_uid, coalesce(authn, session), time from story
    where activity = 'push_sent' and coalesce(authn, session) is not null
),
pushes as materialized (
    select user_uid, sign_in, time
    from (select user_uid, sign_in, time, lag(time) over (partition by user_uid, sign_in order by time) as previous
          from sends) as spaced
    where previous is null or time - previous >= 1000
),
-- 5. Which push does an answer belong to? The one of its challenge time, else the latest before it (of any sign-in,
--    where its own is not known). A phone answers a push once: its next answer is to a push that is not accounted for
--    yet, and so is a silence.
moments as (
    select user_uid, sign_in, time, 0 as is_answer, time as push, null as uid from pushes
    union all
    select user_uid, null, time, 0, time, null from story where activity = 'push_sent'
    union all
    select user_uid, sign_in, coalesce(challenge, case when silent = 1 or sign_in is null then time else request_time end), 1,
           null, uid
    from answers
),
latest as (
    select uid, max(push) over (
               partition by user_uid, sign_in order by time, is_answer rows unbounded preceding) as push
    from moments
),
ranked as materialized (
    select a.*, latest.push,
           dense_rank() over (
               partition by a.user_uid, a.sign_in, latest.push, a.client, a.silent order by a.request_time, a.request
           ) as nth
    from answers as a left join latest on latest.uid = a.uid
),
left_open as (
    select p.user_uid, p.sign_in, p.time, row_number() over (partition by p.user_uid, p.sign_in order by p.time) as nth
    from pushes as p left join ranked as a
      on  a.user_uid = p.user_uid and a.sign_in = p.sign_in and a.push = p.time
      and (a.challenge is not null or a.silent = 0 and a.nth = 1)
    where a.uid is null
),
repeated as materialized (
    select r.uid, r.user_uid, r.sign_in, o.time as push
    from (select uid, user_uid, sign_in, time,
                 dense_rank() over (partition by user_uid, sign_in order by request_time, request) as nth
          from ranked
          where sign_in is not null and push is not null and challenge is null and silent = 0 and nth > 1) as r
    join left_open as o on o.user_uid = r.user_uid and o.sign_in = r.sign_in and o.nth = r.nth and o.time <= r.time
),
unanswered as (
    select s.uid, o.time as push
    from (select uid, user_uid, sign_in, time,
                 row_number() over (partition by user_uid, sign_in order by time, uid) as nth
          from ranked where sign_in is not null and push is not null and challenge is null and silent = 1) as s
    join (select o.user_uid, o.sign_in, o.time,
                 row_number() over (partition by o.user_uid, o.sign_in order by o.time) as nth
          from left_open as o left join repeated as r
            on r.user_uid = o.user_uid and r.sign_in = o.sign_in and r.push = o.time
          where r.uid is null) as o
      on o.user_uid = s.user_uid and o.sign_in = s.sign_in and o.nth = s.nth and o.time <= s.time
),
placed as materialized (
    select r.uid, r.user_uid, r.time, r.activity, r.sign_in, r.challenge, r.request, r.silent,
           coalesce(repeated.push, unanswered.push, r.push) as push,
           max(case when r.activity = 'mfa_succeeded' then 1 else 0 end) over (
               partition by r.user_uid, r.sign_in, coalesce(repeated.push, unanswered.push, r.push)) as approved,
           max(case when r.activity = 'mfa_succeeded' then 1 else 0 end) over (
               partition by r.user_uid, r.challenge) as challenge_approved,
           max(case when r.activity = 'mfa_succeeded' then r.time end) over (
               partition by r.user_uid, r.sign_in) as last_approval
    from ranked as r
    left join repeated on repeated.uid = r.uid
    left join unanswered on unanswered.uid = r.uid
),
-- 6. Attempts, not events: the failures of one push are one attempt. A silence is none where that push was approved,
--    and a push left unanswered is none where that sign-in then succeeded by another method.
failed as (
    select f.uid, f.user_uid, f.time, replace(f.activity, 'push_', '') as role,
           coalesce(f.challenge, case when f.sign_in is not null then f.push end, f.time) as sent_time,
           case
               when f.sign_in is not null then 'sign-in ' || f.sign_in || ' ' || coalesce(f.push, 0)
               when f.challenge is not null then 'challenge ' || f.challenge
               else 'request ' || f.request || ' ' || coalesce(f.push, 0)
           end as attempt
    from placed as f
    where f.activity <> 'mfa_succeeded'
      and not (f.silent = 1 and (f.approved = 1 and f.sign_in is not null and f.push is not null
                              or f.challenge_approved = 1 and f.challenge is not null))
      and not (f.activity = 'push_unanswered' and exists (
          select 1
          from story as other left join story as done
            on  done.user_uid = other.user_uid and done.activity = 'sign_in_verified'
            and done.time >= other.time and done.time <= f.time + 7200000
            and (f.sign_in in (done.authn, done.session) or done.tx = f.request)
          where other.user_uid = f.user_uid and (f.sign_in in (other.authn, other.session) or other.tx = f.request)
            and other.time <= f.time + 7200000
            and (other.activity = 'mfa_succeeded' and other.factor <> 'OKTA_VERIFY_PUSH'
                 and other.time >= coalesce(f.challenge, f.push, f.time - 7200000)
              or other.activity = 'password_succeeded' and done.uid is not null
                 and other.time >= coalesce(f.challenge, f.push, f.time)
                 and other.time > coalesce(f.last_approval, 0))))
),
failures as materialized (
    select uid, user_uid, time, role, attempt,
           coalesce(min(case when role = 'rejected' then time end) over one_attempt, min(sent_time) over one_attempt)
               as attempt_time
    from failed
    window one_attempt as (partition by user_uid, attempt)
),
-- 7. Logins. A session that began while its sign-in still waited for a second factor is none: what that sign-in says
--    next tells.
words as (
    select s.uid, s.time as start_time, w.activity, w.time
    from story as s join story as w
      on  w.user_uid = s.user_uid and w.authn = s.authn
      and w.time >= s.time - 7200000 and w.time <= s.time + 7200000
    where s.activity = 'session_started'
    union all
    select s.uid, s.time, w.activity, w.time
    from story as s join story as w
      on  w.user_uid = s.user_uid and w.session = s.session and (w.authn is null or s.authn is null)
      and w.time >= s.time - 300000 and w.time <= s.time + 300000
    where s.activity = 'session_started'
    union all
    select s.uid, s.time, w.activity, w.time
    from story as s join story as w
      on  w.user_uid = s.user_uid and w.tx = s.tx and (w.authn is null or s.authn is null)
      and w.time >= s.time - 300000 and w.time <= s.time + 300000
    where s.activity = 'session_started'
),
starts as (
    select uid,
           count(case when activity = 'mfa_succeeded' and time <= start_time then 1 end) as proven,
           count(case when activity = 'password_succeeded' and time <= start_time + 1000 then 1 end) as known,
           min(case when activity in ('sign_on_allowed', 'sign_in_verified', 'app_opened') and time >= start_time - 1000
                    then time end) as done,
           min(case when activity = 'factor_challenged' and time >= start_time - 1000
                      or activity in ('push_sent', 'push_rejected', 'push_abandoned', 'push_unanswered', 'mfa_succeeded')
                         and time >= start_time
                    then time end) as waiting
    from words
    group by uid
),
successes as materialized (
    select s.uid, s.user_uid, s.time, s.factor, s.authn, s.session, s.root, s.tx,
           case s.activity when 'mfa_succeeded' then 1 when 'sign_in_verified' then 2 when 'session_started' then 3
                           else 4 end as kind
    from story as s left join starts on starts.uid = s.uid
    where s.activity in ('mfa_succeeded', 'sign_in_verified', 'app_opened')
       or s.activity = 'session_started'
          and (starts.uid is null or starts.proven > 0
            or starts.waiting is null and (starts.done is not null or starts.known = 0)
            or starts.done < starts.waiting)
),
-- Each with the attempts that its window holds.
counted as (
    select m.*,
           count(attempt_time) over in_window as attempts,
           min(attempt_time) over in_window as first_attempt,
           max(attempt_time) over in_window as last_attempt
    from (
        select uid, user_uid, time, factor, kind, authn, session, root, tx, cast(null as bigint) as attempt_time
        from successes
        union all
        select distinct attempt, user_uid, attempt_time, null, 0, null, null, null, null, attempt_time from failures
    ) as m
    window in_window as (partition by user_uid order by time range between :window preceding and current row)
),
-- An app opened is a login only in a session younger than those.
opened as materialized (
    select c.uid, c.user_uid, c.first_attempt, c.last_attempt, case ids.n when 1 then c.session else c.root end as session
    from counted as c cross join (select 1 as n union all select 2) as ids
    where c.kind = 4 and c.attempts > 0
),
trail as materialized (
    select e.user_uid, e.time, case ids.n when 1 then e.session_uid else e.root_session_uid end as session
    from (select user_uid, min(first_attempt) as first_attempt, max(first_attempt) as last_first_attempt
          from opened group by user_uid) as o
    cross join events as e cross join (select 1 as n union all select 2) as ids
    where e.org = :org and e.user_uid = o.user_uid
      and e.time >= o.first_attempt - 604800000 and e.time < o.last_first_attempt
),
logins as (
    select c.*, row_number() over (partition by c.user_uid, c.last_attempt order by c.time, c.kind, c.uid) as nth
    from counted as c
    where c.kind > 0 and c.attempts > 0
      and (c.kind < 4 or coalesce(c.session, c.root) is not null and c.uid not in (
          select o.uid from opened as o join trail as e
            on  e.user_uid = o.user_uid and e.session = o.session
            and e.time < o.first_attempt and e.time >= o.first_attempt - 604800000))
),
-- 8. The first login at or after the last failed attempt, with enough of them behind it; and with it the success
--    events that follow in the same sign-in: they are its evidence, and make no finding of their own.
same_sign_in as (
    select uid as trigger_uid, time as trigger_time, first_attempt, last_attempt,
           uid, user_uid, time, factor, kind, authn, session, tx
    from logins
    where nth = 1 and attempts >= :rejections and time >= :since - 7200000 and time < :until
    union
    select k.trigger_uid, k.trigger_time, k.first_attempt, k.last_attempt,
           s.uid, s.user_uid, s.time, s.factor, s.kind, s.authn, s.session, s.tx
    from same_sign_in as k join successes as s
      on  s.user_uid = k.user_uid and s.time >= k.trigger_time and s.time <= k.trigger_time + 7200000
      and (s.authn = k.authn
        or (s.authn is null or k.authn is null) and s.tx = k.tx
        or (s.kind >= 3 or s.kind = 2 and (s.authn is null or k.authn is null))
           and (s.session = k.session or s.root = k.session))
),
described as materialized (
    select k.*, case when kind = 1 and factor = 'OKTA_VERIFY_PUSH' then 3
                     when kind = 1 and factor is not null or kind = 2 then 2
                     else 1 end as strength,
           max(case when trigger_uid <> uid then 1 else 0 end) over (partition by uid) as is_told_elsewhere
    from same_sign_in as k
),
triggers as materialized (
    select user_uid, trigger_uid, trigger_time, min(first_attempt) as first_attempt, min(last_attempt) as last_attempt,
           max(case when time <= trigger_time + :window then strength end) as strength
    from described
    where trigger_time >= :since
    group by user_uid, trigger_uid, trigger_time
    having max(case when uid = trigger_uid then is_told_elsewhere end) = 0
)
select :org as org, t.user_uid, t.trigger_uid, t.trigger_time, t.first_attempt as first_seen, t.last_attempt,
       case t.strength when 3 then 'high' when 2 then 'medium' else 'low' end as confidence,
       told.uid as evidence_uid, told.role, told.attempt
from triggers as t join (
    select user_uid, uid, role, attempt, attempt_time as time, null as trigger_uid from failures
    union all
    select user_uid, uid, 'sent', null, time, null from story where activity = 'push_sent'
    union all
    select user_uid, uid, 'login', null, time, trigger_uid from described
) as told
  on  told.user_uid = t.user_uid
  and (told.trigger_uid is null and told.time <= t.trigger_time
       and told.time >= case when told.role = 'sent' then t.first_attempt - 300000 else t.trigger_time - :window end
    or told.trigger_uid = t.trigger_uid and told.time <= t.trigger_time + :window);
