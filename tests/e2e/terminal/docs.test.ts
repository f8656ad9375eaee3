import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildProgram } from "@drover/cli/program";
import { manPages } from "@drover/cli/reference/man";
import { commandTable } from "@drover/cli/reference/table";
import { describe, expect } from "vitest";
import { REPOSITORY, type Sandbox } from "../../harness/drover.js";
import { it, type Work } from "../../harness/fixtures.js";
import { isInstalled } from "../../harness/shell.js";

const DOCUMENT = readFileSync(join(REPOSITORY, "docs/terminal.md"), "utf8");
const blocks = (kind: string) =>
  [...DOCUMENT.matchAll(new RegExp(`^\`\`\`${kind}\n(.*?)^\`\`\``, "gms"))].map(([, text = ""]) => text);

/** What differs from run to run, and from machine to machine. */
function lasting(text: string, work: Work): string {
  return text
    .replaceAll(work.path, "/srv")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/r[a-z0-9]{8}-[0-9a-f]{6}/g, "RUN")
    .replace(/(pid"?[=:]|duration_ms"?[=:])\d+/g, "$1N")
    .replace(/[\d.]+ k?B\/s|[\d.]+s\b/g, "N");
}

/** Runs lines of a shell one after another in one bash, with `drover` on its PATH. @returns what they print. */
function bash(script: string, box: Sandbox, work: Work): string {
  work.write({ "data/a.csv": "abc\n" });
  const program = work.write({
    "bin/drover": `#!/bin/sh\nexec '${process.execPath}' '${join(REPOSITORY, "packages/cli/bundle/main.js")}' "$@"\n`,
  });
  chmodSync(program, 0o755);
  const env = {
    ...{ PATH: `${work.at("bin")}:${process.env.PATH}`, HOME: box.home, LC_ALL: "C.UTF-8" },
    ...{ XDG_STATE_HOME: box.state, XDG_RUNTIME_DIR: box.runtime, DROVER_EMBEDDED_IDLE_MS: "2000" },
    ...{ MANPATH: work.at("man"), MANPAGER: "cat" },
  };
  return execFileSync("bash", ["-c", `exec 2>&1\n${script}`], { cwd: work.path, env, encoding: "utf8" });
}

describe("docs/terminal.md", () => {
  it("shows what is printed", ({ box, work }) => {
    const session = blocks("console").join("");
    const script = session
      .split("\n")
      .filter((line) => line.startsWith("$ "))
      .map((line) => line.slice(2))
      // The line itself, and the exit code as the line before left it.
      .map((line) => `code=$?; printf '$ %s\\n' '${line.replaceAll("'", "'\\''")}'; (exit $code)\n${line}`);
    expect(script.length).toBeGreaterThan(7);
    const printed = bash(script.join("\n"), box, work);
    expect(lasting(printed, work)).toBe(lasting(session, work));
  });

  it.skipIf(!isInstalled("man"))("has lines that a shell takes (skipped without man)", ({ box, work }) => {
    const pages = manPages(commandTable(buildProgram(() => {})), { version: "1.2.3", date: "2026-11-29" });
    for (const [name, text] of pages) work.write({ [`man/man1/${name}`]: text });
    const lines = blocks("sh").join("");
    const printed = bash(`set -e\ndrover sync data --to out -q\n${lines}`, box, work);
    expect(printed).toMatch(/^run r\S+: done/m);
    expect(printed).toMatch(/^ +drover - moves files$/m);
    expect(printed).toMatch(/^ +drover-sync +- /m);
    expect(readFileSync(work.at("status.txt"), "utf8")).toContain("1 file: 1 copied");
    for (const name of [
      ".local/share/bash-completion/completions/drover",
      ".drover-completion",
      ".zfunc/_drover",
      ".config/fish/completions/drover.fish",
    ])
      expect([name, existsSync(join(box.home, name))]).toEqual([name, true]);
    const completions = "source ~/.drover-completion; complete -p drover";
    expect(bash(completions, box, work)).toBe("complete -o default -F _drover drover\n");
    for (const name of ["bash", "zsh", "fish"]) expect(lines).toContain(`drover completion ${name} >`);
  });
});
