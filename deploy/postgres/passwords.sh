#!/bin/sh
# Gives each role of roles.sql the password that stands in its service file. Postgres' image runs this once, as it makes
# the database; no password is an argument that others could see.
set -eu
for role in migrator writer reader; do
    psql --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<SQL
\\set ON_ERROR_STOP on
\\set password \`sed -n 's/^password=//p' "${SECRETS:-/run/secrets}/$role.conf"\`
alter role poller_$role password :'password';
SQL
done
