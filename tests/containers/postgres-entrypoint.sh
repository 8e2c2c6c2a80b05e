#!/bin/bash
# Makes a cluster with the user, password and database of the variables, runs the scripts
# of /docker-entrypoint-initdb.d in it, and serves it.
set -euo pipefail
mkdir -p "$PGDATA"
chown -R postgres "$PGDATA"
as_postgres=(setpriv --reuid postgres --regid postgres --init-groups)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
  chown postgres /tmp/password
  "${as_postgres[@]}" initdb --username="$POSTGRES_USER" --auth-host=scram-sha-256 --encoding=UTF8 \
    --pwfile=/tmp/password >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  "${as_postgres[@]}" pg_ctl start --wait --silent --options='-c listen_addresses=""'
  query=("${as_postgres[@]}" psql --quiet --username="$POSTGRES_USER" --set ON_ERROR_STOP=1)
  "${query[@]}" --dbname=postgres --command="CREATE DATABASE \"$POSTGRES_DB\""
  for script in /docker-entrypoint-initdb.d/*.sql; do
    "${query[@]}" --dbname="$POSTGRES_DB" --file="$script"
  done
  "${as_postgres[@]}" pg_ctl stop --wait --silent --mode=fast
fi
exec "${as_postgres[@]}" postgres -c listen_addresses='*'
