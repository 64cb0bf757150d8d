/*
title: An Okta org is unusually silent
id: 8c2f1d47-53c9-4e0b-9d0e-2f6f0d3a5b13
status: stable
description: |
  Polls succeed, but bring nothing, for much longer than this org was ever silent lately.
level: medium
watches: poller
parameters: {factor: 3, least: 1h, young: 24h, history: 14d}
summary:
  - "{org} has written no event for {lasting_ms}, since {trigger_time} UTC"
  - "its longest silence before that lasted {longest_ms}"
*/
-- Binds: :now (epoch ms), :factor, :least, :young, :history (ms). An org without a week of history counts as silent
-- after :young; so does one that has hardly been silent, after :least.
with quiet as (
    select org, last_new_time
    from orgs
    where last_new_time < :now - :least and covered_until >= :now - :least and failing_since is null
),
busy as (
    select pages.org, pages.time, pages.time - lag(pages.time) over (partition by pages.org order by pages.id) as silence
    from quiet join pages on pages.org = quiet.org
    where pages.backfill_id is null and pages.stored > 0 and pages.until >= :now - :history
),
usual as (
    select org, min(time) as first_time, max(silence) as longest from busy group by org
)
select quiet.org, quiet.last_new_time as trigger_time, :now - quiet.last_new_time as lasting_ms,
       usual.longest as longest_ms
from quiet left join usual on usual.org = quiet.org
where quiet.last_new_time < :now - case when usual.first_time < :now - 604800000 then :least else :young end
  and quiet.last_new_time < :now - :factor * coalesce(usual.longest, 0)
