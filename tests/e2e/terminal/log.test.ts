import { existsSync, readFileSync, statSync } from "node:fs";
import { buildProgram } from "@drover/cli/program";
import { allCommands, commandTable } from "@drover/cli/reference/table";
import { SettingsError } from "@drover/shared/errors";
import type { Command } from "commander";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { CANARY } from "../../harness/canaries.js";
import { it, type Work } from "../../harness/fixtures.js";

interface Line {
  level: string;
  ts: string;
  message: string;
  [field: string]: unknown;
}
const read = (path: string) => readFileSync(path, "utf8");
const linesOf = (path: string): Line[] =>
  read(path)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
/** `2026-11-29T12:00:00.123Z INFO message key=value` */
const TEXT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) \S/;

function sources(work: Work): string {
  work.write({ "in/a.csv": "one", "in/b b.csv": "two" });
  return work.at("in");
}

describe("--log-file", () => {
  it("has what a run did, while what is printed stays as it is", async ({ box, work }) => {
    const plain = await box.run(["sync", sources(work), "--to", work.at("one")]);
    const logged = await box.run([
      "sync",
      work.at("in"),
      "--to",
      work.at("two"),
      "--log-file",
      work.at("log"),
    ]);
    const same = (text: string) =>
      text
        .split("\n")
        .map((line) => line.replace(/run \S+|[\d.]+s|[\d.]+ k?B\/s|\/(one|two)$/g, "_"))
        .sort();
    expect(same(logged.stdout)).toEqual(same(plain.stdout));
    expect(logged.stderr).toBe(plain.stderr);
    const lines = linesOf(work.at("log"));
    expect(lines.map(({ message }) => message)).toEqual([
      ...["started", "run started", "settled", "settled", "run ended", "ended"],
    ]);
    for (const line of lines)
      expect(line).toMatchObject({ level: "info", command: "sync", pid: expect.any(Number) });
    const run = /^run (\S+)$/m.exec(logged.stdout)?.[1];
    expect(lines[2]).toMatchObject({ run, outcome: "copied", bytes: 3 });
    expect(lines[4]).toMatchObject({ run, copied: 2, failed: 0 });
    expect(lines[5]).toMatchObject({ exit_code: 0 });
    expect(statSync(work.at("log")).mode & 0o777 & ~0o022).toBe(0o640);
  });

  it("takes format and level, before the command or behind it, from variables and files as well", async ({
    box,
    work,
  }) => {
    const rest = [sources(work), "--to", work.at("out")];
    await box.run([
      "--log-file",
      work.at("text"),
      "sync",
      ...rest,
      "--log-format",
      "text",
      "--log-level",
      "DEBUG",
    ]);
    const lines = read(work.at("text")).trimEnd().split("\n");
    for (const line of lines) expect(line).toMatch(TEXT);
    expect(lines.find((line) => line.includes("b.csv"))).toMatch(
      / DEBUG started command=sync .* source=".*\/in\/b b\.csv" attempt=1$/,
    );
    work.write({ "drover.yaml": "log-format: text\nlog-file: from-yaml\n" });
    await box.run(["sync", ...rest], { cwd: work.path, env: { DROVER_LOG_LEVEL: "error" } });
    expect(read(work.at("from-yaml"))).toBe(""); // all went well
    const { code } = await box.run(["status", "nothing-like-it"], { cwd: work.path });
    expect(code).toBe(2);
    expect(read(work.at("from-yaml"))).toMatch(/ ERROR .*nothing-like-it.* command=status pid=\d+\n/);
  });

  it("has no secrets, in either format", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", does.status(403)).replace("//", `//me:${CANARY}-user@`);
    work.write({ token: `${CANARY}-bearer` });
    const hunt = async (format: string) => {
      const log = ["--log-file", work.at(format), "--log-level", "debug", "--log-format", format];
      const secrets = ["--header", `X-Api-Key: ${CANARY}-header`, "--bearer-token-file", work.at("token")];
      const retries = ["--retries", "2", "--verbose"];
      await box.run(["sync", `${url}?token=${CANARY}-token`, ...work.into, ...log, ...secrets, ...retries]);
      await box.run(["runs", "--redis", `redis://me:${CANARY}-redis@127.0.0.1:9`, ...log]);
      await box.run([
        "fetch",
        "--source-url",
        `${url}?sig=${CANARY}-sig`,
        "--destination",
        work.at("f"),
        ...log,
      ]);
      const text = read(work.at(format));
      expect(text).toContain("/a.csv");
      expect(text).toContain("127.0.0.1:9");
      expect(text).not.toContain(CANARY);
    };
    await Promise.all([hunt("json"), hunt("text")]);
  });

  it("of a worker has the lines that it writes to its stream, in the format that is asked for", async ({
    work,
    fleet,
  }) => {
    const worker = await fleet.worker("--log-file", work.at("log"), "--log-format", "text");
    await worker.waitFor("stderr", /INFO worker ready/);
    worker.kill("SIGTERM");
    const { stderr } = await worker.result;
    const log = read(work.at("log"));
    for (const line of stderr.trimEnd().split("\n")) expect(log).toContain(`${line}\n`);
    for (const line of log.trimEnd().split("\n")) expect(line).toMatch(TEXT);
    expect(log).toMatch(/INFO started command=worker/);
  });

  it("of a full disk is told once, and the run goes on", async ({ box, work }) => {
    const { code, stderr } = await box.run([
      "sync",
      sources(work),
      "--to",
      work.at("out"),
      "--log-file",
      "/dev/full",
    ]);
    expect([code, stderr]).toEqual([0, "warning: cannot write the log to /dev/full (ENOSPC)\n"]);
  });

  it("that cannot be opened is refused before anything changes", async ({ box, work }) => {
    const refused = ["sync", sources(work), "--to", work.at("out"), "--log-file", work.at("none/log")];
    const { code, stdout, stderr } = await box.run([...refused, "--state-dir", work.at("state")]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toBe(`drover: cannot open the log file ${work.at("none/log")} (ENOENT)\n`);
    expect([existsSync(work.at("out")), existsSync(work.at("state"))]).toEqual([false, false]);
  });

  const leaves = allCommands(commandTable(buildProgram(() => {})))
    .filter(({ runs }) => runs)
    .map(({ path }) => path.join(" "))
    .filter((name) => !/(^| )help$|^completion$|^fetch$/.test(name));

  it.for(leaves)("is refused by drover %s too", async (name) => {
    const program = buildProgram(() => {});
    let command: Command | undefined = program;
    for (const part of name.split(" ")) command = command?.commands.find((each) => each.name() === part);
    const given =
      command?.registeredArguments.flatMap(({ variadic }) => (variadic ? ["x", "y"] : ["x"])) ?? [];
    const needed = command?.options
      .filter(({ mandatory }) => mandatory)
      .flatMap(({ long = "" }) => [long, "x"]);
    const args = [...name.split(" "), ...given, ...(needed ?? []), "--log-file", "/nowhere/log"];
    const refused = await program.parseAsync(args, { from: "user" }).catch((error) => error);
    expect(refused).toBeInstanceOf(SettingsError);
    expect(refused.message).toBe("cannot open the log file /nowhere/log (ENOENT)");
  });

  it("is refused by drover fetch with its own code", async ({ box }) => {
    const { code, stderr } = await box.run(["fetch", "--log-file", "/nowhere/log"]);
    expect(code).toBe(64);
    expect(stderr).toContain("cannot open the log file /nowhere/log (ENOENT)");
  });
});
