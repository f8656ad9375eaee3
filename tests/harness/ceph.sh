#!/usr/bin/env bash
# Runs a command against a real S3 service: the gateway of a one-node Ceph, in memory, on this machine.
#
#   tests/harness/ceph.sh install     installs the Debian packages (root)
#   tests/harness/ceph.sh COMMAND…    starts it, runs the command with DROVER_TEST_S3_ENDPOINT, _KEY and _SECRET in its
#                                     environment, stops it, and ends with the command's exit code
#
# Exit code 69: it cannot be installed or started here.
set -euo pipefail

readonly packages=(ceph-mon ceph-mgr ceph-osd radosgw ceph-common)
readonly unavailable=69

give_up() {
  printf 'ceph.sh: %s\n' "$1" >&2
  exit "$unavailable"
}

if [ "${1:-}" = install ]; then
  command -v radosgw >/dev/null && command -v ceph-mon >/dev/null && exit 0
  [ "$(id -u)" -eq 0 ] || give_up "installing Ceph needs root"
  command -v apt-get >/dev/null || give_up "installing Ceph needs apt-get"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
    give_up "the packages ${packages[*]} cannot be installed"
  exit 0
fi
[ "$#" -gt 0 ] || give_up "usage: ceph.sh install | ceph.sh COMMAND…"
for program in ceph ceph-mon ceph-mgr ceph-osd radosgw radosgw-admin monmaptool; do
  command -v "$program" >/dev/null || give_up "$program is missing: tests/harness/ceph.sh install"
done

home=$(mktemp -d "${TMPDIR:-/tmp}/drover-ceph.XXXXXX")
started=()

# Everything that was started, by its process id, the gateway first and the monitor last.
# shellcheck disable=SC2317 # it is called by the trap
stop() {
  local at pid
  for ((at = ${#started[@]} - 1; at >= 0; at--)); do
    pid=${started[$at]}
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || continue 2
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$home"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Ports that are free at this moment, from which the kernel gives none away by itself.
free_port() {
  python3 -c '
import random, socket
while True:
    port = random.randint(20000, 31000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break'
}

mon_port=$(free_port)
# Where a container is its home it listens to the outside.
rgw_listen=${CEPH_LISTEN:-127.0.0.1:$(free_port)}
fsid=$(cat /proc/sys/kernel/random/uuid)
export CEPH_CONF=$home/ceph.conf
mkdir -p "$home"/{mon,mgr,osd,rgw,run}
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon initial members = a
mon host = v2:127.0.0.1:$mon_port
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data = $home/mon
mgr data = $home/mgr
osd data = $home/osd
rgw data = $home/rgw
run dir = $home/run
log file = $home/\$name.log
admin socket = $home/run/\$name.\$pid.asok
[client.rgw]
rgw frontends = beast endpoint=$rgw_listen
rgw crypt require ssl = false
CONF

background() {
  "$@" -f >>"$home/out.log" 2>&1 &
  started+=("$!")
}

monmaptool --create --addv a "v2:127.0.0.1:$mon_port" --fsid "$fsid" "$home/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$home/monmap" >>"$home/out.log" 2>&1 || give_up "the monitor cannot be made"
background ceph-mon -i a
background ceph-mgr -i x
osd=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph osd new "$osd" >/dev/null 2>&1 || give_up "the monitor does not answer"
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >>"$home/out.log" 2>&1 || give_up "the store cannot be made"
background ceph-osd -i 0
timeout 60 radosgw-admin -n client.rgw user create --uid=drover --display-name=drover \
  --access-key=DROVERTEST --secret=DROVERTESTSECRET >/dev/null 2>&1 || give_up "no user can be made"
# A storage class beside the usual one.
cold=(--placement-id default-placement --storage-class STANDARD_IA)
{
  timeout 60 radosgw-admin -n client.rgw zonegroup placement add --rgw-zonegroup default "${cold[@]}" &&
    timeout 60 radosgw-admin -n client.rgw zone placement add --rgw-zone default "${cold[@]}" \
      --data-pool default.rgw.cold.data
} >>"$home/out.log" 2>&1 || give_up "no storage class can be made"
background radosgw -n client.rgw
endpoint=http://127.0.0.1:${rgw_listen##*:}
for _ in $(seq 600); do
  curl -fs "$endpoint/" >/dev/null && break
  kill -0 "${started[3]}" 2>/dev/null || give_up "the gateway ended: $(tail -n 3 "$home/out.log")"
  sleep 0.1
done
curl -fs "$endpoint/" >/dev/null || give_up "the gateway does not answer"

status=0
DROVER_TEST_S3_ENDPOINT=$endpoint DROVER_TEST_S3_KEY=DROVERTEST DROVER_TEST_S3_SECRET=DROVERTESTSECRET "$@" || status=$?
exit "$status"
