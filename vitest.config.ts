import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    // On a loaded machine about one test in a thousand has seen one request more than it expected; why is not known
    // yet. A second try keeps that from hiding what else CI has to say; locally it shows.
    retry: process.env.CI ? 2 : 0,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Any order must work: no test may lean on what another left behind.
    sequence: { shuffle: true },
    // The JSON file is what .ci/run counts.
    reporters: ["default", ["json", { outputFile: "reports/vitest.json" }]],
  },
});
