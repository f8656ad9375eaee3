#!/bin/sh
# Compiles the packages and packs the drover command into few files, where anything changed since.
set -eu
cd "$(dirname -- "$0")/.."
scripts/with-node.sh tsc -b packages/cli
packed=packages/cli/bundle/main.js
if [ ! -f "$packed" ] || [ -n "$(find packages/*/dist rolldown.config.mjs package-lock.json -newer "$packed" -type f | head -n 1)" ]; then
  rm -rf packages/cli/bundle
  scripts/with-node.sh rolldown --config rolldown.config.mjs >/dev/null
fi
