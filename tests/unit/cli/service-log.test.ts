import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RotatedFile } from "@drover/cli/log/rotated-file";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

let dir: string;
let path: string;
beforeEach(() => {
  dir = `/tmp/dv-log-${process.pid}`;
  mkdirSync(dir);
  path = join(dir, "service.log");
});
afterEach(() => rmSync(dir, { recursive: true }));

const text = (name: string) => readFileSync(join(dir, name), "utf8");

describe("the log file of the service", () => {
  it("becomes FILE.1 once it is too large, and the one before that is gone", () => {
    const file = new RotatedFile(path, 10);
    for (let at = 0; at < 8; at++) file.write(`line ${at}\n`);
    expect([text("service.log.1"), text("service.log")]).toEqual(["line 4\nline 5\n", "line 6\nline 7\n"]);
    expect(readdirSync(dir).sort()).toEqual(["service.log", "service.log.1"]);
  });

  it("goes on with what is there, and counts it", () => {
    writeFileSync(path, "from before, and large\n");
    const file = new RotatedFile(path, 10);
    file.write("ü\n");
    expect([text("service.log.1"), text("service.log")]).toEqual(["from before, and large\n", "ü\n"]);
  });

  it("grows on where it cannot be renamed, and rotates once it can", () => {
    const file = new RotatedFile(path, 10);
    mkdirSync(`${path}.1/x`, { recursive: true }); // a directory that is not empty is in the way, for root too
    for (let at = 0; at < 4; at++) file.write(`line ${at}\n`);
    expect(text("service.log")).toBe("line 0\nline 1\nline 2\nline 3\n");
    rmSync(`${path}.1`, { recursive: true });
    for (let at = 4; at < 6; at++) file.write(`line ${at}\n`);
    expect(text("service.log.1")).toContain("line 0\n");
  });

  it("is followed by its name: what others rename or remove gets no more lines", () => {
    const file = new RotatedFile(path);
    file.write("one\n");
    renameSync(path, `${path}.old`);
    file.write("two\n");
    rmSync(path);
    file.write("three\n");
    expect([text("service.log.old"), text("service.log")]).toEqual(["one\n", "three\n"]);
  });

  it("is rotated by one of several that write to it", () => {
    const [one, other] = [new RotatedFile(path, 10), new RotatedFile(path, 10)];
    for (let at = 0; at < 4; at++) (at % 2 ? one : other).write(`line ${at}\n`);
    expect([text("service.log.1"), text("service.log")]).toEqual(["line 0\nline 1\n", "line 2\nline 3\n"]);
  });

  it("tells once of a full disk, and never renames what is no file", () => {
    const codes: string[] = [];
    const file = new RotatedFile("/dev/full", 0, (code) => codes.push(code));
    file.write("one\n");
    file.write("two\n");
    expect(codes).toEqual(["ENOSPC"]);
  });
});
