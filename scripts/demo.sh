#!/usr/bin/env bash
# Shows what Drover does, in under a minute, against a web server on this machine that misbehaves. The files stay in
# demo-files/ to look at. Exits 0 only if everything went as expected, so it is a smoke test as well.
# It asks nothing, needs no network, and changes nothing outside demo-files/. Written for bash 3.2, the one macOS has.
set -uo pipefail
exec </dev/null

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root" || exit 1

files=demo-files
state=$root/$files/.state
ready=$root/$files/.origin
arrived=$files/arrived
origin=""
problems=0

# The user's own settings must not change what the demo shows.
for name in $(env | sed -n 's/^\(DROVER_[A-Z_]*\)=.*/\1/p') REDIS_URL; do unset "$name"; done
export DROVER_STATE_DIR=$state

bold="" plain=""
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\033[1m' plain=$'\033[0m'
fi

node() { scripts/with-node.sh node "$@"; }
step() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }
problem() {
  printf 'NOT AS EXPECTED: %s\n' "$1"
  problems=$((problems + 1))
}

# Shows a drover command as it would be typed.
show() {
  local shown="" before="" each
  for each in "$@"; do
    case $each in *[*\ ]*) each="'$each'" ;; esac
    case $before:$each in
      --*:* | *:status | *:retry | *:sync) shown="$shown $each" ;;
      *:http://* | *:--* | *:demo-files/*) shown="$shown \\"$'\n'"    $each" ;;
      *) shown="$shown $each" ;;
    esac
    case $each in --*) before=$each ;; *) before="" ;; esac
  done
  printf '$ ./drover%s\n' "$shown"
}

# Runs drover and compares its exit code.
drover() {
  local expected=$1 status=0
  shift
  ./drover "$@" || status=$?
  if [ "$status" -eq "$expected" ]; then
    printf '(exit code %s, as expected)\n' "$status"
  else
    problem "exit code $status instead of $expected"
  fi
}

counts() {
  local run=$1
  shift
  ./drover status "$run" --json | node demo/check.mjs counts "$@" || problems=$((problems + 1))
}

latest_run() { ./drover runs --json | node demo/check.mjs run; }

# Ends the Redis that an earlier demo left behind, by its recorded process id, if its command line shows that it is ours.
end_redis() {
  local pid tries=0
  pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$state/redis/keeper.json" 2>/dev/null) || return 0
  case $(ps -o args= -p "${pid:-0}" 2>/dev/null) in
    *supervisor*"$state"*) kill "$pid" 2>/dev/null ;;
    *) return 0 ;;
  esac
  while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 200 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
}

cleanup() {
  if [ -n "$origin" ]; then
    kill "$origin" 2>/dev/null
    wait "$origin" 2>/dev/null
  fi
  end_redis
  rm -f "$files/.demo.pid"
}

other=$(cat "$files/.demo.pid" 2>/dev/null)
case $(ps -o args= -p "${other:-0}" 2>/dev/null) in
  *demo.sh*)
    printf 'demo: another one is running here (process %s): let it finish\n' "$other" >&2
    exit 1
    ;;
esac
end_redis
rm -rf "$files"
mkdir -p "$files/outbox/2025" || exit 1
echo $$ >"$files/.demo.pid"
trap cleanup EXIT
trap 'exit 130' INT TERM

printf 'region,price\nnorth,12\n' >"$files/outbox/2025/january.csv"
printf 'region,price\nsouth,14\n' >"$files/outbox/2025/february.csv"
printf 'region,price\nall,13\n' >"$files/outbox/year.csv"
printf 'not asked for\n' >"$files/outbox/notes.txt"

node demo/origin.mjs "$ready" "$root/$files/.repaired" &
origin=$!
tries=0
until [ -f "$ready" ]; do
  if [ "$tries" -ge 600 ] || ! kill -0 "$origin" 2>/dev/null; then
    printf 'demo: the local web server does not start\n' >&2
    exit 1
  fi
  sleep 0.1
  tries=$((tries + 1))
done
value() { sed -n "s/^$1 //p" "$ready"; }
fast=$(value fast) slow=$(value slow) down=$(value down)

printf 'Three hosts on this machine: one works (%s), one is slow (%s),\n' "$fast" "$slow"
printf 'one is down (%s). And a directory, %s/outbox.\n' "$down" "$files"

sources=(
  "$fast/prices.csv" "$fast/photo.jpg" "$fast/hiccup.json" "$fast/big.iso" "$fast/damaged.bin"
  "$slow/slow.log"
  "$down/north.json" "$down/south.json" "$down/east.json"
  "$files/outbox"
)
options=(
  --pattern '*.csv'
  --checksum "$fast/damaged.bin=$(value damaged.bin)"
  --retries 3 --circuit-ttl 3 --breaker-wait 4
  --artifact-root "$files" --script-name arrived
)

step "1. Sync all of it: what fails is retried, and holds up nothing else"
show sync "${sources[@]}" "${options[@]}"
drover 1 sync "${sources[@]}" "${options[@]}"
first=$(latest_run)
counts "$first" files=12 copied=8 unsynced=4

step "2. What failed, and why: the ledger of the run knows"
show status "$first"
drover 0 status "$first"
[ ! -e "$arrived/damaged.bin" ] || problem "the damaged file was published"

step "3. The hosts are repaired: retry takes up exactly what failed"
touch "$files/.repaired"
show retry "$first"
drover 0 retry "$first"
counts "$first" files=12 copied=12 unsynced=0

step "4. The first command again: nothing has changed, so nothing is copied"
printf '$ ./drover sync ... (as in step 1)\n'
drover 0 sync "${sources[@]}" "${options[@]}"
counts "$(latest_run)" files=12 copied=0 unchanged=12

step "5. The files"
node demo/check.mjs files "$ready" "$arrived" || problems=$((problems + 1))
for name in 2025/january.csv 2025/february.csv year.csv; do
  cmp -s "$files/outbox/$name" "$arrived/$name" || problem "$name has other bytes than its source"
done
[ ! -e "$arrived/notes.txt" ] || problem "notes.txt does not match the pattern"
printf 'They are in %s/%s; "make demo" makes them anew.\n' "$root" "$arrived"
printf 'The runs are kept too: ./drover runs --state-dir %s\n' "$files/.state"

if [ "$problems" -gt 0 ]; then
  printf '\n%s: not as expected, see above\n' "$problems"
  exit 1
fi
printf '\nEverything went as expected (%s s).\n' "$SECONDS"
