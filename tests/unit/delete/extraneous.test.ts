import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findExtraneous } from "@drover/producer/delete/remove-extraneous";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { expect, test } from "vitest";
import { specOf } from "../../integration/helpers/fleet.js";

test("files that a run has already removed count towards its limit", async () => {
  const dir = mkdtempSync("/tmp/dv-");
  const [source, root] = [join(dir, "in"), join(dir, "out")];
  for (const each of [source, root]) mkdirSync(each);
  writeFileSync(join(source, "a"), "a");
  for (const name of ["a", "b", "c"]) writeFileSync(join(root, name), name);
  const tree = new LocalTree(root);
  const spec = specOf({ root, sources: [source], delete: { most: { files: 3 } } });
  const { signal } = new AbortController();
  const refused = async (removed: number) => {
    const trees = { spec, sources: [source], tree, signal, warn: () => {} };
    const found = await findExtraneous(trees, { removed, added: 0 });
    found.extraneous.close();
    return found.refused;
  };
  expect(await refused(1)).toBe("");
  expect(await refused(2)).toBe("4 of 5 files would be, and --max-delete allows 3");
  tree.close();
  rmSync(dir, { recursive: true });
});
