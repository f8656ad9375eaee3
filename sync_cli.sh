#!/bin/sh
# Runs a command of the mirror: ./sync_cli.sh status, initial-sync, incremental-sync, daemon, test, help.
# In the container of the Compose service sync-service where that runs, else from the checkout.
set -eu
cd "$(dirname -- "$0")"
if [ "$#" = 0 ]; then set -- help; fi
service=${SYNC_SERVICE:-sync-service}
if command -v docker >/dev/null 2>&1 && [ -n "$(docker compose ps --quiet --status running "$service" 2>/dev/null)" ]; then
  exec docker compose exec "$service" drover mirror "$@"
fi
exec ./drover mirror "$@"
