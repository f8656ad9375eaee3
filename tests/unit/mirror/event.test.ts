import { EventError, parseEvent } from "@drover/mirror/events/event";
import { followEvent } from "@drover/mirror/events/follow-event";
import { decodeWanted, encodeWanted, type WantedEntry } from "@drover/mirror/state/entry";
import { describe, expect, it } from "vitest";

const envelope = (type: string, data?: unknown, more = {}) => ({
  ...{
    specversion: "1.0",
    id: "1",
    source: "s",
    type: `drover.mirror.${type}`,
    time: "2026-11-29T12:00:00Z",
  },
  ...{ data, ...more },
});
const timeMs = Date.parse("2026-11-29T12:00:00Z");

describe("parseEvent", () => {
  it("reads envelopes, whose id counts with their source", () => {
    expect(parseEvent(envelope("create", { key: "a", size: 3 }), "x")).toEqual({
      ...{ id: "s\n1", timeMs, type: "create", key: "a", size: 3 },
    });
    expect(parseEvent(envelope("move", { from: "a", to: "b" }), "x")).toMatchObject({ from: "a", to: "b" });
    expect(parseEvent(envelope("delete", undefined, { subject: "a" }), "x")).toMatchObject({ key: "a" });
    expect(parseEvent(envelope("change_permission", { key: "a", mode: "0640" }), "x")).toMatchObject({
      mode: 0o640,
    });
  });

  it("reads the bare names that others give", () => {
    const bare = { event_type: "rename", old_path: "a", new_path: "b", timestamp: timeMs / 1000 };
    expect(parseEvent(bare, "5-0")).toEqual({ id: "bare\n5-0", timeMs, type: "rename", from: "a", to: "b" });
    expect(parseEvent({ operation: "delete", file_path: "a", id: 7 }, "x")).toMatchObject({ id: "bare\n7" });
  });

  it.each([
    ["no object", 1],
    ["an unknown type", envelope("explode", { key: "a" })],
    ["no key", envelope("create", {})],
    ["a rename onto itself", envelope("rename", { from: "a", to: "a" })],
    ["half a rename", envelope("rename", { from: "a" })],
    ["no permission", envelope("change_permission", { key: "a" })],
    ["permissions that do not exist", envelope("change_permission", { key: "a", mode: "0999" })],
    ["a mode with set-user-ID", envelope("change_permission", { key: "a", mode: "4755" })],
    ["no time", envelope("create", { key: "a" }, { time: "yesterday" })],
    ["another version", envelope("create", { key: "a" }, { specversion: "2.0" })],
  ])("refuses %s", (_, value) => {
    expect(() => parseEvent(value, "x")).toThrow(EventError);
  });
});

const entry: WantedEntry = {
  ...{ isGone: false, sizeBytes: 5, mtimeMs: 1_700_000_000_000, sha256: "ab".repeat(32), listing: 300 },
  version: `s"${"cd".repeat(16)}";5;1700000000`,
};

describe("an entry", () => {
  it("is the same after it was stored", () => {
    const full = {
      ...entry,
      mode: 0o640,
      owner: "ü",
      grants: "[]",
      movedFrom: "a/b",
      event: { id: "s\n1", timeMs },
    };
    for (const each of [
      entry,
      full,
      { ...full, isGone: true, version: "", sha256: "" },
      { ...entry, version: "u1" },
    ])
      expect(decodeWanted(encodeWanted(each))).toEqual(each);
    expect(decodeWanted(null)).toBeUndefined();
    expect(decodeWanted(Buffer.from([9, 0]))).toBeUndefined();
  });

  it("takes few bytes where a listing alone knows of it", () => {
    expect(encodeWanted({ ...entry, sha256: "" }).length).toBeLessThan(36);
  });
});

describe("followEvent", () => {
  const known = (entries: Record<string, WantedEntry>) => ({
    at: (path: string) => entries[path],
    sumOf: () => "ef".repeat(32),
    listing: 7,
  });

  it("takes what is known of a file along with a rename", () => {
    const event = parseEvent(envelope("rename", { from: "a", to: "b" }), "x");
    const old = { ...entry, sha256: "", mode: 0o600 };
    const { is, entries } = followEvent({ event, from: "a", to: "b" }, timeMs, known({ a: old }));
    expect(is).toBe("applied");
    expect(entries.get("a")).toMatchObject({ isGone: true, listing: 7 });
    expect(entries.get("b")).toMatchObject({
      sizeBytes: 5,
      sha256: "ef".repeat(32),
      mode: 0o600,
      movedFrom: "a",
    });
  });

  it("is a delete, or a create, where one end is not of the mirror", () => {
    const event = parseEvent(envelope("rename", { from: "a", to: "b" }), "x");
    expect([...followEvent({ event, from: "a", to: undefined }, timeMs, known({})).entries]).toMatchObject([
      ["a", { isGone: true }],
    ]);
    expect([...followEvent({ event, from: undefined, to: "b" }, timeMs, known({})).entries]).toMatchObject([
      ["b", { isGone: false }],
    ]);
    expect(followEvent({ event, from: undefined, to: undefined }, timeMs, known({})).is).toBe("ignored");
  });

  it("changes nothing that a later event has changed", () => {
    const event = parseEvent(envelope("rename", { from: "a", to: "b" }), "x");
    const later = { ...entry, event: { id: "2", timeMs: timeMs + 1 } };
    expect(followEvent({ event, from: "a", to: "b" }, timeMs, known({ a: later, b: later })).is).toBe(
      "superseded",
    );
    const half = followEvent({ event, from: "a", to: "b" }, timeMs, known({ b: later }));
    expect([...half.entries.keys()]).toEqual(["a"]);
  });

  it("knows where a file is that was renamed again before anybody looked", () => {
    const event = parseEvent(envelope("rename", { from: "b", to: "c" }), "x");
    const unseen = { ...entry, version: "u1", movedFrom: "a" };
    const to = (path: string, b: typeof entry) =>
      followEvent({ event, from: "b", to: path }, timeMs, known({ b })).entries.get(path)?.movedFrom;
    expect(to("c", unseen)).toBe("a");
    expect(to("a", unseen)).toBeUndefined();
    expect(to("c", { ...entry, movedFrom: "a" })).toBe("b");
  });

  it("takes path for key", () => {
    expect(parseEvent(envelope("create", { path: "a" }), "x")).toMatchObject({ type: "create", key: "a" });
    expect(parseEvent(envelope("move", { from: "a", path: "b" }), "x")).toMatchObject({ from: "a", to: "b" });
  });
});
