#!/usr/bin/env bash
# Builds today's versions of peers from Go's module proxy into DIR/bin, once a day, so that Drover is compared with them beside
# Debian's. What cannot be had here is said in a line, and the bench goes on without it.
#
#   bench/peers.sh DIR
set -uo pipefail

dir=$1
mkdir -p "$dir/bin"
if ! command -v go >/dev/null; then
  echo "newest peers: left out, there is no Go here"
  exit 0
fi
build() {
  local name=$1 module=$2
  if [ -n "$(find "$dir/bin/$name" -mtime -1 2>/dev/null)" ]; then
    echo "newest $name: built today"
    return
  fi
  local version
  if ! version=$(cd "$dir" && go list -m "$module@latest" 2>"$dir/$name.log"); then
    rm -f "$dir/bin/$name"
    echo "newest $name: left out, the module proxy does not give it"
    return
  fi
  echo "newest $name: building ${version#* }, which takes minutes"
  if (cd "$dir" && GOBIN=$dir/bin GOFLAGS=-modcacherw go install -ldflags "-s -w" "$module@latest") >"$dir/$name.log" 2>&1; then
    echo "newest $name: ${version#* }"
  else
    rm -f "$dir/bin/$name"
    echo "newest $name: left out, it cannot be built here ($dir/$name.log)"
  fi
}
build rclone github.com/rclone/rclone
build s5cmd github.com/peak/s5cmd/v2
build juicefs github.com/juicedata/juicefs
