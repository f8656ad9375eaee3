import { Flights } from "@drover/shared/protocol/flights";
import type { RunSpec } from "@drover/shared/run";
import { expect, test } from "vitest";

const JOB = { s: "http://host/file", d: "file" };
const flightOf = (run: string, spec: Partial<RunSpec>) =>
  new Flights(run, { fleet: true, durable: true, ...spec } as RunSpec).of(JOB, "lease");

test("runs share a flight where both are guarded, or neither is", () => {
  expect(flightOf("one", {})).toBe(flightOf("two", {}));
  expect(flightOf("one", { guarded: true })).toBe(flightOf("two", { guarded: true }));
  expect(flightOf("one", { guarded: true })).not.toBe(flightOf("two", {}));
  expect(flightOf("one", { guarded: false })).toBe(flightOf("two", {}));
});
