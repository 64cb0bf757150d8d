/*
title: Records of Okta's System Log end up in quarantine
id: b7f0f3a9-8a0d-4f0d-8f2d-64cf21b1d9c4
status: stable
description: |
  Records keep coming that can't be events: the rules don't see what they tell of.
level: medium
watches: poller
parameters: {window: 6h, hold: 10m, records: 100}
summary:
  - "{org} sent {records} records since {trigger_time} UTC that can't be events, and are kept in quarantine: no rule
    sees them"
*/
-- Binds: :now (epoch ms), :window, :hold (ms), :records. Pages further apart than :hold, or very many records.
select org, min(time) as trigger_time, sum(quarantined) as records
from pages
where quarantined > 0 and until >= :now - :window and time >= :now - :window
group by org
having max(time) - min(time) >= :hold or sum(quarantined) >= :records
