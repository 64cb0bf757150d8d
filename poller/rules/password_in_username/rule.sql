/*
title: A password was typed where the name belongs
id: 0e6a629c-c52e-4b46-80e8-939ebf81a789
status: experimental
description: |
  Somebody failed to sign in with a name that nobody has and that looks like a password. The log keeps it in clear, so
  whoever reads the log can use it. It is a guess from the shape of the text: informational.
level: informational
tags: [attack.credential-access, attack.t1552]
references:
  - https://attack.mitre.org/techniques/T1552/
falsepositives:
  - A scanner that types random names
  - Names of an own form with capitals, digits and signs
parameters: {length: 8, window: 10m}
lookback: window
lookahead: window
summary:
  - "somebody typed what looks like a password as the user name at {first} UTC"
  - "from {typed.places}"
*/
-- Binds: :org, :since, :until (the slice, epoch ms), :length (characters at least), :window (ms). The finding names no
-- user: the text that was typed is in the event, and must not be repeated.
with digits(digit) as (
    values ('0'), ('1'), ('2'), ('3'), ('4'), ('5'), ('6'), ('7'), ('8'), ('9')
),
-- 1. Signs that hardly stand in names of users.
signs(sign) as (
    values ('!'), ('"'), ('#'), ('$'), ('%'), ('&'), ('('), (')'), ('*'), (','), (';'), ('<'), ('='), ('>'), ('?'),
           ('@'), ('['), (']'), ('^'), ('`'), ('{'), ('|'), ('}'), ('~')
),
-- 2. Names that nobody has, are no addresses and not of several words, and mix what passwords mix.
typed as materialized (
    select p.org, p.uid, p.time, coalesce(p.src_ip, '') as place
    from password_refused as p
    where p.org = :org and p.time >= :since - :window and p.time < :until + :window
      and coalesce(p.user_uid, 'unknown') = 'unknown'
      and length(p.actor_name) >= :length
      and p.actor_name not like '%_@_%._%' and p.actor_name not like '% %'
      and lower(p.actor_name) <> p.actor_name and upper(p.actor_name) <> p.actor_name
      and exists (select 1 from digits where replace(p.actor_name, digit, '') <> p.actor_name)
      and exists (select 1 from signs where replace(p.actor_name, sign, '') <> p.actor_name)
),
-- 3. The first from its address in a while: what follows within the window is evidence of it.
firsts as (
    select * from typed as a
    where a.time >= :since and a.time < :until
      and not exists (
          select 1 from typed as b
          where b.place = a.place and b.time >= a.time - :window
            and (b.time < a.time or b.time = a.time and b.uid < a.uid))
)
select f.org, null as user_uid, f.uid as trigger_uid, f.time as trigger_time, t.uid as evidence_uid, 'typed' as role
from firsts as f join typed as t
  on t.place = f.place and t.time >= f.time and t.time <= f.time + :window;
