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
lookahead: window
summary:
  - "FastPass refused at {trigger} UTC to sign {user} in to a page that is not the org's ({refused.count}
    {refused.count:time|times})"
  - "asked from {refused.places}"
  - "with {refused.user_agent}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with refused as materialized (
    select uid, user_uid, time, whose, lag(time) over (partition by whose order by time, uid) as previous
    from (select phishing_refused.*, coalesce(user_uid, src_ip, 'unknown') as whose
          from phishing_refused) as known
    where org = :org and time >= :since - :window and time < :until + :window
)
-- The first within a window is the trigger; what follows within one is its evidence.
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid as evidence_uid,
       'refused' as role
from refused as t join refused as told
  on told.whose = t.whose and told.time >= t.time and told.time <= t.time + :window
where (t.previous is null or t.previous < t.time - :window) and t.time >= :since and t.time < :until;
