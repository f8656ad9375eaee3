import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";

const BUNDLE = join(REPOSITORY, "packages/cli/bundle");

/** The files of the bundle that one loads before it does anything. */
function loadedBy(name: string, found = new Set<string>()): Set<string> {
  if (found.has(name)) return found;
  found.add(name);
  const text = readFileSync(join(BUNDLE, name), "utf8");
  for (const [, next = ""] of text.matchAll(/^import (?:.*? from )?"\.\/(.*)";$/gm)) loadedBy(next, found);
  return found;
}

it("a command loads little before it knows what it is to do: no run, no log, no manual", () => {
  const loaded = [...loadedBy("program.js")];
  expect(loaded).not.toContain("run.js");
  expect(loaded.length).toBeGreaterThan(3);
  const bytes = loaded.reduce((sum, name) => sum + statSync(join(BUNDLE, name)).size, 0);
  expect(bytes).toBeLessThan(500_000);
  const text = loaded.map((name) => readFileSync(join(BUNDLE, name), "utf8")).join("\n");
  for (const module of ["log/open-log", "reference/table", "settings/service-settings"])
    expect(text).not.toContain(`// packages/cli/dist/${module}.js`);
});
