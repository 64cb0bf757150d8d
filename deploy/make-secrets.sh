#!/bin/sh
# Fills the folder secrets/ for compose.yaml: random passwords, and for each role a connection service file of libpq's
# that holds its own. Reads the Okta API token from standard input. What is there already is kept.
#
# The containers read the files as the group 10001, which therefore owns them; nobody else on this machine may.
set -eu
cd "$(dirname "$0")/secrets"
umask 037
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
[ -e okta-token ] || cat > okta-token
[ -e postgres-password ] || password > postgres-password
for role in migrator writer reader; do
    [ -e "$role.conf" ] || cat > "$role.conf" <<CONF
[poller]
host=postgres
dbname=poller
user=poller_$role
password=$(password)
CONF
done
chgrp 10001 okta-token postgres-password ./*.conf
