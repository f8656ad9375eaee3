#!/usr/bin/env bash
# The stack of docker-compose.yml: docs/compose.md.
# usage: scripts/compose.sh env | up | down | clean | logs [SERVICE...] | status | running SERVICE | exec SERVICE COMMAND... | do COMMAND...
#   env     makes the secrets of compose/env, once; the files are for their user alone
#   up      makes them, builds, starts, waits until all is healthy and prints the addresses
#   down    stops and removes the containers; the volumes stay
#   clean   removes the containers and the image, with VOLUMES=1 the volumes, too
#   logs    shows the last lines, with FOLLOW=1 those that come, too
#   status  shows the containers, and the mirror if there is one; fails if one is not healthy
#   running exits with 0 if the service has a container that runs, else with 1
#   exec    runs a command in its container
#   do      runs another command of Compose
# MIRROR=yes adds the mirror, ALERTS=alertmanager starts Alertmanager in place of Grafana's alerts, DEV=yes builds and restarts
# when sources change. Services after `up` are the only ones started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wait_seconds=${WAIT_SECONDS:-240}
every_profile=alertmanager,mirror

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
  (
    umask 077
    mkdir -p "$dir"
    if [ ! -e "$dir/api.env" ]; then
      token=$(secret) events=$(secret) key=$(secret) password=$(secret)
      printf 'API_TOKEN=%s\n' "$token" >"$dir/api-token.env"
      printf 'AWS_ACCESS_KEY_ID=drover\nAWS_SECRET_ACCESS_KEY=%s\n' "$key" >"$dir/s3.env"
      printf 'AWS_ACCESS_KEY_ID=drover\nAWS_SECRET_ACCESS_KEY=%s\nWEED_NOTIFICATION_WEBHOOK_ENDPOINT=%s\n' \
        "$key" "http://api:8888/sync/s3-notification/$events" >"$dir/storage.env"
      printf 'GF_SECURITY_ADMIN_PASSWORD=%s\n' "$password" >"$dir/grafana.env"
      # The last one: where it is, the others are.
      printf 'API_TOKEN=%s\nEVENTS_SECRET=%s\n' "$token" "$events" >"$dir/api.env"
      echo "made the secrets in $dir"
    fi
    if [ ! -e "$dir/mirror-events.env" ]; then
      events=$(secret)
      printf 'FILE_MANAGER_TOKEN=%s\n' "$(secret)" >"$dir/file-manager.env"
      {
        cat "$dir/s3.env"
        printf 'WEED_NOTIFICATION_WEBHOOK_ENDPOINT=%s\n' "http://api:8888/sync/s3-notification/$events"
      } >"$dir/mirror-storage.env"
      printf 'MIRROR_EVENTS_SECRET=%s\n' "$events" >"$dir/mirror-events.env"
    fi
  )
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
  [ -z "${DEV:-}" ] || compose build builder
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
s3-customer 8333 Customer S3
s3-customer 23646 - its console
s3-target 8333 Target S3
s3-target 23646 - its console
file-manager 8001 File manager
LIST
  echo "Token:        API_TOKEN in compose/env/api-token.env; Grafana's password is in compose/env/grafana.env"
}

# Whether a stack was started here: else there is nothing to ask Compose, which wants the secrets for every answer.
is_here() { [ -e compose/env/mirror-events.env ] && docker info >/dev/null 2>&1; }

running() {
  is_here || return 1
  local id
  for id in $(compose ps -q "$1" 2>/dev/null); do
    [ "$(docker inspect --format '{{.State.Running}}' "$id" 2>/dev/null)" = true ] && return 0
  done
  return 1
}

# Without a terminal of its own where there is none.
run_in() {
  local service=$1 flags=()
  shift
  if [ ! -t 0 ] || [ ! -t 1 ]; then flags=(-T); fi
  compose exec "${flags[@]+"${flags[@]}"}" "$service" "$@"
}

has_mirror() {
  running sync-service || [ -n "${CUSTOMER_S3_BUCKET:-}" ] || grep -qs '^CUSTOMER_S3_BUCKET=' .env || grep -qs '^mirrors:' drover.yaml
}

status() {
  local failed=0 missing=""
  if is_here; then
    compose ps "$@"
    missing=$(not_ready)
    [ -z "$missing" ] || { printf 'not healthy:\n%s\n' "$missing" >&2 && failed=1; }
  else
    echo "no containers of this checkout"
  fi
  if has_mirror; then ./sync_cli.sh status || failed=1; fi
  return "$failed"
}

clean() {
  is_here || return 0
  # shellcheck disable=SC2046 # a flag or none
  compose down --remove-orphans $([ "${VOLUMES:-}" != 1 ] || echo --volumes)
  [ -n "${DROVER_IMAGE:-}" ] || docker image rm -f drover:local drover:development >/dev/null 2>&1 || true
}

profiles=${COMPOSE_PROFILES:-}
if [ "${ALERTS:-}" = alertmanager ]; then
  profiles=$profiles,alertmanager
  export GRAFANA_ALERTS=false
fi
[ -z "${MIRROR:-}" ] || profiles=$profiles,mirror
[ -z "${DEV:-}" ] || export COMPOSE_FILE=docker-compose.yml:docker-compose.dev.yml

action=${1:-up}
[ "$#" -eq 0 ] || shift
# Only `up` chooses. Everything else is for all that runs: what one started the other shows, stops and removes.
[ "$action" = up ] || profiles=$every_profile
export COMPOSE_PROFILES=${profiles#,}
case $action in
  env) make_env ;;
  up) up "$@" ;;
  down) compose down --remove-orphans "$@" ;;
  clean) clean ;;
  logs)
    # shellcheck disable=SC2046 # a flag or none
    compose logs --tail=200 $([ -z "${FOLLOW:-}" ] || echo --follow) "$@"
    ;;
  status) status "$@" ;;
  running) running "$@" ;;
  exec) run_in "$@" ;;
  do) compose "$@" ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 64 ;;
esac
