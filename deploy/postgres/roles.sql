-- Three roles for poller's database, so that each can do its work and nothing else:
--
--   poller_migrator  owns the tables: `poller migrate`
--   poller_writer    what fetches and stores: `poller run`, `poller backfill`, and triage by `poller findings set`
--   poller_reader    looks: `poller findings`, `poller status`, `poller events show`, and SQL of one's own
--
-- Run it with psql, in a database that poller has to itself, as a superuser or as the database's owner with CREATEROLE.
-- Running it again changes nothing. Other names: -v migrator=NAME -v writer=NAME -v reader=NAME. The roles are made
-- without a password: \password NAME sets one.

\set ON_ERROR_STOP on
\if :{?migrator} \else \set migrator poller_migrator \endif
\if :{?writer} \else \set writer poller_writer \endif
\if :{?reader} \else \set reader poller_reader \endif

begin;

select format('create role %I login', name)
from unnest(array[:'migrator', :'writer', :'reader']) as name
where not exists (select from pg_roles where rolname = name)
\gexec

-- Who is no superuser has to be a member of a role to set what its future tables grant.
select format('grant %I to current_user', :'migrator')
where not pg_has_role(current_user, :'migrator', 'usage')
\gexec

revoke all on database :"DBNAME" from public;
grant connect on database :"DBNAME" to :"migrator", :"writer", :"reader";
revoke all on schema public from public;
grant usage, create on schema public to :"migrator";
grant usage on schema public to :"writer", :"reader";

-- What is there,
grant select, insert, update, delete on all tables in schema public to :"writer";
grant select, usage, update on all sequences in schema public to :"writer";
grant select on all tables in schema public to :"reader";

-- and what later migrations make.
alter default privileges for role :"migrator" in schema public
    grant select, insert, update, delete on tables to :"writer";
alter default privileges for role :"migrator" in schema public
    grant select, usage, update on sequences to :"writer";
alter default privileges for role :"migrator" in schema public
    grant select on tables to :"reader";

-- The writer lets Postgres look at a table that it has never looked at (`analyze`). Before version 17 only the owner
-- may; there the writer goes on without, and autovacuum looks a minute later.
select current_setting('server_version_num')::int >= 170000 as has_maintain \gset
\if :has_maintain
grant maintain on all tables in schema public to :"writer";
alter default privileges for role :"migrator" in schema public grant maintain on tables to :"writer";
\endif

alter role :"reader" set default_transaction_read_only = on;

commit;
