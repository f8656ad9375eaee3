import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    // CI may share its machine: a test that fails there for want of time gets one more try. Locally it shows.
    retry: process.env.CI ? 1 : 0,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Any order must work: no test may lean on what another left behind.
    sequence: { shuffle: true },
    // The JSON file is what .ci/run counts.
    reporters: ["default", ["json", { outputFile: "reports/vitest.json" }]],
  },
});
