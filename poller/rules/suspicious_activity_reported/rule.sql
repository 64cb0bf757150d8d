/*
title: A user reported activity on their account that was not theirs
id: 9865622a-0bc0-4db3-b216-0064c730874b
status: experimental
description: |
  Okta mails its users about sign-ins from new devices, factor changes and password changes. A user answered such a mail
  with: this was not me. One finding for all reports of a user within the window, on the first.
level: high
tags: [attack.initial-access, attack.t1078.004]
references:
  - https://help.okta.com/oie/en-us/content/topics/security/suspicious-activity-reporting.htm
  - https://attack.mitre.org/techniques/T1078/004/
falsepositives:
  - A user who does not recognize their own sign-in, or presses the button by mistake
parameters: {window: 1h}
lookback: window
lookahead: 12h
summary:
  - "{user} told Okta at {trigger} UTC that an activity on the account was not theirs"
  - "reported from {reported.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's events lie in one half of a day
-- (43200000 ms), so that it ends even where they come without a pause.
-- 1. Those of the slice and around it, each with the time of the one before it, of the same user.
with told as materialized (
    select org, uid, user_uid, time, coalesce(user_uid, 'unknown') as whose,
           lag(time) over (partition by coalesce(user_uid, 'unknown') order by time, uid) as previous
    from suspicious_activity_reported
    where org = :org and time >= :since - :window and time < :until + 43200000
),
-- 2. One with none before it in the window begins a burst; so does the first after noon and midnight.
marked as (
    select told.*, case when previous is null or previous < time - :window or previous / 43200000 < time / 43200000
                        then 1 else 0 end as begins
    from told
),
bursts as materialized (
    select marked.*, sum(begins) over (partition by whose order by time, uid rows unbounded preceding) as burst
    from marked
)
-- 3. A burst is a finding.
select head.org, head.user_uid, head.uid as trigger_uid, head.time as trigger_time, act.uid as evidence_uid,
       'reported' as role
from bursts as head join bursts as act on act.whose = head.whose and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until;
