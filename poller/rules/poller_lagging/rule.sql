/*
title: Poller lags behind Okta's System Log
id: 3d1c2b86-1d0e-4b53-a7cf-0c9f54c7e0a2
status: stable
description: |
  Polls of an org succeed, or wait, but what they have read is old: attacks there are seen late.
level: medium
watches: poller
parameters: {limit: 30m}
summary:
  - "{org} is {lasting_ms} behind: what was published since {trigger_time} UTC has not been read yet"
*/
-- Binds: :now, :started (since when this process watches; epoch ms), :interval (between polls), :limit (ms). An org that
-- is read for the first time lags by nature.
select org, covered_until as trigger_time, :now - covered_until as lasting_ms
from orgs
where last_caught_up < :now - case when :limit > 2 * :interval then :limit else 2 * :interval end
  and :started < :now - case when :limit > 2 * :interval then :limit else 2 * :interval end
  and failing_since is null
