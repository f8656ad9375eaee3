#!/usr/bin/env bash
# Starts the stack of docker-compose.yml with two workers, kills one of them in the middle of a run, and looks at every file.
# It needs a Docker engine with Compose, and the images of Node and Valkey; exits with 69 where they are not there. With
# that of SeaweedFS, what is put into the bucket has to arrive as well, and the mirror is started and killed, too; with that of
# Prometheus, all have to tell their metrics.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

docker info >/dev/null 2>&1 || exit 69
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || exit 69
has() { docker image inspect "$1" >/dev/null 2>&1; }
has "${BASE:-node:24-bookworm-slim}" && has "${VALKEY_IMAGE:-valkey/valkey:9.0-alpine}" || exit 69

export COMPOSE_PROJECT_NAME=drover-test-$$ DROVER_IMAGE=drover:test-$$
export API_PORT=0 S3_PORT=0 DASHBOARD_PORT=0 PROMETHEUS_PORT=0 GRAFANA_PORT=0
export FILE_MANAGER_PORT=0 CUSTOMER_S3_PORT=0 CUSTOMER_CONSOLE_PORT=0 TARGET_S3_PORT=0 TARGET_CONSOLE_PORT=0
ends() {
  local status=$?
  [ "$status" -eq 0 ] || scripts/compose.sh logs --no-color || true
  scripts/compose.sh down --volumes --timeout 5 >/dev/null 2>&1 || true
  docker image rm -f "$DROVER_IMAGE" >/dev/null 2>&1 || true
}
trap ends EXIT

more=()
if has "${PROMETHEUS_IMAGE:-prom/prometheus:v3.13.1}"; then
  more=(prometheus)
  export WITH_PROMETHEUS=yes
else
  echo "without Prometheus, whose image is not there"
fi
if has "${SEAWEEDFS_IMAGE:-chrislusf/seaweedfs:4.47}"; then
  MIRROR=yes scripts/compose.sh up valkey seaweedfs samples api worker sync-service "${more[@]}"
  export WITH_S3=yes
else
  echo "without SeaweedFS, whose image is not there"
  scripts/compose.sh up --no-deps valkey api worker "${more[@]}"
fi
scripts/with-node.sh node tests/compose/killed-worker.mjs
if [ -n "${WITH_S3:-}" ]; then
  scripts/compose.sh "do" start worker # the one that was killed
  scripts/with-node.sh node tests/compose/mirror.mjs
fi
