#!/usr/bin/env bash
# Holds the HTTP service against its own OpenAPI document with Schemathesis, a judge from outside: requests that the
# document allows and some that it does not. No answer may be a defect of the service, undocumented, of another type
# than documented, or no JSON where JSON is promised. Loopback only, within a few minutes.
# Usage: fuzz.sh install, which fails where Schemathesis cannot be had; fuzz.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=${DROVER_TEST_FUZZ_VENV:-${TMPDIR:-/tmp}/drover-fuzz-$(id -u)}
fuzzer=$venv/bin/schemathesis

if [ "${1-}" = install ]; then
  [ -x "$fuzzer" ] && exit 0
  rm -rf "$venv"
  { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --timeout 20 --retries 1 'schemathesis==4.32.5'; } >/dev/null 2>&1 ||
    { rm -rf "$venv" && exit 1; }
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/drover-fuzz.XXXXXX")
service=
stop() {
  if [ -n "$service" ]; then
    kill "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop EXIT

mkdir "$work/data" "$work/home"
token=the-token-of-the-fuzzer
env -u DROVER_REDIS -u REDIS_URL HOME="$work/home" XDG_STATE_HOME="$work/state" XDG_RUNTIME_DIR="$work" \
  LOG_FILE="$work/service.log" ENABLE_PERIODIC_SYNC=false API_RATE_LIMIT=0 API_TOKEN=$token \
  LOCAL_DOWNLOAD_DIR="$work/files" DROVER_EMBEDDED_IDLE_MS=1000 \
  ./drover serve --host 127.0.0.1 --port 0 --root "$work/data" >"$work/out" 2>&1 &
service=$!
port=
for _ in $(seq 300); do
  port=$(sed -n 's/.*"port":\([0-9]*\).*"service ready".*/\1/p' "$work/out")
  [ -z "$port" ] || break
  kill -0 "$service" || { cat "$work/out" && exit 1; }
  sleep 0.1
done
[ -n "$port" ] || { cat "$work/out" && exit 1; }

# Not fuzzed: what waits for a run, and what streams until one ends.
status=0
cd "$work" # it leaves a cache behind
timeout 240 "$fuzzer" run "http://127.0.0.1:$port/openapi.json" --header "Authorization: Bearer $token" \
  --phases examples,coverage,fuzzing --max-examples 30 --request-timeout 30 --continue-on-failure --no-color \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
  --exclude-path /sync/trigger --exclude-path '/api/v1/runs/{run}' --exclude-path '/api/v1/runs/{run}/events' >"$work/fuzz" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
  cat "$work/fuzz"
  grep '"level":"error"' "$work/out" | head -n 20 || true
  exit "$status"
fi
sed -n '/^Test cases:/,/^$/p' "$work/fuzz"
if grep '"level":"error"' "$work/out"; then
  echo "the service logged errors" >&2
  exit 1
fi
