#!/bin/sh
# Plays seeds with a fleet under fire, one after the other: SEED, SEED+1, … until MINUTES are over. The same seed
# gives the same files, versions and faults; their timing is as exact as the machine lets it be. What a seed that
# failed did is kept in reports/chaos/SEED. SIZE=short plays what "make test" plays.
set -eu
cd "$(dirname -- "$0")/.."
scripts/build.sh
scripts/with-node.sh rolldown tests/chaos/long.ts --platform node --format esm --file tests/dist/chaos.js \
  --log-level silent
exec scripts/with-node.sh node tests/dist/chaos.js "${SEED:-1}" "${MINUTES:-10}" "${SIZE:-long}"
