import { type DailyWindow, windowState, windowText } from "@drover/service/schedule/window";
import { describe, expect, it } from "vitest";

const at = (time: string) => Date.parse(time);
const NIGHT: DailyWindow = { fromMinute: 22 * 60, toMinute: 6 * 60, timeZone: "UTC" };
const closed = (since: string, until: string) => ({ isOpen: false, sinceMs: at(since), untilMs: at(until) });

describe("a daily window", () => {
  it("is open from its beginning to its end, also beyond midnight", () => {
    for (const open of [
      "2026-01-05T22:00:00Z",
      "2026-01-05T23:59:59.999Z",
      "2026-01-06T00:00Z",
      "2026-01-06T05:59:59Z",
    ])
      expect(windowState(NIGHT, at(open)), open).toEqual({ isOpen: true });
    const day = closed("2026-01-05T06:00Z", "2026-01-05T22:00Z");
    for (const shut of ["2026-01-05T06:00Z", "2026-01-05T12:34:56.789Z", "2026-01-05T21:59:59.999Z"])
      expect(windowState(NIGHT, at(shut)), shut).toEqual(day);
  });

  it("may lie within a day", () => {
    const noon: DailyWindow = { fromMinute: 12 * 60, toMinute: 12 * 60 + 1, timeZone: "UTC" };
    expect(windowState(noon, at("2026-01-05T12:00:30Z"))).toEqual({ isOpen: true });
    expect(windowState(noon, at("2026-01-05T11:00Z"))).toEqual(
      closed("2026-01-04T12:01Z", "2026-01-05T12:00Z"),
    );
    expect(windowState(noon, at("2026-01-05T13:00Z"))).toEqual(
      closed("2026-01-05T12:01Z", "2026-01-06T12:00Z"),
    );
  });

  it("goes by the clocks of its zone, also when they are set", () => {
    const berlin = { ...NIGHT, timeZone: "Europe/Berlin" };
    expect(windowState(berlin, at("2026-01-05T12:00Z"))).toEqual(
      closed("2026-01-05T05:00Z", "2026-01-05T21:00Z"),
    );
    expect(windowState(berlin, at("2026-07-05T12:00Z"))).toEqual(
      closed("2026-07-05T04:00Z", "2026-07-05T20:00Z"),
    );
    // In that night 2:00 became 3:00: the window opens with the first minute that is within it.
    const gap = { fromMinute: 2 * 60 + 30, toMinute: 4 * 60, timeZone: "Europe/Berlin" };
    expect(windowState(gap, at("2026-03-29T00:59Z"))).toEqual(
      closed("2026-03-28T03:00Z", "2026-03-29T01:00Z"),
    );
    // In that night 3:00 became 2:00: both hours are within it, and what lies between is not.
    const twice = { fromMinute: 2 * 60, toMinute: 2 * 60 + 30, timeZone: "Europe/Berlin" };
    expect(windowState(twice, at("2026-10-25T00:45Z"))).toEqual(
      closed("2026-10-25T00:30Z", "2026-10-25T01:00Z"),
    );
    const odd = { ...NIGHT, timeZone: "Asia/Kathmandu" };
    expect(windowState(odd, at("2026-01-05T12:00Z"))).toEqual(
      closed("2026-01-05T00:15Z", "2026-01-05T16:15Z"),
    );
  });

  it("is written as it was given", () => {
    expect(windowText(NIGHT)).toBe("22:00-06:00");
    expect(windowText({ ...NIGHT, fromMinute: 5, toMinute: 23 * 60 + 59 })).toBe("00:05-23:59");
  });
});
