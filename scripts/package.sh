#!/bin/sh
# Makes dist/drover-VERSION.tgz, which npm installs without asking a registry: all that the command and the library need
# is bundled. dist/package is what is in it. Needs a build (scripts/build.sh); `make package` does both.
# Usage: scripts/package.sh [DIRECTORY instead of dist]
set -eu
cd "$(dirname -- "$0")/.."
output=${1:-dist}
package=$output/package
rm -rf "$package" "$output"/drover-*.tgz
mkdir -p "$package"
cp -R packages/cli/bundle "$package/dist"
cp -R drover README.md LICENSE docs "$package"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
  scripts/with-node.sh "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
  }
}
quietly rolldown --config scripts/package/types.config.mjs --dir "$package/dist"
quietly node scripts/package/terminal.mjs "$package"
quietly node scripts/package/manifest.mjs "$package"
# Without Node's types, as in a program that has nothing but the package.
quietly tsc --ignoreConfig --noEmit --strict --module nodenext --types '' --lib es2024,dom "$package/dist/library.d.ts"
quietly npm pack "$(cd "$package" && pwd)" --pack-destination "$output"
ls "$(cd "$output" && pwd)"/drover-*.tgz # absolute: npm takes dist/name.tgz for a repository of GitHub
