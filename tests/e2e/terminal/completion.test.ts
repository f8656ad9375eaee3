import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { buildProgram } from "@drover/cli/program";
import { bashCompletion } from "@drover/cli/reference/bash";
import { fishCompletion } from "@drover/cli/reference/fish";
import { allCommands, commandTable, globalOptions } from "@drover/cli/reference/table";
import { zshCompletion } from "@drover/cli/reference/zsh";
import { describe, expect, vi } from "vitest";
import { hasTerminal } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { isInstalled, Shell, type ShellName, writeEchoingDrover } from "../../harness/shell.js";

const table = commandTable(buildProgram(() => {}));
const SCRIPTS = { bash: bashCompletion(table), zsh: zshCompletion(table), fish: fishCompletion(table) };

/** What is typed, where `\t` is Tab, and what drover is called with then. */
const LINES: [typed: string, called: string][] = [
  ["drover bis\t", "<bisync>"],
  ["drover mirror inc\t", "<mirror><incremental-sync>"],
  ["drover --color alw\t bisy\t", "<--color><always><bisync>"],
  ["drover sync --log-lev\tdeb\t x", "<sync><--log-level=debug><x>"],
  ["drover bisync --conflict new\t", "<bisync><--conflict><newest-wins>"],
  ["drover sync --layout=u\t", "<sync><--layout=url>"],
  ["drover settings che\t", "<settings><check>"],
  ["drover settings a-d\t", "<settings><a-dir/>"],
  ["drover cp my\t", "<cp><my file:1.txt>"],
  ["drover --log-file my\t runs", "<--log-file><my file:1.txt><runs>"],
  ["drover runs --log-file=my\t", "<runs><--log-file=my file:1.txt>"],
  ["drover status late\t", "<status><latest>"],
  ["drover retry latest --host localhost:\t", "<retry><latest><--host><localhost:9>"],
  ["drover retry latest --host=localhost:\t", "<retry><latest><--host=localhost:9>"],
  ["drover sync --host-limit local\tconn:8", "<sync><--host-limit><localhost:9=conn:8>"],
  ["drover runs --label nightly:\\ b\t", "<runs><--label><nightly: big one>"],
  ["drover runs --label 'nightly: b\t", "<runs><--label><nightly: big one>"],
];

describe.for(["bash", "zsh", "fish"] satisfies ShellName[])("in %s", (name) => {
  it.skipIf(!hasTerminal || !isInstalled(name))(
    `Tab completes (skipped without python3 and ${name})`,
    async ({ box, work, fleet }) => {
      work.write({ "my file:1.txt": "", "in/a": "a", "a-dir/x": "" });
      const own = ["--retries", "1", ...fleet.own, "--detach"];
      await box.run(["sync", work.at("in"), ...work.into, ...own, "--label", "nightly: big one"]);
      await box.run(["sync", "http://localhost:9/x", ...work.into, ...own]);
      const path = `${writeEchoingDrover(work.at("bin"))}:${process.env.PATH}`;
      writeFileSync(work.at("script"), SCRIPTS[name]);
      mkdirSync(work.at("home"));
      const env = {
        ...{ PATH: path, HOME: work.at("home"), TERM: "xterm", LC_ALL: "C.UTF-8", PS1: "$ " },
        ...{ DROVER_REDIS: fleet.url, DROVER_COMPLETE_MS: "20000" },
      };
      const shell = await Shell.start(name, work.at("script"), { cwd: work.path, env });
      try {
        for (const [typed, expected] of LINES) {
          const called = await shell.call(typed);
          // zsh brings the equals sign where the others have a blank, and takes the slash away again.
          const same = called
            .replace("<--log-level><debug>", "<--log-level=debug>")
            .replace("<a-dir>", "<a-dir/>");
          expect(same, typed).toBe(expected);
        }
      } finally {
        shell.stop();
      }
    },
  );
});

describe("the scripts", () => {
  const rows = allCommands(table);
  const shared = globalOptions(table).flatMap(({ names }) => names);
  const namesOf = (row: (typeof rows)[number]) => row.options.flatMap(({ names }) => names);
  const fishFlag = (name: string) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`);

  it("know all commands with all of their options, in bash", () => {
    const asked = rows.map(({ path }) => `_drover_command '${path.join(" ")}'; printf "%s\\n" "$options"`);
    const script = `${SCRIPTS.bash}\n${asked.join("\n")}`;
    const lines = execFileSync("bash", ["--norc", "-c", script], { encoding: "utf8" }).trimEnd().split("\n");
    rows.forEach((row, at) => {
      const known = lines[at]?.split(" ") ?? [];
      expect([row.path, new Set(known)]).toEqual([row.path, new Set([...namesOf(row), ...shared])]);
    });
    expect(rows.length).toBeGreaterThan(50);
  });

  it("know them in zsh and in fish", () => {
    const functions = SCRIPTS.zsh.split(/^(?=_drover)/m);
    const fishLines = SCRIPTS.fish.split("\n");
    for (const row of rows) {
      const called = ["_drover", ...row.path].join("_").replaceAll("-", "_");
      const body = functions.find((text) => text.startsWith(`${called}()`)) ?? "";
      const at = fishLines.filter((line) => line.includes(`-n '__drover_at \\'${row.path.join(" ")}\\''`));
      for (const name of [...namesOf(row), ...shared])
        expect([called, name, new RegExp(`^ +'\\*?${name}[=+[]`, "m").test(body)]).toEqual([
          called,
          name,
          true,
        ]);
      for (const name of namesOf(row).filter((each) => !shared.includes(each)))
        expect([row.path, name, at.some((line) => line.includes(` ${fishFlag(name)} `))]).toEqual([
          row.path,
          name,
          true,
        ]);
      for (const { path } of row.commands)
        expect(at.some((line) => line.includes(` -a ${path.at(-1)} `))).toBe(true);
    }
    for (const name of shared) expect(SCRIPTS.fish).toContain(`\ncomplete -c drover ${fishFlag(name)} `);
  });

  it("are printed by drover completion", async () => {
    for (const name of ["bash", "zsh", "fish"] as const) {
      const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
      await buildProgram(() => {}).parseAsync(["completion", name], { from: "user" });
      const written = write.mock.calls.map(([text]) => text).join("");
      write.mockRestore();
      expect(written === SCRIPTS[name]).toBe(true);
    }
  });
});

describe("what Redis knows", () => {
  it("is told of the state directory where no Redis is named, with the options of the line", async ({
    box,
    work,
  }) => {
    const state = work.at("my state");
    const env = { DROVER_COMPLETE_MS: "20000" };
    const ask = async (...words: string[]) =>
      (await box.run(["__complete", "labels", "--", ...words], { env })).stdout;
    expect(await ask("sync", "--state-dir", state)).toBe("");
    expect(existsSync(state)).toBe(false);
    await box.run(["sync", work.write({ a: "a" }), ...work.into, "--label", "here", "--state-dir", state]);
    expect(await ask("sync", "--state-dir", `'${state}'`)).toBe("here\n");
    expect(await ask("sync", `--state-dir=${state.replace(" ", "\\ ")}`)).toBe("here\n");
    expect(await ask("sync")).toBe("");
  });

  it("is nothing at all where anything goes wrong, and soon", async ({ box, work }) => {
    work.write({ "drover.yaml": "retrys: 3\n" });
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await new Promise((resolve) => silent.once("listening", resolve));
    const { port } = silent.address() as { port: number };
    try {
      const asked = await Promise.all([
        box.run(["__complete", "runs", "--", "--redis", `redis://127.0.0.1:${port}`]),
        box.run(["__complete", "runs", "--", "--redis", "redis://127.0.0.1:9"]),
        box.run(["__complete", "runs", "--", "--redis", "nonsense://"]),
        box.run(["__complete", "constructor", "--", "x"]),
        box.run(["__complete", "runs"], { cwd: work.path, env: { DROVER_NONSENSE: "1" } }),
      ]);
      for (const { code, stdout, stderr, durationMs } of asked) {
        expect([code, stdout, stderr]).toEqual([0, "", ""]);
        expect(durationMs).toBeLessThan(5_000); // far less than Redis is waited for otherwise
      }
    } finally {
      silent.close();
    }
  });
});
