import { hasColor, paint, setColor } from "@drover/cli/display/color";
import { afterEach, describe, expect, it } from "vitest";

const terminal = { isTTY: true };
const pipe = {};
afterEach(() => setColor("auto"));

describe("hasColor", () => {
  it.each([
    [terminal, {}, true],
    [pipe, {}, false],
    [terminal, { TERM: "dumb" }, false],
    [terminal, { NO_COLOR: "1" }, false],
    [terminal, { NO_COLOR: "" }, true],
    [pipe, { FORCE_COLOR: "1" }, true],
    [terminal, { FORCE_COLOR: "0" }, false],
    [pipe, { FORCE_COLOR: "" }, false],
    [pipe, { CLICOLOR_FORCE: "1" }, true],
    [pipe, { CLICOLOR_FORCE: "0" }, false],
    [pipe, { CLICOLOR_FORCE: "1", TERM: "dumb" }, true],
    [pipe, { FORCE_COLOR: "1", NO_COLOR: "1" }, false],
  ])("of %j with %j is %s", (stream, env, expected) => {
    expect(hasColor(stream, env)).toBe(expected);
    setColor("always");
    expect(hasColor(stream, env)).toBe(true);
    setColor("never");
    expect(hasColor(stream, env)).toBe(false);
  });

  it("decides about what is painted", () => {
    setColor("always");
    expect(paint("error", "text", pipe)).toBe("\u001b[31mtext\u001b[39m");
    setColor("never");
    expect(paint("error", "text", terminal)).toBe("text");
  });
});
