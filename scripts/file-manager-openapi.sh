#!/bin/sh
# Writes docs/file-manager-openapi.json anew, after the contract has changed.
set -eu
cd "$(dirname -- "$0")/.."
scripts/with-node.sh tsc -b packages/file-manager
document=docs/file-manager-openapi.json
scripts/with-node.sh node --input-type=module -e '
import { openApiDocument } from "@drover/file-manager/openapi";
console.log(JSON.stringify(openApiDocument(), null, 2));' >"$document.new"
mv "$document.new" "$document"
scripts/with-node.sh biome check --write "$document"
