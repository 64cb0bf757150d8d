/*
title: Okta's System Log can't be polled
id: 0f6c6f0a-54b0-4d8c-8f0b-6b3d0f9d7a11
status: stable
description: |
  Polls of an org have failed for some time, one after the other: what happens there is not being seen.
level: high
watches: poller
parameters: {hold: 10m}
summary:
  - "{org} could not be polled for {lasting_ms}, since {trigger_time} UTC: attacks there are not seen meanwhile"
  - "the last error: {reason}"
*/
-- Binds: :now (epoch ms), :hold (ms). `failing_since` is emptied by the first poll that brings the org forward.
select org, failing_since as trigger_time, :now - failing_since as lasting_ms, last_error as reason
from orgs
where failing_since <= :now - :hold
