#!/bin/sh
# Compiles the packages and bundles the drover command into a few files, if anything has changed.
set -eu
cd "$(dirname -- "$0")/.."
scripts/with-node.sh tsc -b packages/cli packages/service
bundle=packages/cli/bundle
packed=$bundle/main.js
if [ ! -f "$packed" ] || [ -n "$(find packages/*/dist packages/dashboard/assets rolldown.config.mjs scripts/package package-lock.json -newer "$packed" -type f | head -n 1)" ]; then
  # Built beside the old bundle, which a command that starts meanwhile still needs.
  rm -rf "$bundle.new" "$bundle.old"
  scripts/with-node.sh rolldown --config rolldown.config.mjs --dir "$bundle.new" >/dev/null
  [ ! -d "$bundle" ] || mv "$bundle" "$bundle.old"
  mv "$bundle.new" "$bundle"
  rm -rf "$bundle.old"
fi
