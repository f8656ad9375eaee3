import { waitMs } from "@drover/service/webhooks/deliveries";
import { expect, it } from "vitest";

it("waits between the tries of a webhook double, by chance, up to an hour", () => {
  for (const [attempts, longest] of [
    [1, 2_000],
    [2, 4_000],
    [11, 2_048_000],
    [12, 3_600_000],
    [5_000, 3_600_000],
  ] as const) {
    const waits = Array.from({ length: 200 }, () => waitMs(attempts));
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(longest / 2);
    expect(Math.max(...waits)).toBeLessThanOrEqual(longest);
    expect(new Set(waits).size).toBeGreaterThan(50);
  }
});
