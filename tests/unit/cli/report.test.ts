import { Report } from "@drover/cli/display/report";
import type { Outcome } from "@drover/shared/outcome";
import { expect, test, vi } from "vitest";

const OUTCOME: Outcome = {
  index: 0,
  source: "http://host/a",
  destination: "/to/a",
  name: "a",
  outcome: "copied",
  checksum: null,
  bytes: 1,
  verifiedBy: "length",
  attempts: 1,
  durationMs: 1,
};

function written(tell: (report: Report) => void): string {
  const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  try {
    tell(new Report("json", "r1", undefined));
    return write.mock.calls.map(([text]) => text).join("");
  } finally {
    write.mockRestore();
  }
}

test("the JSON report of a run that failed is valid and holds the outcomes until then", () => {
  const text = written((report) => {
    report.outcome(OUTCOME);
    report.outcome({ ...OUTCOME, index: 1 });
    report.breakOff();
  });
  expect(JSON.parse(text)).toHaveLength(2);
});

test("the JSON report of a run that failed before any outcome is empty", () => {
  expect(written((report) => report.breakOff())).toBe("");
});
