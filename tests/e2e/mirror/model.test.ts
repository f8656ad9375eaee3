import { describe, expect } from "vitest";
import { fileManager } from "../../harness/file-servers.js";
import { managedTree } from "../../harness/managed-tree.js";
import { itMirrors as it } from "../../harness/mirror.js";
import { History, randomOf } from "../../harness/mirror-history.js";

/** Seeds that are played: those of DROVER_TEST_SEEDS (`3` or `3-10`), else one. */
function seeds(): number[] {
  const [from = 1, to = from] = (process.env.DROVER_TEST_SEEDS ?? "1").split("-").map(Number);
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}

/** Where a sync is killed. */
const POINTS = [
  ...["mirror-exported", "mirror-replayed", "mirror-applied", "mirror-reported"],
  ...["admit", "open", "commit", "committed", "move", "moved", "removed", "settled"],
];

describe("random histories with syncs that are killed", { timeout: 600_000 }, () => {
  for (const seed of seeds())
    it(`end as the bucket says at a file manager, in bytes and permissions (seed ${seed})`, async ({
      mirror,
    }) => {
      const manager = await fileManager.start();
      try {
        mirror.writeTo(manager.root);
        const random = randomOf(seed);
        const history = new History(mirror.s3, random, (...of) => mirror.event(...of));
        await mirror.tell(...history.play(10, false));
        await mirror.sync("initial-sync");
        for (let round = 0; round < 3; round++) {
          const drops = round === 2;
          await mirror.tell(...history.play(14, drops));
          const point = `${POINTS[random(POINTS.length)]}:${1 + random(3)}`;
          const { signal } = await mirror.run(["incremental-sync"], { DROVER_FAULT: point });
          const edits = history.play(4, drops);
          if (edits.length > 0) await mirror.tell(...edits);
          const report = await mirror.sync(drops ? "reconcile" : "incremental-sync");
          const where = `seed ${seed}, round ${round}, ${signal} at ${point}: ${JSON.stringify(report)}`;
          expect(report, where).toMatchObject({ status: "success", pending: 0 });
          expect(await managedTree(manager.root), where).toEqual(history.expected());
        }
      } finally {
        await manager.stop();
      }
    });
});
