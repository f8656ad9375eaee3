#!/usr/bin/env bash
# Shows what a mirror does, in under a minute, on this machine alone and without containers: an S3 service, a file manager, a
# full sync, events, an incremental sync, and what is told of all that. The files stay in demo-files/mirror/ to look at.
# Exits 0 only if everything went as expected. It changes nothing outside of that directory.
set -uo pipefail
exec </dev/null

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
files=$root/demo-files/mirror
bucket=$files/s3/customer-bucket
managed=$files/managed
problems=0 s3="" manager=""

# The user's own settings must not change what the demo shows.
for name in $(env | sed -nE 's/^((DROVER|CUSTOMER_S3|TARGET_S3|AWS|FILE_MANAGER|REPORT)_[A-Z0-9_]*)=.*/\1/p') \
  REDIS_URL MOCK_API_URL SYNC_INTERVAL RECONCILE_INTERVAL MAX_DELETE DATA_DIR DATABASE_PATH XDG_CONFIG_HOME; do
  unset "$name"
done

bold="" plain=""
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\033[1m' plain=$'\033[0m'
fi
step() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }
problem() {
  printf 'NOT AS EXPECTED: %s\n' "$1"
  problems=$((problems + 1))
}
node() { "$root/scripts/with-node.sh" node "$@"; }
# Runs a command of the mirror, shown as it would be typed, and compares its exit code. What it printed is kept in $out, too.
mirror() {
  local expected=$1 status=0
  shift
  printf '$ ./drover mirror %s\n' "$*"
  out=$("$root/drover" mirror "$@") || status=$?
  printf '%s\n' "$out"
  [ "$status" -eq "$expected" ] || problem "exit code $status instead of $expected"
}
says() {
  case $out in *"$1"*) ;; *) problem "\"$1\" is not said" ;; esac
}
same() {
  if diff -r -x '.drover-*' "$bucket" "$managed"; then
    printf 'ok: the file manager has the files of the bucket, byte for byte\n'
  else
    problem "file manager and bucket differ"
  fi
}
# Ends a process that the demo started, and waits for it.
end() {
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}
end_redis() {
  local pid tries=0
  pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$files/.state/redis/keeper.json" 2>/dev/null) || return 0
  case $(ps -o args= -p "${pid:-0}" 2>/dev/null) in
    *supervisor*"$files/.state"*) kill "$pid" 2>/dev/null ;;
    *) return 0 ;;
  esac
  while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 200 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
}
cleanup() {
  end "$manager"
  end "$s3"
  end_redis
  rm -f "$files/.demo.pid"
}
# Waits for a file of a server that starts.
await() {
  local tries=0
  until [ -s "$1" ]; do
    if [ "$tries" -ge 600 ] || ! kill -0 "$2" 2>/dev/null; then
      printf 'mirror-demo: %s does not start\n' "$3" >&2
      exit 1
    fi
    sleep 0.1
    tries=$((tries + 1))
  done
}

other=$(cat "$files/.demo.pid" 2>/dev/null)
case $(ps -o args= -p "${other:-0}" 2>/dev/null) in
  *mirror-demo.sh*)
    printf 'mirror-demo: another one is running here (process %s): let it finish\n' "$other" >&2
    exit 1
    ;;
esac
end_redis
rm -rf "$files"
mkdir -p "$bucket/reports" "$managed" || exit 1
cd "$files" || exit 1
echo $$ >.demo.pid
trap cleanup EXIT
trap 'exit 130' INT TERM

step "1. A customer's bucket, and a file manager that shall have the same files"
printf 'region,price\nnorth,12\n' >"$bucket/reports/january.csv"
printf 'region,price\nsouth,14\n' >"$bucket/reports/february.csv"
printf 'to be renamed\n' >"$bucket/draft.txt"
printf 'to be removed\n' >"$bucket/old.txt"
node "$root/demo/s3.mjs" "$files/.s3" "$files/s3" &
s3=$!
FILE_MANAGER_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export FILE_MANAGER_TOKEN
"$root/drover" file-manager --root "$managed" --port 0 >.manager &
manager=$!
await .s3 "$s3" "the S3 service"
await .manager "$manager" "the file manager"
port=$(sed -n '1s/.*"port":\([0-9]*\).*/\1/p' .manager)
CUSTOMER_S3_ENDPOINT=$(cat .s3)
export CUSTOMER_S3_ENDPOINT CUSTOMER_S3_BUCKET=customer-bucket CUSTOMER_S3_ACCESS_KEY=demo CUSTOMER_S3_SECRET_KEY=demo-secret
export FILE_MANAGER_API_URL=http://127.0.0.1:$port
export DATA_DIR=$files/data DATABASE_PATH=$files/data/sync.db DROVER_STATE_DIR=$files/.state
printf 'CUSTOMER_S3_ENDPOINT=%s CUSTOMER_S3_BUCKET=%s\nFILE_MANAGER_API_URL=%s\nDATABASE_PATH=%s\n' \
  "$CUSTOMER_S3_ENDPOINT" "$CUSTOMER_S3_BUCKET" "$FILE_MANAGER_API_URL" "$DATABASE_PATH"

step "2. The first sync lists all of the bucket, copies it, and records it"
mirror 0 initial-sync
says "4 executed: 4 copied"
same
first=$(find data -name 'state-*.csv')

step "3. The bucket changes, and events tell of it"
printf 'region,price\nall,13\n' >"$bucket/reports/year.csv"
printf 'region,price\nnorth,15\n' >"$bucket/reports/january.csv"
mv "$bucket/draft.txt" "$bucket/final.txt"
rm "$bucket/old.txt"
cat >events.ndjson <<EVENTS
{"id": "1", "type": "create", "key": "reports/year.csv"}
{"id": "2", "type": "create", "key": "reports/january.csv"}
{"id": "3", "type": "rename", "from": "draft.txt", "to": "final.txt"}
{"id": "4", "type": "delete", "key": "old.txt"}
{"id": "5", "type": "change_permission", "key": "reports/year.csv", "mode": "0640"}
{"id": "5", "type": "change_permission", "key": "reports/year.csv", "mode": "0640"}
{"id": "6", "type": "explode", "key": "final.txt"}
EVENTS
cat events.ndjson
mirror 0 replay events.ndjson

step "4. An incremental sync follows them: one came twice, one is no event that there is"
mirror 0 incremental-sync
says "7 processed: 5 applied, 0 superseded, 1 duplicate, 0 ignored, 1 dead"
says "0 failed"
same
case $(ls -l "$managed/reports/year.csv") in
  -rw-r-----*) printf 'ok: year.csv has the mode 0640\n' ;;
  *) problem "year.csv has another mode" ;;
esac
mirror 0 dead-letters

step "5. Nothing has happened since: nothing is done"
mirror 0 incremental-sync
says "0 executed"

step "6. Both states are files that can be compared, and a database that can be asked"
second=$(find data -name 'state-*.csv' | sort | tail -n 1)
mirror 1 diff "$first" "$second"
says "draft.txt"
node --no-warnings -e '
  const { DatabaseSync } = require("node:sqlite");
  const all = new DatabaseSync(process.env.DATABASE_PATH).prepare("select path, size, mode from files order by path").all();
  console.table(all.map((each) => ({ ...each })));
  process.exit(all.length === 4 ? 0 : 1);' || problem "the database has other records"

step "7. How it stands, and a test of every part"
mirror 0 status
says "4, 0 pending"
mirror 0 test
says "all steps passed"

printf '\nIt is all in %s; "make mirror-demo" makes it anew.\n' "$files"
if [ "$problems" -gt 0 ]; then
  printf '\n%s: not as expected, see above\n' "$problems"
  exit 1
fi
printf '\nEverything went as expected (%s s).\n' "$SECONDS"
