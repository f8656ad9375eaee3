import {
  parseAge,
  parseBinarySize,
  parseCount,
  parseInstant,
  parseMostDeleted,
} from "@drover/cli/settings/units";
import { SettingsError } from "@drover/shared/errors";
import { describe, expect, test } from "vitest";

describe("the size of a filter", () => {
  test.for<[string, number]>([
    ["100", 102_400],
    ["100B", 100],
    ["10k", 10_240],
    ["1.5M", 1_572_864],
    ["2GiB", 2 ** 31],
    ["1Ti", 2 ** 40],
    ["0", 0],
  ])("%s is parsed", ([text, bytes]) => expect(parseBinarySize("--min-size", text)).toBe(bytes));

  test.for(["", "-1", "10 KB", "20MB", "big", "1e3", "99999999P"])("%j is refused", (text) => {
    expect(() => parseBinarySize("--min-size", text)).toThrow(SettingsError);
  });
});

describe("the age of a filter", () => {
  const nowMs = Date.parse("2026-11-20T12:00:00Z");
  test.for<[string, string]>([
    ["90", "2026-11-20T11:58:30Z"],
    ["1.5s", "2026-11-20T11:59:58.500Z"],
    ["500ms", "2026-11-20T11:59:59.500Z"],
    ["10m", "2026-11-20T11:50:00Z"],
    ["1h30m", "2026-11-20T10:30:00Z"],
    ["2d", "2026-11-18T12:00:00Z"],
    ["1w", "2026-11-13T12:00:00Z"],
    ["1M", "2026-10-21T12:00:00Z"],
    ["1y", "2025-11-20T12:00:00Z"],
    ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"],
    ["2026-01-02 03:04:05+01:00", "2026-01-02T02:04:05Z"],
  ])("%s is parsed", ([text, time]) => expect(parseAge("--max-age", text, nowMs)).toBe(Date.parse(time)));

  test("given as a day is in local time", () => {
    expect(parseAge("--max-age", "2026-01-02", nowMs)).toBe(new Date(2026, 0, 2).getTime());
  });

  test.for(["", "tomorrow", "5 apples", "2026-13-45", "-3d", "1D"])("%j is refused", (text) => {
    expect(() => parseAge("--max-age", text, nowMs)).toThrow(SettingsError);
  });
});

test("--max-delete is parsed as a number of files or a percentage", () => {
  expect(parseMostDeleted("10")).toEqual({ files: 10 });
  expect(parseMostDeleted("12.5%")).toEqual({ percent: 12.5 });
  for (const text of ["", "-1", "1.5", "120%", "%"])
    expect(() => parseMostDeleted(text)).toThrow(SettingsError);
});

describe("a point in time to come", () => {
  const nowMs = Date.parse("2026-11-20T12:00:00Z");

  test.each([
    ["90s", "2026-11-20T12:01:30Z"],
    ["1h30m", "2026-11-20T13:30:00Z"],
    ["60", "2026-11-20T12:01:00Z"],
    ["2026-11-20T15:04:05Z", "2026-11-20T15:04:05Z"],
    ["2026-11-20 15:04:05+02:00", "2026-11-20T13:04:05Z"],
  ])("%s is parsed", (text, time) => expect(parseInstant("--deadline", text, nowMs)).toBe(Date.parse(time)));

  test.each(["", "soon", "-5m", "2026-13-45", "15:00", "1M"])("%j is refused", (text) => {
    expect(() => parseInstant("--deadline", text, nowMs)).toThrow(SettingsError);
  });
});

describe("a count", () => {
  test("is a whole number of at least 1", () => {
    expect(parseCount("--limit", "7")).toBe(7);
    for (const text of ["", "0", "-1", "1.5", "1e3", "x"])
      expect(() => parseCount("--limit", text)).toThrow(SettingsError);
  });
});
