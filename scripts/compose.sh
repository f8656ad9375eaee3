#!/usr/bin/env bash
# The stack of docker-compose.yml: docs/compose.md.
# usage: scripts/compose.sh env | up | down | logs [SERVICE...] | status | do COMMAND...
#   env     makes the secrets of compose/env, once; the files are for their user alone
#   up      makes them, builds, starts, waits until all is healthy and prints the addresses
#   down    stops and removes the containers; the volumes stay
#   do      runs another command of Compose
# ALERTS=alertmanager starts Alertmanager in place of Grafana's alerts. Services after `up` are the only ones started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wait_seconds=${WAIT_SECONDS:-240}

compose() {
  if docker compose version >/dev/null 2>&1; then
    docker compose "$@"
  elif command -v docker-compose >/dev/null 2>&1; then
    docker-compose "$@"
  else
    echo "Docker Compose is needed: the compose plugin of docker, or docker-compose" >&2
    return 69
  fi
}

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

make_env() {
  local dir=compose/env
  [ -e "$dir/api.env" ] && return
  (
    umask 077
    mkdir -p "$dir"
    token=$(secret) events=$(secret) key=$(secret) password=$(secret)
    printf 'API_TOKEN=%s\n' "$token" >"$dir/api-token.env"
    printf 'AWS_ACCESS_KEY_ID=drover\nAWS_SECRET_ACCESS_KEY=%s\n' "$key" >"$dir/s3.env"
    printf 'AWS_ACCESS_KEY_ID=drover\nAWS_SECRET_ACCESS_KEY=%s\nWEED_NOTIFICATION_WEBHOOK_ENDPOINT=%s\n' \
      "$key" "http://api:8888/sync/s3-notification/$events" >"$dir/storage.env"
    printf 'GF_SECURITY_ADMIN_PASSWORD=%s\n' "$password" >"$dir/grafana.env"
    # The last one: where it is, the others are.
    printf 'API_TOKEN=%s\nEVENTS_SECRET=%s\n' "$token" "$events" >"$dir/api.env"
  )
  echo "made the secrets in $dir"
}

# Prints the services that are not as they should be, with their states.
not_ready() {
  local id name state health code
  for id in $(compose ps -q -a 2>/dev/null || compose ps -q); do
    read -r name state health code <<<"$(docker inspect --format \
      '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.State.ExitCode}}' "$id")"
    case $state:$health:$code in
      running:healthy:* | running:-:* | exited:*:0) ;;
      *) printf '%s (%s)\n' "$name" "$([ "$health" = - ] && echo "$state $code" || echo "$state, $health")" ;;
    esac
  done
}

up() {
  make_env
  compose build samples
  compose up -d --remove-orphans "$@"
  local ends=$((SECONDS + wait_seconds)) missing
  while missing=$(not_ready) && [ -n "$missing" ]; do
    if [ "$SECONDS" -ge "$ends" ]; then
      printf 'not healthy after %s seconds:\n%s\n' "$wait_seconds" "$missing" >&2
      return 1
    fi
    sleep 2
  done
  addresses
}

addresses() {
  local service port name url
  while read -r service port name; do
    url=$(compose port "$service" "$port" 2>/dev/null) || continue
    [ -n "$url" ] && printf '%-13s http://%s\n' "$name" "$url"
  done <<LIST
dashboard 8889 Dashboard
api 8888 API
grafana 3000 Grafana
prometheus 9090 Prometheus
alertmanager 9093 Alertmanager
seaweedfs 8333 S3
LIST
  echo "Token:        API_TOKEN in compose/env/api-token.env; Grafana's password is in compose/env/grafana.env"
}

if [ "${ALERTS:-}" = alertmanager ]; then
  export COMPOSE_PROFILES=alertmanager GRAFANA_ALERTS=false
fi
action=${1:-up}
[ "$#" -eq 0 ] || shift
case $action in
  env) make_env ;;
  up) up "$@" ;;
  # With every profile: what one started the other removes.
  down) COMPOSE_PROFILES=alertmanager compose down --remove-orphans "$@" ;;
  logs) compose logs --tail=200 "$@" ;;
  status)
    compose ps "$@"
    missing=$(not_ready)
    [ -z "$missing" ] || { printf 'not healthy:\n%s\n' "$missing" >&2 && exit 1; }
    ;;
  do) compose "$@" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;;
esac
