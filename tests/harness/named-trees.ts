import { relative } from "node:path";
import { expect } from "vitest";
import { filesBelow, type Sandbox } from "./drover.js";
import type { Work } from "./fixtures.js";

/** Paths of the files below a directory. */
export const here = (directory: string) => filesBelow(directory).map((path) => relative(directory, path));

/** Files by name, each holding its name. */
export function named(below: string, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [`${below}/${name}`, name]));
}

/** Syncs `in` once, so that Drover knows the tree. */
export async function synced(box: Sandbox, work: Work, names: readonly string[]): Promise<void> {
  work.write(named("in", names));
  const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into]);
  expect([code, stderr]).toEqual([0, ""]);
}
