#!/bin/sh
# Makes dist/lambda/index.mjs, the AWS Lambda function as one file that needs nothing but Node. The directory is what is
# zipped (docs/lambda.md).
# Usage: scripts/build-lambda.sh [DIRECTORY instead of dist/lambda]
set -eu
cd "$(dirname -- "$0")/.."
output=${1:-dist/lambda}
scripts/with-node.sh tsc -b packages/service
rm -rf "$output"
scripts/with-node.sh rolldown packages/service/dist/lambda/handler.js --platform node --format esm --file "$output/index.mjs" >/dev/null
