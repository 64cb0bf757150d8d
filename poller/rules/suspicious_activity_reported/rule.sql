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
lookahead: window
summary:
  - "{user} told Okta at {trigger} UTC that an activity on the account was not theirs"
  - "reported from {reported.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :window (ms).
with reported as materialized (
    select uid, user_uid, time, whose, lag(time) over (partition by whose order by time, uid) as previous
    from (select suspicious_activity_reported.*, coalesce(user_uid, 'unknown') as whose
          from suspicious_activity_reported) as known
    where org = :org and time >= :since - :window and time < :until + :window
)
-- The first within a window is the trigger; what follows within one is its evidence.
select :org as org, t.user_uid, t.uid as trigger_uid, t.time as trigger_time, told.uid as evidence_uid,
       'reported' as role
from reported as t join reported as told
  on told.whose = t.whose and told.time >= t.time and told.time <= t.time + :window
where (t.previous is null or t.previous < t.time - :window) and t.time >= :since and t.time < :until;
