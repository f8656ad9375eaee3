#!/bin/sh
# Runs a command of the mirror: ./sync_cli.sh status, initial-sync, incremental-sync, daemon, test, help.
# In the container of the Compose service sync-service where that runs, else from the checkout.
set -eu
cd "$(dirname -- "$0")"
if [ "$#" = 0 ]; then set -- help; fi
if command -v docker >/dev/null 2>&1 && scripts/compose.sh running sync-service; then
  exec scripts/compose.sh exec sync-service drover mirror "$@"
fi
exec ./drover mirror "$@"
