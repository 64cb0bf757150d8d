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
-- 1. Signs that hardly stand in names of users; and those that do not even where there is no capital. `$` ends names of
--    computers, and the rest is of URLs, of names in a directory, and of what scanners send.
signs(sign, is_rare) as (
    values ('!', 1), ('"', 0), ('#', 1), ('$', 0), ('%', 0), ('&', 0), ('(', 0), (')', 0), ('*', 1), (',', 0),
           (';', 0), ('<', 0), ('=', 0), ('>', 0), ('?', 0), ('@', 0), ('[', 0), (']', 0), ('^', 1), ('`', 0),
           ('{', 0), ('|', 0), ('}', 0), ('~', 1)
),
-- 2. Names that nobody has, are no addresses and not of several words, and mix what passwords mix, or are a word that
--    many take and digits. `Alice2@example` is an address that was not typed to its end, `P@ssw0rd` is none.
typed as materialized (
    select p.org, p.uid, p.time, coalesce(p.src_ip, '') as place,
           lag(p.time) over (partition by coalesce(p.src_ip, '') order by p.time, p.uid) as previous
    from password_refused as p
    where p.org = :org and p.time >= :since - :window and p.time < :until + :window
      and coalesce(p.user_uid, 'unknown') = 'unknown'
      and length(p.actor_name) >= :length
      and p.actor_name not like '%_@_%._%' and p.actor_name not like '% %'
      and upper(p.actor_name) <> p.actor_name
      and exists (select 1 from digits where replace(p.actor_name, digit, '') <> p.actor_name)
      and (exists (
              select 1 from signs
              where replace(p.actor_name, sign, '') <> p.actor_name
                and (is_rare = 1 or lower(p.actor_name) <> p.actor_name)
                and not (sign = '@' and p.actor_name like '___%@____%'
                         and length(p.actor_name) = length(replace(p.actor_name, '@', '')) + 1
                         and rtrim(lower(p.actor_name), 'abcdefghijklmnopqrstuvwxyz-') like '%@'))
        or rtrim(lower(p.actor_name), '0123456789') in ('password', 'passw0rd', 'welcome', 'qwerty', 'letmein',
                                                        'changeme')
           and length(p.actor_name) >= length(rtrim(p.actor_name, '0123456789')) + 3)
),
-- 3. The first from its address in a while: what follows within the window is evidence of it. By numbers and not by a
--    join, since attacks on many names are long.
bursts as (
    select typed.*, sum(case when previous is null or previous < time - :window then 1 else 0 end)
                        over (partition by place order by time, uid rows unbounded preceding) as burst
    from typed
),
told as (
    select org, uid, time,
           first_value(uid) over (partition by place, burst order by time, uid) as first_uid,
           first_value(time) over (partition by place, burst order by time, uid) as first_time
    from bursts
)
select org, null as user_uid, first_uid as trigger_uid, first_time as trigger_time, uid as evidence_uid,
       'typed' as role
from told
where first_time >= :since and first_time < :until and time <= first_time + :window;
