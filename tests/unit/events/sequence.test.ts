import type { StorageEvent } from "@drover/service/events/event";
import { compareSequence } from "@drover/service/events/sequence";
import { describe, expect, it } from "vitest";

const event = (sequencer: string | undefined, fields: Partial<StorageEvent> = {}): StorageEvent => ({
  origin: "aws",
  type: "created",
  bucket: "b",
  key: "k",
  sequencer,
  ...fields,
});

describe("compareSequence", () => {
  it("orders events of a key by their sequencers as text, the shorter one with zeros at its right", () => {
    expect(compareSequence(event("0055AED6DCD90281E5"), event("0055AED6DCD90281E6"))).toBeLessThan(0);
    expect(compareSequence(event("0066"), event("0055AED6DCD90281E5"))).toBeGreaterThan(0);
    expect(compareSequence(event("0055"), event("00550001"))).toBeLessThan(0);
    expect(compareSequence(event("0055"), event("005500"))).toBe(0);
    expect(compareSequence(event("00ab"), event("00AB"))).toBe(0);
  });

  it("compares what came by EventBridge with what came from S3", () => {
    expect(compareSequence(event("01", { origin: "eventbridge" }), event("02"))).toBeLessThan(0);
  });

  it.each<[string, StorageEvent]>([
    ["another key", event("02", { key: "other" })],
    ["another bucket", event("02", { bucket: "other" })],
    ["Ceph", event("02", { origin: "ceph" })],
    ["versitygw", event("02", { origin: "versitygw" })],
    ["SeaweedFS", event("02", { origin: "seaweedfs" })],
    ["no sequencer", event(undefined)],
    ["what is not hexadecimal", event("0x02")],
  ])("does not compare with %s", (_, other) => {
    expect(compareSequence(event("01"), other)).toBeUndefined();
    expect(compareSequence(other, event("01"))).toBeUndefined();
  });
});
