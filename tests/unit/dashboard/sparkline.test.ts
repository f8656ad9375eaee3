import { sparkline } from "@drover/dashboard/pages/sparkline";
import { describe, expect, it } from "vitest";

const pointsIn = (text: string) => [...text.matchAll(/points="([^"]*)"/g)].map(([, points]) => points);

describe("a small line", () => {
  it("goes up to now and is not drawn where nobody looked", () => {
    const at = (seconds: number, value: number) => ({ atMs: 1_000_000 + seconds * 1_000, value });
    const { text } = sparkline([at(0, 0), at(5, 10), at(60, 5)], 60_000);
    expect(pointsIn(text)).toEqual(["0.0,30.0 13.3,2.0", "160.0,16.0"]);
  });

  it("is empty without samples, and flat where all are 0", () => {
    expect(pointsIn(sparkline([], 60_000).text)).toEqual([]);
    expect(pointsIn(sparkline([{ atMs: 1, value: 0 }], 60_000).text)).toEqual(["160.0,30.0"]);
  });
});
