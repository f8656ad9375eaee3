#!/bin/sh
# Compiles the packages and packs the drover command into few files, where anything changed since.
set -eu
cd "$(dirname -- "$0")/.."
scripts/with-node.sh tsc -b packages/cli
bundle=packages/cli/bundle
packed=$bundle/main.js
if [ ! -f "$packed" ] || [ -n "$(find packages/*/dist rolldown.config.mjs package-lock.json -newer "$packed" -type f | head -n 1)" ]; then
  # Beside the old one, which a command that starts meanwhile would miss.
  rm -rf "$bundle.new" "$bundle.old"
  scripts/with-node.sh rolldown --config rolldown.config.mjs --dir "$bundle.new" >/dev/null
  [ ! -d "$bundle" ] || mv "$bundle" "$bundle.old"
  mv "$bundle.new" "$bundle"
  rm -rf "$bundle.old"
fi
