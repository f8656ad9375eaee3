#!/bin/sh
# Tests a fleet under faults with one seed after the other: SEED, SEED+1, … for MINUTES. A seed determines files,
# versions and faults, and their timing as exactly as the machine allows. The history of a failed seed is kept in
# reports/chaos/SEED. SIZE=short runs the scenario of "make test".
set -eu
cd "$(dirname -- "$0")/.."
scripts/build.sh
scripts/with-node.sh rolldown tests/chaos/long.ts --platform node --format esm --file tests/dist/chaos.js \
  --log-level silent
exec scripts/with-node.sh node tests/dist/chaos.js "${SEED:-1}" "${MINUTES:-10}" "${SIZE:-long}"
