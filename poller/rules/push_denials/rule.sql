/*
title: Okta pushes denied or abandoned
id: dbac5b36-f125-488c-be16-d60af7aadd7b
status: experimental
description: |
  Someone asks for Okta Verify pushes that the user rejects or lets run out. Whoever asks for a push mostly has the
  password already: it is stolen, and the next try may work. Fires on the attempt that makes it enough within the
  window. Where a login follows with enough attempts just before it, push_fatigue tells it, and this rule takes its
  finding back; any other login that follows is evidence.
level: medium
tags: [attack.credential-access, attack.t1621]
references:
  - https://attack.mitre.org/techniques/T1621/
falsepositives:
  - A user who asks for pushes, lets them run out or denies them by mistake, and gives up
parameters: {rejections: 2, window: 10m, settle: 1h}
lookback: window + window + 14h
lookahead: settle + 4h
reads: [push_sent, push_rejected, push_abandoned, push_unanswered, password_succeeded, mfa_succeeded, factor_challenged,
        sign_on_allowed, sign_in_verified, session_started, app_opened]
summary:
  - "{user} did not approve {attempts} Okta Verify {attempts:push|pushes} ({kinds}) between {first} and {last} UTC:
    somebody probably has the password"
  - "a login followed at {login.first} UTC from {login.browser_places|login.places}"
  - "pushes asked for from {sent.places|abandoned.places}"
  - "answered from {rejected.places}"
  - "new for this user: {sent.new|rejected.new}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :rejections (attempts), :window and :settle (ms).
-- What is an attempt and what is a login is decided as in push_fatigue: steps 1 to 7 are that rule's, but for how far
-- they read. An event that tells of an attempt is written two hours (7200000 ms) after it at most.
with
-- 1. Whose pushes failed often enough near this slice? Few people, so that everything below reads few rows.
victims as materialized (
    select user_uid from (
        select user_uid from push_rejected
        where org = :org and time >= :since - :window - 7200000 and time < :until
        union all
        select user_uid from activities
        where org = :org and event_type = 'user.authentication.auth_via_mfa' and outcome in ('ABANDONED', 'UNANSWERED')
          and activity in ('push_abandoned', 'push_unanswered')
          and time >= :since - :window - 7200000 and time < :until + 86400000
    ) as failed_pushes
    group by user_uid
    having count(*) >= :rejections
),
-- 2. What the log says of their sign-ins around it.
story as materialized (
    select a.activity, a.uid, a.user_uid, a.time, a.factor, a.authn_request_uid as authn, a.root_session_uid as root,
           nullif(a.session_uid, 'unknown') as session, nullif(a.transaction_uid, 'unknown') as tx,
           case when a.challenge_time <= a.time
                 and a.challenge_time >= a.time - case when a.activity in ('push_abandoned', 'push_unanswered')
                                                       then 86400000 else 7200000 end
                then a.challenge_time end as challenge,
           coalesce(a.user_agent, '') || ' ' || coalesce(a.device, '') || ' ' || coalesce(a.src_ip, '') as client
    from victims cross join activities as a
    where a.org = :org and a.user_uid = victims.user_uid and a.activity is not null
      and a.time >= :since - :window - :window - 21600000
      and (a.time < :until + :settle + 14400000
        or a.time < :until + 86400000 and a.activity in ('push_abandoned', 'push_unanswered'))
),
-- 3. The answers to pushes, and silences. What one event of a request leaves out, another of it says (Classic writes
--    one denial twice): a request lasts less than half a minute. Where no event of it names the sign-in, it is that of
--    the pushes sent in its session.
pushed as (
    select *, lag(time) over (partition by user_uid, coalesce(tx, uid) order by time) as previous
    from story
    where activity in ('push_rejected', 'push_abandoned', 'push_unanswered')
       or activity = 'mfa_succeeded' and factor = 'OKTA_VERIFY_PUSH'
),
requests as materialized (
    select pushed.*, max(case when previous is null or time - previous > 30000 then time end) over so_far as request_time
    from pushed
    window so_far as (partition by user_uid, coalesce(tx, uid) order by time rows unbounded preceding)
),
sessions as (
    select r.uid, max(s.authn) as authn, max(s.session) as session
    from requests as r join story as s
      on  s.user_uid = r.user_uid and s.session = r.session and s.activity = 'push_sent'
      and s.time <= r.time and s.time >= r.time - 7200000
    where r.authn is null
    group by r.uid
),
answers as materialized (
    select r.uid, r.user_uid, r.time, r.activity, r.client, r.tx, coalesce(r.tx, r.uid) as request, r.request_time,
           case when r.activity in ('push_abandoned', 'push_unanswered') then 1 else 0 end as silent,
           coalesce(r.authn, max(r.authn) over same_request,
                    case when r.challenge is not null then max(r.authn) over same_challenge end,
                    sessions.authn, sessions.session) as sign_in,
           coalesce(r.challenge, max(r.challenge) over same_request) as challenge
    from requests as r left join sessions on sessions.uid = r.uid
    window same_request as (partition by r.user_uid, coalesce(r.tx, r.uid), r.request_time),
           same_challenge as (partition by r.user_uid, r.challenge)
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
--    yet, and so is a silence; both within one burst, that is, without a quarter of an hour in which nothing happens.
moments as (
    select user_uid, sign_in,
           coalesce(challenge, case when silent = 1 or sign_in is null then time else request_time end) as moment,
           1 as is_answer, cast(null as bigint) as push,
           uid, time, activity, client, tx, request, request_time, silent, challenge
    from answers
    union all
    select user_uid, sign_in, time, 0, time, null, null, null, null, null, null, null, null, null from pushes
    union all
    select user_uid, null, time, 0, time, null, null, null, null, null, null, null, null, null from story
    where activity = 'push_sent'
),
gaps as (
    select moments.*, lag(moment) over (partition by user_uid, sign_in order by moment, is_answer) as previous
    from moments
),
bursts as materialized (
    select gaps.*, max(push) over so_far as latest,
           max(case when previous is null or moment - previous > 900000 then moment end) over so_far as burst
    from gaps
    window so_far as (partition by user_uid, sign_in order by moment, is_answer rows unbounded preceding)
),
aimed as (
    select uid, user_uid, sign_in, burst, time, activity, tx, request, request_time, silent, challenge,
           case when latest >= time - 7200000 or challenge is not null then latest end as push,
           dense_rank() over (
               partition by user_uid, sign_in, latest, client, silent order by request_time, request) as nth_of_client
    from bursts
    where is_answer = 1
),
ranked as materialized (
    select aimed.*,
           case when sign_in is null or push is null or challenge is not null then 'sure'
                when silent = 1 then 'silence'
                when nth_of_client > 1 then 'repeat'
                else 'sure' end as aim,
           dense_rank() over (
               partition by user_uid, sign_in, burst, sign_in is null or push is null or challenge is not null, silent,
                            silent = 0 and nth_of_client > 1
               order by case silent when 1 then time else request_time end, case silent when 1 then uid else request end
           ) as nth
    from aimed
),
left_open as (
    select user_uid, sign_in, burst, time,
           row_number() over (partition by user_uid, sign_in, burst order by time) as nth
    from (
        select user_uid, sign_in, burst, moment as time, 0 as is_answered from bursts
        where is_answer = 0 and sign_in is not null
        union all
        select user_uid, sign_in, burst, push, 1 from ranked where aim = 'sure'
    ) as p
    group by user_uid, sign_in, burst, time
    having max(is_answered) = 0
),
still_open as (
    select user_uid, sign_in, burst, max(open_time) as time,
           row_number() over (partition by user_uid, sign_in, burst order by max(open_time)) as nth
    from (
        select user_uid, sign_in, burst, nth, time as open_time, cast(null as bigint) as repeat_time from left_open
        union all
        select user_uid, sign_in, burst, nth, null, time from ranked where aim = 'repeat'
    ) as o
    group by user_uid, sign_in, burst, nth
    having max(open_time) is not null and (max(repeat_time) is null or max(repeat_time) < max(open_time))
),
settled as (
    select r.*, max(open_time) over (partition by user_uid, sign_in, burst, aim, nth) as left_for_it
    from (
        select uid, user_uid, time, activity, sign_in, challenge, tx, request, request_time, silent, burst, push, aim,
               nth, cast(null as bigint) as open_time
        from ranked
        union all
        select null, user_uid, null, null, sign_in, null, null, null, null, null, burst, null, 'repeat', nth, time
        from left_open
        union all
        select null, user_uid, null, null, sign_in, null, null, null, null, null, burst, null, 'silence', nth, time
        from still_open
    ) as r
),
aligned as (
    select uid, user_uid, time, activity, sign_in, challenge, tx, request, request_time, silent, burst,
           case when left_for_it <= time then left_for_it else push end as push
    from settled
    where uid is not null
),
placed as materialized (
    select aligned.*,
           max(case when activity = 'mfa_succeeded' then 1 else 0 end) over (
               partition by user_uid, sign_in, push) as approved,
           max(case when activity = 'mfa_succeeded' then 1 else 0 end) over (
               partition by user_uid, challenge) as challenge_approved,
           max(case when activity = 'mfa_succeeded' then time end) over (
               partition by user_uid, sign_in, burst) as last_approval
    from aligned
),
-- 6. Attempts, not events: the failures of one push are one attempt. A silence is none where that push was approved,
--    and a push left unanswered is none where that sign-in then succeeded by another method.
failed as (
    select f.uid, f.user_uid, f.time, replace(f.activity, 'push_', '') as role,
           coalesce(f.challenge, case when f.sign_in is not null then f.push end, f.time) as sent_time,
           case
               when f.sign_in is not null then 'sign-in ' || f.sign_in || ' ' || coalesce(f.push, f.burst)
               when f.challenge is not null then 'challenge ' || f.challenge
               else 'request ' || f.request || ' ' || f.request_time || ' ' || coalesce(f.push, 0)
           end as attempt
    from placed as f
    where f.activity <> 'mfa_succeeded'
      and not (f.silent = 1 and (f.approved = 1 and f.sign_in is not null and f.push is not null
                              or f.challenge_approved = 1 and f.challenge is not null and f.sign_in is null))
      and not (f.activity = 'push_unanswered' and exists (
          select 1
          from story as other left join story as done
            on  done.user_uid = other.user_uid and done.activity = 'sign_in_verified'
            and done.time >= other.time and done.time <= coalesce(f.challenge, f.push, f.time) + 7200000
            and (f.sign_in in (done.authn, done.session) or done.tx = f.tx)
          where other.user_uid = f.user_uid and (f.sign_in in (other.authn, other.session) or other.tx = f.tx)
            and other.time <= coalesce(f.challenge, f.push, f.time) + 7200000
            and (other.activity = 'mfa_succeeded' and other.factor <> 'OKTA_VERIFY_PUSH'
                 and other.time >= coalesce(f.challenge, f.push, f.time - 7200000)
              or other.activity = 'password_succeeded' and done.uid is not null
                 and other.time >= coalesce(f.challenge, f.push, f.time)
                 and (f.last_approval is null or other.time > f.last_approval))))
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
                      or time >= start_time and activity in ('push_sent', 'push_rejected', 'push_abandoned',
                                                             'push_unanswered', 'mfa_succeeded')
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
-- An app opened is a login only in a session that left no trace in the twelve hours (43200000 ms) before those.
trail as materialized (
    select a.user_uid, a.time, case ids.n when 1 then a.session_uid else a.root_session_uid end as session
    from (select distinct user_uid from story where activity = 'app_opened') as o
    cross join activities as a cross join (select 1 as n union all select 2) as ids
    where a.org = :org and a.user_uid = o.user_uid and a.activity is not null
      and a.time >= :since - :window - :window - 7200000 - 43200000 and a.time < :until + :settle
),
logins as materialized (
    select c.uid, c.user_uid, c.time, c.attempts
    from counted as c
    where c.kind > 0
      and (c.kind < 4
        or c.attempts > 0 and coalesce(c.session, c.root) is not null
           and not exists (
               select 1 from trail as e
               where e.user_uid = c.user_uid and e.session in (c.session, c.root)
                 and e.time < c.first_attempt and e.time >= c.first_attempt - 43200000))
),
-- 8. Each attempt once, with the event that tells of it first, and the last login before it.
attempts as (
    select user_uid, attempt, attempt_time as time, uid as trigger_uid, time as trigger_time
    from (select failures.*, row_number() over (partition by user_uid, attempt order by time, uid) as nth
          from failures) as told
    where nth = 1 and time <= attempt_time + 7200000
),
since_login as (
    select a.user_uid, a.attempt, a.time, a.trigger_uid, a.trigger_time, max(l.time) as login_time
    from attempts as a left join logins as l on l.user_uid = a.user_uid and l.time < a.time and l.attempts > 0
    group by a.user_uid, a.attempt, a.time, a.trigger_uid, a.trigger_time
),
-- 9. How many attempts since then the window holds that ends with it: the rule fires on the one that makes it enough.
tally as (
    select s.*,
           count(*) over (partition by user_uid, login_time
                          order by time range between :window preceding and current row) as held,
           min(time) over (partition by user_uid, login_time
                           order by time range between :window preceding and current row) as first_time
    from since_login as s
),
crossings as (
    select c.*, lead(time) over (partition by user_uid order by time, trigger_uid) as next_crossing
    from (select tally.*,
                 lag(held) over (partition by user_uid, login_time order by time, trigger_time, trigger_uid) as before
          from tally) as c
    where held >= :rejections and coalesce(before, 0) < :rejections
),
-- 10. Quiet where somebody got in while it lasted, with enough attempts just before: push_fatigue tells of that login.
--     Any other login that follows is evidence.
triggers as materialized (
    select c.*
    from crossings as c
    where c.trigger_time >= :since and c.trigger_time < :until
      and not exists (
          select 1 from logins as l
          where l.user_uid = c.user_uid and l.time >= c.time and l.time <= c.time + :settle
            and l.attempts >= :rejections)
),
burst as (
    select t.trigger_uid, max(a.time) as last_attempt
    from triggers as t join attempts as a
      on  a.user_uid = t.user_uid and a.time >= t.first_time and a.time <= t.time + :settle
      and (t.next_crossing is null or a.time <= t.time or a.time < t.next_crossing)
    group by t.trigger_uid
)
select :org as org, t.user_uid, t.trigger_uid, t.trigger_time, t.first_time as first_seen, b.last_attempt,
       'medium' as confidence, told.uid as evidence_uid, told.role, told.attempt
from triggers as t join burst as b on b.trigger_uid = t.trigger_uid
join (
    select user_uid, uid, role, attempt, attempt_time as time from failures
    union all
    select user_uid, uid, 'sent', null, time from story where activity = 'push_sent'
    union all
    select user_uid, uid, 'login', null, time from logins
) as told
  on  told.user_uid = t.user_uid
  and told.time <= case told.role when 'login' then t.time + :settle else b.last_attempt end
  and told.time >= case told.role when 'login' then t.time when 'sent' then t.first_time - 300000 else t.first_time end;
