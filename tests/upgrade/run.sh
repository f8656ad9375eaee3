#!/usr/bin/env bash
# A rolling upgrade: the build of an earlier commit and this one's work on the same runs, side by side. Which commit: the
# first argument, else the parent of this one. Exits with 69 where that is not there (a shallow clone).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

earlier=$(git rev-parse --quiet --verify "${1:-HEAD^}^{commit}" 2>/dev/null) || exit 69
former=$(mktemp -d "${TMPDIR:-/tmp}/drover-former.XXXXXX")
ends() {
  git worktree remove --force "$former/tree" 2>/dev/null || true
  rm -rf "$former"
  git worktree prune
}
trap ends EXIT
git worktree add --quiet --detach "$former/tree" "$earlier"
[ ! -d .toolchain ] || ln -s "$PWD/.toolchain" "$former/tree/.toolchain"
if cmp -s package-lock.json "$former/tree/package-lock.json"; then
  cp -al node_modules "$former/tree/node_modules"
else
  (cd "$former/tree" && scripts/with-node.sh npm ci --no-audit --no-fund --silent)
fi
(cd "$former/tree" && scripts/build.sh)
scripts/build.sh
echo "former: $(git log -1 --format='%h %s' "$earlier")"
scripts/with-node.sh node tests/upgrade/rolling.mjs "$former/tree/drover" ./drover
