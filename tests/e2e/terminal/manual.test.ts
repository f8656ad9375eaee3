import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildProgram } from "@drover/cli/program";
import { manPages } from "@drover/cli/reference/man";
import { roff } from "@drover/cli/reference/roff";
import { allCommands, commandTable } from "@drover/cli/reference/table";
import { SETTINGS, type SettingName, variableOf } from "@drover/cli/settings/settings";
import { describe, expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { isInstalled } from "../../harness/shell.js";

const table = commandTable(buildProgram(() => {}));
const pages = manPages(table, { version: "1.2.3", date: "2026-11-29" });
const commands = table.commands.filter(({ path }) => path[0] !== "help");
const all = [...pages.values()].join("");

describe("the manual", () => {
  it("has a page for the program and for each command, with all that is below it", () => {
    expect([...pages.keys()].sort()).toEqual(
      ["drover.1", ...commands.map(({ path }) => `drover-${path[0]}.1`)].sort(),
    );
    for (const command of commands) {
      const page = pages.get(`drover-${command.path[0]}.1`) ?? "";
      for (const row of allCommands(command).filter(({ path }) => path.at(-1) !== "help")) {
        expect(page).toContain(roff(`drover ${row.path.join(" ")}`));
        for (const { names } of row.options)
          for (const name of names)
            expect([row.path, page.includes(`\\fB${roff(name)}\\fR`)]).toEqual([row.path, true]);
      }
      for (const { names } of table.options.filter((option) => !option.names.includes("--version")))
        expect(page).toContain(`\\fB${roff(names[0] as string)}\\fR`);
      for (const [, line] of command.examples) expect(page).toContain(roff(line));
    }
  });

  it("tells of all commands, variables, exit codes and files in drover(1)", () => {
    const page = pages.get("drover.1") ?? "";
    for (const { path } of commands) expect(page).toContain(`\\fB${roff(`drover ${path[0]}`)}\\fR`);
    for (const name of Object.keys(SETTINGS) as SettingName[])
      for (const variable of [variableOf(name), ...SETTINGS[name].environment])
        expect(page).toContain(`\\fB${variable}\\fR`);
    for (const heading of ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"])
      expect(page).toContain(`\n.SH ${heading}\n`);
    for (const code of [0, 1, 2, 3, 130]) expect(page).toContain(`.TP\n\\fB${code}\\fR\n`);
    const told =
      readFileSync(join(REPOSITORY, "docs/exit-codes.md"), "utf8").split("## drover fetch")[1] ?? "";
    const fetch = [...(told.split("\n## ")[0] ?? "").matchAll(/^\| (\d+) /gm)].map(([, code]) => code);
    for (const code of fetch) expect(pages.get("drover-fetch.1")).toContain(`.TP\n\\fB${code}\\fR\n`);
  });

  it("is ASCII, so that any roff shows it", () => {
    expect(all).toMatch(/^[\x20-\x7e\n]*$/);
  });

  it.skipIf(!isInstalled("mandoc"))(
    "is what mandoc finds nothing in (skipped without mandoc)",
    ({ work }) => {
      for (const [name, text] of pages) work.write({ [name]: text });
      const { stdout } = spawnSync("mandoc", ["-Tlint", ...pages.keys()], {
        cwd: work.path,
        encoding: "utf8",
      });
      // The line with the name and the purpose has to be one.
      expect(
        stdout.split("\n").filter((line) => line !== "" && !line.includes("input text line longer")),
      ).toEqual([]);
    },
  );

  it.skipIf(!isInstalled("groff"))("is what groff warns of nothing in (skipped without groff)", () => {
    const made = spawnSync("groff", ["-ww", "-man", "-Tutf8"], { input: all, encoding: "utf8" });
    expect([made.status, made.stderr]).toEqual([0, ""]);
  });

  it.skipIf(!isInstalled("man") || !isInstalled("groff"))(
    "is shown by man (skipped without man)",
    ({ work }) => {
      const env = { ...process.env, MANWIDTH: "100", MAN_KEEP_FORMATTING: "", LC_ALL: "C.UTF-8" };
      const shown = (name: string) =>
        execFileSync("man", ["-l", work.write({ [name]: pages.get(name) ?? "" })], { env, encoding: "utf8" });
      expect(shown("drover.1")).toMatch(/^ +drover - moves files$/m);
      const sync = shown("drover-sync.1");
      expect(sync).toMatch(/^ +-n, --dry-run$/m);
      expect(sync).toMatch(/^ +delay before try n\+1: 1 s × factor\^\(n-1\)/m);
      expect(sync).toMatch(/^ +drover sync photos --to \/mnt\/photos --delete --dry-run$/m);
    },
  );
});
