#!/usr/bin/env bash
# Renders every overlay of k8s/ with a real kubectl and checks each object strictly. Exits with 69 where no kubectl can be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kubectl=$(scripts/k8s/kubectl.sh) || exit 69
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for overlay in k8s/base k8s/overlays/*/; do
  "$kubectl" kustomize "$overlay" >"$work/$(basename "$overlay").yaml"
done
scripts/with-node.sh node scripts/k8s/check.mjs "$work"/*.yaml
