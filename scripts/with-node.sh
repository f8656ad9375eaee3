#!/bin/sh
# Runs a command with the repository's own Node first on PATH, when
# scripts/setup.sh had to install one, and node_modules/.bin right after it.
# npm run puts only node_modules/.bin on PATH, so on a machine whose Node is too
# old every npm script goes through here.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
toolchain="$root/.toolchain/node_modules/.bin"

PATH="$root/node_modules/.bin:$PATH"
if [ -x "$toolchain/node" ]; then
  PATH="$toolchain:$PATH"
elif ! node -e 'var v = process.versions.node.split("."); process.exit(v[0] > 22 || (v[0] == 22 && v[1] >= 22) ? 0 : 1)' 2>/dev/null; then
  echo "Node 22.22 or newer is needed. Run 'make setup' to install it into this checkout." >&2
  exit 1
fi
export PATH

if [ "$#" -eq 0 ]; then
  echo "usage: scripts/with-node.sh command [argument...]" >&2
  exit 64
fi
if ! command -v "$1" >/dev/null 2>&1; then
  echo "$1: not found. Run 'make setup' first." >&2
  exit 127
fi
exec "$@"
