/*
title: Poller lags behind Okta's System Log
id: 3d1c2b86-1d0e-4b53-a7cf-0c9f54c7e0a2
status: stable
description: |
  Polls of an org succeed, or wait, but what they have read is old: attacks there are seen late.
level: medium
watches: poller
parameters: {limit: 30m, hold: 10m}
summary:
  - "{org} is {lasting_ms} behind: what was published since {trigger_time} UTC has not been read yet"
*/
-- Binds: :now, :started (since when this process watches; epoch ms), :limit, :hold (ms). Every page of the last :hold
-- was behind, or there was none; an org that is read for the first time lags by nature.
select orgs.org, orgs.covered_until as trigger_time, :now - orgs.covered_until as lasting_ms
from orgs
where orgs.covered_until < :now - :limit
  and orgs.caught_up_time is not null
  and orgs.failing_since is null
  and :started <= :now - :hold
  and not exists (
      select 1
      from pages
      where pages.org = orgs.org and pages.backfill_id is null
        and pages.until >= :now - :hold - :limit
        and pages.time >= :now - :hold and pages.until >= pages.time - :limit
  )
