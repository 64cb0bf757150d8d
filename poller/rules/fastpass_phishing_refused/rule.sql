/*
title: FastPass refused to sign in to a phishing site
id: 9b60ff7c-795b-4c3a-a2ed-72a7063dfd26
status: experimental
description: |
  The page that asked Okta FastPass to sign the user in is not a page of the org: a phishing site in between, that
  passes on what the user types. FastPass refused, but a password may have been typed there before. One finding for all
  refusals of a user within the window, on the first.
level: high
tags: [attack.credential-access, attack.t1557, attack.initial-access, attack.t1566.002]
references:
  - https://sec.okta.com/articles/fastpassphishingdetection/
  - https://attack.mitre.org/techniques/T1557/
falsepositives:
  - A proxy, a test page or a custom domain of your own in front of Okta that it does not know
parameters: {window: 1h}
lookback: window
lookahead: 12h
summary:
  - "FastPass refused at {trigger} UTC to sign {user} in to a page that is not the org's ({refused.count}
    {refused.count:time|times})"
  - "asked from {refused.places}"
  - "with {refused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms). A finding's events lie in one half of a day
-- (43200000 ms), so that it ends even where they come without a pause.
-- 1. Those of the slice and around it, each with the time of the one before it, of the same user or else address.
with told as materialized (
    select org, uid, user_uid, time, coalesce(user_uid, src_ip, 'unknown') as whose,
           lag(time) over (partition by coalesce(user_uid, src_ip, 'unknown') order by time, uid) as previous
    from phishing_refused
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
       'refused' as role
from bursts as head join bursts as act on act.whose = head.whose and act.burst = head.burst
where head.begins = 1 and head.time >= :since and head.time < :until;
