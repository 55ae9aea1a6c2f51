#!/bin/sh
# Temporal's two databases on PostgreSQL, and their newest schema. Harmless to repeat: what is there stays.
set -eu

SQL_PASSWORD="$(cat /run/secrets/postgres_password)"
export SQL_PASSWORD

for store in temporal:temporal temporal_visibility:visibility; do
    database="${store%%:*}"
    versions="/etc/temporal/schema/postgresql/v12/${store##*:}/versioned"
    tool() { temporal-sql-tool --plugin postgres12 --ep "$SQL_HOST" --port "$SQL_PORT" --user "$SQL_USER" --db "$database" "$@"; }
    tool create
    # `setup-schema` begins anew, so only where no version is noted yet.
    if ! tool update-schema --schema-dir "$versions"; then
        tool setup-schema --version 0.0
        tool update-schema --schema-dir "$versions"
    fi
done
