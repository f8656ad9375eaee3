#!/usr/bin/env bash
# Entry point of "make bench": checks what is needed, then runs bench/bench.mjs or bench/fleet.mjs.
# Loopback only; everything it writes is in one directory, removed at the end.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bench/run.sh [small] [big] [limited] [unchanged]   default: these four
       bench/run.sh fleet                         the four of a fleet, or by name:
       bench/run.sh [delay] [hundred-thousand] [cores] [blocked-host]
       bench/run.sh listing                       a listing of 1,000,000 keys
       bench/run.sh service                       requests per second of the HTTP service
       bench/run.sh catalog                       what the catalog costs
       bench/run.sh s3                            at an S3 service: against rclone and the AWS CLI
       bench/run.sh bisync                        both ways with an S3 service: against rclone bisync
       bench/run.sh file-manager                  from an S3 service into a file manager: against rclone

  small      10,000 files of 10 KB over HTTP, against rclone and aria2c
  big        one file of 1 GiB with its SHA-256 checked, against curl
  limited    the same from a server that gives each connection 20 MB/s, against aria2c with 16
  unchanged  the same 10,000 a second time, nothing having changed

  delay             10,000 files from an origin that takes 20 ms: against rclone, and one worker against four
  hundred-thousand  100,000 files through a fleet: rates, memory, and what a file costs in Redis
  cores             one worker process against two
  blocked-host      1,000 files of healthy hosts beside 100,000 of one that is down

  listing  a prefix of an S3 endpoint that takes 30 ms for a page: one request after the other, and as Drover lists
  service  GET of a run, POST of one file, POST of 10,000; BENCH_SECONDS=10, ROUNDS=3
  s3                10,000 objects of 10 KB down, again, and up, and one of 1 GiB both ways, also against today's rclone,
                    s5cmd and juicefs where Go can build them; needs the AWS CLI, and
                    Ceph where DROVER_TEST_S3_ENDPOINT, _KEY and _SECRET name no other service
  bisync            20,000 files (BENCH_FILES) for the first time, 100 changes on each side, nothing changed
  file-manager      20,000 objects (BENCH_FILES) by HTTP into a directory: drover file-manager, and rclone serve webdav
  catalog           bytes of Redis per file, files compared per second, and two exports told apart

Environment:
  ROUNDS=5           rounds; every command runs once in each of them (of a fleet: 3)
  BENCH_DIR=DIR      where to work (default /dev/shm/drover-bench)
  BENCH_KEEP=1       keep the generated files for the next run
  BENCH_INSTALL=1    install missing packages (Debian and Ubuntu, as root)
  BENCH_FILES=10000  number of small files, for a quick try (1,000 of them are warmed up with)
  BENCH_BIG_MB=1024  size of the big file in MiB, for a quick try
  BENCH_MANY=100000  number of files in hundred-thousand and blocked-host, for a quick try
  BENCH_ENQUEUE=N    hundred-thousand also queues so many without carrying them, e.g. 1000000
  BENCH_KEYS=1000000 number of keys in listing, for a quick try; BENCH_PAGE_MS=30, ROUNDS=1
  BENCH_ENTRIES=N    files in catalog (default 1000000), for a quick try
  DROVER=COMMAND     the drover to measure (default ./drover); "none": the others alone
  DROVER_OPTS=...    its options for many files
                     (default --durability rename --max-workers 64 --json)
  DROVER_BIG_OPTS=.. its options for the big file (default --durability rename --json)
TEXT
}

die() {
  echo "bench: $*" >&2
  exit 1
}

parts=()
fleet=()
listing=()
service=()
catalog=()
s3=()
bisync=()
for arg in "$@"; do
  case $arg in
    small | big | limited | unchanged) parts+=("$arg") ;;
    fleet) fleet=(delay hundred-thousand cores blocked-host) ;;
    delay | hundred-thousand | cores | blocked-host) fleet+=("$arg") ;;
    listing) listing=(listing) ;;
    service) service=(service) ;;
    catalog) catalog=(catalog) ;;
    s3) s3=(s3) ;;
    bisync | file-manager) bisync+=("$arg") ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
done
[ "$#" -gt 0 ] || parts=(small big limited unchanged)

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

if [ "${#service[@]}" -gt 0 ]; then
  "$root/scripts/build.sh"
  "$root/scripts/with-node.sh" node "$root/bench/service.mjs"
  [ "${#listing[@]}" -gt 0 ] || [ "${#parts[@]}" -gt 0 ] || [ "${#fleet[@]}" -gt 0 ] || exit 0
fi

build_peers() { "$root/bench/peers.sh" "$root/bench/.work/peers" >&2; }

if [ "${#listing[@]}" -gt 0 ]; then
  "$root/scripts/build.sh"
  build_peers
  "$root/scripts/with-node.sh" node "$root/bench/listing.mjs"
  [ "${#parts[@]}" -gt 0 ] || [ "${#fleet[@]}" -gt 0 ] || exit 0
fi

[ "$(uname -s)" = Linux ] || die "needs Linux: the costs are read from /proc"

# Debian installs nginx in sbin, which not every PATH contains.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

find_missing() {
  missing=()
  for pair in nginx:nginx rclone:rclone aria2c:aria2 curl:curl sha256sum:coreutils flock:util-linux; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [ -x /usr/bin/time ] || missing+=(time)
  command -v valkey-server >/dev/null || command -v redis-server >/dev/null || missing+=(redis-server)
}

find_missing
if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && [ -n "${BENCH_INSTALL:-${CI:-}}" ] && command -v apt-get >/dev/null; then
    echo "bench: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    find_missing
  fi
  [ "${#missing[@]}" -eq 0 ] ||
    die "missing: install the packages (Debian's names) ${missing[*]}, or run as root with BENCH_INSTALL=1"
fi

# Origin, destinations, state and the data of Redis are in memory, so that no disk is measured.
need_kb=3400000
if [ -n "${BENCH_DIR:-}" ]; then
  dir=$BENCH_DIR
elif [ -d /dev/shm ] && [ -w /dev/shm ] &&
  { [ -d /dev/shm/drover-bench ] || [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -ge "$need_kb" ]; }; then
  dir=/dev/shm/drover-bench
else
  dir=$root/bench/.work/data
  echo "bench: no room in /dev/shm (3.4 GB needed): working in bench/.work, so the disk is measured too" >&2
fi
mkdir -p -- "$root/bench/.work"
[ -d "$dir" ] || mkdir -m 700 -- "$dir"
dir=$(cd -- "$dir" && pwd -P)
[ -O "$dir" ] || die "$dir belongs to somebody else: set BENCH_DIR"
if [ ! -e "$dir/.drover-bench" ]; then
  [ -z "$(ls -A -- "$dir")" ] || die "$dir is not empty and not mine: set BENCH_DIR to another directory"
  : >"$dir/.drover-bench"
fi
exec 9>>"$dir/.drover-bench"
flock -n 9 || die "another benchmark is running in $dir"

# The driver ends what it started. This is for a driver that was itself killed.
# shellcheck disable=SC2317 # called by the trap
cleanup() {
  local pid_file=$dir/nginx/nginx.pid pid
  if [ "$status" = 137 ]; then
    "$root/scripts/with-node.sh" node "$root/bench/bench.mjs" stop || true
  fi
  if [ -s "$pid_file" ]; then
    pid=$(<"$pid_file")
    if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$dir/nginx"; then
      kill -TERM "$pid" 2>/dev/null || true
    fi
  fi
  if [ -n "${BENCH_KEEP:-}" ]; then
    rm -rf -- "$dir/run" "$dir/nginx"
  else
    rm -rf -- "$dir/run" "$dir/nginx" "$dir/www"
    rm -f -- "$dir/.drover-bench"
    rmdir -- "$dir" 2>/dev/null || true
  fi
}
status=0
trap cleanup EXIT
export BENCH_DIR=$dir BENCH_ID=$$-$RANDOM$RANDOM
# The driver ends its processes on a signal, and then this script ends.
driver=
trap '[ -z "$driver" ] || kill -TERM "$driver" 2>/dev/null || true' INT TERM
drive() {
  local wrap=()
  # Uses the given service, or starts one.
  if [[ "$1" =~ ^(s3|bisync)[.]mjs$ ]] && [ -z "${DROVER_TEST_S3_ENDPOINT:-}" ]; then wrap=("$root/tests/harness/ceph.sh"); fi
  "$root/scripts/with-node.sh" "${wrap[@]}" node "$root/bench/$1" "${@:2}" 9>&- &
  driver=$!
  while true; do
    wait "$driver" && status=0 || status=$?
    kill -0 "$driver" 2>/dev/null || break
  done
  [ "$status" = 0 ] || exit "$status"
}
[ "${#parts[@]}" = 0 ] || drive bench.mjs "${parts[@]}"
if [ "${#fleet[@]}" -gt 0 ]; then
  case " ${fleet[*]} " in *" delay "*) build_peers ;; esac
  drive fleet.mjs "${fleet[@]}"
fi
[ "${#catalog[@]}" = 0 ] || drive catalog.mjs
if [ "${#s3[@]}" -gt 0 ]; then
  build_peers
  drive s3.mjs
fi
for part in "${bisync[@]}"; do drive bisync.mjs "$part"; done
