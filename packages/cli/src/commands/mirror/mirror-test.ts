import { existsSync } from "node:fs";
import { type MirrorContext, withLister } from "@drover/mirror/context";
import { exportTo } from "@drover/mirror/export/state-file";
import { isLive } from "@drover/mirror/state/entry";
import { pairs } from "@drover/mirror/state/pairs";
import { statusOf } from "@drover/mirror/status";
import { incrementalSync, initialSync } from "@drover/mirror/sync/sync";
import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { destinationOf } from "@drover/shared/storage/registry";
import { paint } from "../../display/color.js";
import { EXIT } from "../../exit.js";
import type { Resolved } from "../../settings/settings.js";
import { type MirrorFlags, syncOnce, withMirror } from "./mirror-actions.js";

/** A step of the test: what it found, for people. It throws what is wrong. */
type Step = [name: string, check: (context: MirrorContext) => Promise<string>];

const STEPS: Step[] = [
  [
    "status and health",
    async ({ engine, config }) => {
      const status = await statusOf(engine, config.name, 1);
      return `${status.records} records, ${status.pending} pending, ${status.events_waiting} events waiting`;
    },
  ],
  ["Redis", async ({ engine }) => await engine.redis.ping()],
  [
    "source",
    async (context) => {
      const { signal } = new AbortController();
      return await withLister(context, signal, async (lister, location) => {
        const listing = lister.list(location, { wanted: () => true, after: undefined });
        const first = await listing.next();
        await listing.return(undefined);
        return first.done ? `${location} can be listed, and is empty` : `${location} can be listed`;
      });
    },
  ],
  [
    "destination",
    async ({ config, whole }) => {
      if (whole.spec.fleet) return `${config.root} is written by the fleet`;
      await destinationOf(config.root).prepare(config.root, whole.spec);
      return `${config.root} can be written`;
    },
  ],
  [
    "sync",
    async (context) => {
      const { initialMs } = await context.state.fields();
      const sync = initialMs === undefined ? initialSync : incrementalSync;
      const report = await syncOnce(context, sync, new AbortController().signal);
      if (report?.status !== "success")
        throw new Error(
          `${report?.status}: ${report?.error ?? `${report?.operations_failed} operations failed`}`,
        );
      return `${report.sync} sync: ${report.events_processed} events, ${report.operations_executed} operations`;
    },
  ],
  [
    "CSV export",
    async (context) => {
      let bytes = 0;
      const records = await exportTo(context, undefined, async (chunks) => {
        for await (const chunk of chunks) bytes += chunk.length;
      });
      return `${records} records, ${bytes} bytes`;
    },
  ],
  [
    "final state",
    async (context) => {
      let records = 0;
      let differ = 0;
      for await (const { wanted, applied } of pairs(context)) {
        if (!isLive(wanted)) continue;
        records++;
        if (applied?.version !== wanted.version) differ++;
      }
      const pending = await context.state.pendingCount();
      const { database } = context.config;
      if (differ + pending > 0)
        throw new Error(`${differ} of ${records} records are not applied, ${pending} pending`);
      if (database !== undefined && records > 0 && !existsSync(database))
        throw new Error(`there is no ${database}`);
      return `${records} records, all applied`;
    },
  ],
];

/** `drover mirror test`: each step of the workflow, told as it ends. */
export async function testMirror(flags: MirrorFlags, resolved: Resolved): Promise<number> {
  return await withMirror(flags, resolved, async (context) => {
    let failed = 0;
    for (const [name, check] of STEPS) {
      try {
        process.stdout.write(`${paint("ok", "✓")} ${name}: ${await check(context)}\n`);
      } catch (error) {
        failed++;
        process.stdout.write(`${paint("error", "✗")} ${name}: ${redactText(messageOf(error))}\n`);
      }
    }
    process.stdout.write(failed === 0 ? "all steps passed\n" : `${failed} of ${STEPS.length} steps failed\n`);
    return failed === 0 ? EXIT.ok : EXIT.some;
  });
}
