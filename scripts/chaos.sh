#!/bin/sh
# Tests a fleet under faults with one seed after the other: SEED, SEED+1, … for MINUTES. A seed determines files,
# versions and faults, and their timing as exactly as the machine allows. The history of a failed seed is kept in
# reports/chaos/SEED. SIZE=short runs the scenario of "make test".
#
# Then plays random histories of two-way syncs for as long, 20 seeds at a time, with kills. WHAT=fleet or WHAT=pairs does one of
# both. A history that fails is printed with its seed: SEEDS=7 KILLS=1 npm test -- tests/e2e/pair/histories.test.ts
set -eu
cd "$(dirname -- "$0")/.."
scripts/build.sh
code=0
if [ "${WHAT:-all}" != pairs ]; then
  scripts/with-node.sh rolldown tests/chaos/long.ts --platform node --format esm --file tests/dist/chaos.js \
    --log-level silent
  scripts/with-node.sh node tests/dist/chaos.js "${SEED:-1}" "${MINUTES:-10}" "${SIZE:-long}" || code=$?
fi
if [ "${WHAT:-all}" != fleet ] && [ "$code" -lt 2 ]; then
  seed=${SEED:-1}
  end=$(($(date +%s) + ${MINUTES:-10} * 60))
  while [ "$(date +%s)" -lt "$end" ]; do
    echo "two-way syncs, seeds $seed to $((seed + 19))"
    SEEDS="$seed-$((seed + 19))" KILLS=1 scripts/with-node.sh npx vitest run tests/e2e/pair/histories.test.ts \
      --reporter=dot || code=1
    seed=$((seed + 20))
  done
fi
exit "$code"
