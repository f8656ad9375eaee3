import { defineConfig } from "vitest/config";

/**
 * Tests that need long: outages, a hundred thousand files, browsers, other programs' servers. `make test` leaves them out, so that
 * it stays under a quarter of an hour on two cores; `.ci/run` runs them with DROVER_TESTS=slow, as far as its time goes. Whoever names tests gets all that
 * are meant.
 */
const SLOW = [
  "tests/conformance/destinations/destination.test.ts",
  "tests/e2e/dashboard/**",
  "tests/e2e/fleet/lost-keys.test.ts",
  "tests/e2e/fleet/lost-second.test.ts",
  "tests/e2e/fleet/redis-refuses.test.ts",
  "tests/e2e/fleet/secret-hunt.test.ts",
  "tests/e2e/fleet/series.test.ts",
  "tests/e2e/mirror/killed.test.ts",
  "tests/e2e/monitoring/monitoring.test.ts",
  "tests/e2e/package/**",
  "tests/e2e/pair/edges.test.ts",
  "tests/e2e/pair/reported-cases/**",
  "tests/e2e/pair/second-attempt.test.ts",
  "tests/e2e/runs/lost-keys.test.ts",
  "tests/e2e/s3/s3-faults.test.ts",
  "tests/e2e/service/events.test.ts",
  "tests/e2e/service/killed-under-load.test.ts",
  "tests/e2e/service/many-failures.test.ts",
  "tests/e2e/service/periodic.test.ts",
  "tests/e2e/service/sqs.test.ts",
  "tests/e2e/service/webhooks.test.ts",
  "tests/e2e/sync/crash.test.ts",
  "tests/e2e/sync/local-faults.test.ts",
  "tests/e2e/sync/rclone-flags.test.ts",
  "tests/e2e/sync/scale.test.ts",
  "tests/e2e/sync/security-secrets.test.ts",
  "tests/e2e/sync/sync-delete-interrupted.test.ts",
  "tests/e2e/sync/together.test.ts",
  "tests/integration/mirror/model.test.ts",
  "tests/integration/redis/redis-kinds.test.ts",
  "tests/integration/s3/copy-s3-late-errors.test.ts",
];

/** Real alerts take their time: `.ci/run` names them, where it has ten minutes left. */
const SLOWEST = ["tests/e2e/monitoring/alerts.test.ts", "tests/e2e/monitoring/fleet-alerts.test.ts"];

const isNamed = process.argv.slice(2).some((each) => !each.startsWith("-") && each !== "run");
const which = process.env.DROVER_TESTS ?? (isNamed ? "all" : "quick");

export default defineConfig({
  test: {
    include:
      which === "slow" ? SLOW.map((each) => each.replace(/\*\*$/, "**/*.test.ts")) : ["tests/**/*.test.ts"],
    exclude: ["**/node_modules/**", ...(which === "quick" ? [...SLOW, ...SLOWEST] : [])],
    pool: "forks",
    maxWorkers: 2,
    // CI may share its machine: a test that fails there for want of time gets one more try. Locally it shows.
    retry: process.env.CI ? 1 : 0,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Any order must work: no test may lean on what another left behind.
    sequence: { shuffle: true },
    // The JSON files are what .ci/run counts.
    reporters: ["default", ["json", { outputFile: process.env.DROVER_TEST_REPORT ?? "reports/vitest.json" }]],
  },
});
