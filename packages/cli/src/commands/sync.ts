import { accessSync, constants } from "node:fs";
import { SettingsError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";
import { parseHostLimit } from "@drover/shared/protocol/host-limits";
import { isS3 } from "@drover/shared/storage/s3/name";
import { detail } from "../output.js";
import { checkSourcesApart } from "../plan-deletion.js";
import { planSync, type SyncFlags } from "../plan-sync.js";
import type { Resolved } from "../settings/settings.js";

/** `drover sync SOURCE…`: understands everything before anything changes, then carries the run. */
export async function sync(sources: string[], flags: SyncFlags, resolved: Resolved): Promise<number> {
  const plan = planSync(sources, flags, resolved.values);
  // A list may name anything.
  if (flags.delete && flags.detach)
    throw new SettingsError(
      "--delete needs the command to stay until everything has arrived: leave --detach out",
    );
  const toS3 = isS3(plan.spec.root);
  if (toS3 || plan.secrets.sources.some(isS3) || flags.fromFile !== undefined) {
    const { s3DestinationOf, s3SpecOf } = await import("../settings/s3-spec.js");
    plan.spec.s3 = await s3SpecOf(resolved);
    const other = toS3 ? await s3DestinationOf(resolved, plan.spec.s3) : undefined;
    if (other) plan.spec.s3Destination = other;
    checkSourcesApart(plan.spec);
  }
  const service = plan.spec.s3Destination ?? plan.spec.s3;
  const backup = plan.spec.delete?.backupDir;
  if (service && backup !== undefined && isS3(backup))
    await (await import("@drover/producer/runs/check-bucket")).checkBucket(backup, service);
  if (flags.dryRun) return (await import("../dry-run.js")).dryRun(plan, resolved.values);
  if (resolved.values.redis !== undefined) {
    // A fleet has limits of its own: only what the person asked for is another.
    if (resolved.origins["max-workers"] === "default") plan.spec.maxWorkers = 0;
    plan.spec.fleet = true;
    plan.spec.ownFlights = Object.keys(plan.secrets.headers).length > 0;
    const limits = (flags.hostLimit ?? []).map(parseHostLimit);
    return (await import("../fleet-run.js")).submit(plan, resolved.values, flags.detach ?? false, limits);
  }
  const fleets = flags.detach ? "--detach" : flags.hostLimit ? "--host-limit" : undefined;
  if (fleets) throw new SettingsError(`${fleets} needs a fleet: name its Redis with --redis`);
  if (toS3 && service)
    await (await import("@drover/producer/runs/check-bucket")).checkBucket(plan.spec.root, service);
  else prepareRoot(plan.spec.root);
  // Redis starts while the rest is loaded.
  const { openEngine } = await import("../engine.js");
  const opening = openEngine(resolved.values);
  opening.catch(() => {}); // awaited below
  const { runHere } = await import("../run-here.js");
  const { pruneRuns } = await import("@drover/shared/protocol/run-retention");
  const engine = await opening;
  try {
    await pruneRuns(engine);
    let stdin: NodeJS.ReadableStream | undefined;
    if (plan.pipe !== undefined) {
      const { keepPipe } = await import("@drover/producer/runs/piped-list");
      const kept = keepPipe(plan.pipe, resolved.values["state-dir"] as string);
      plan.spec.list = kept.path;
      stdin = kept.stream;
    }
    const id = await engine.ledger.create(plan.spec, plan.secrets);
    detail(`run ${id}`);
    const run = await engine.ledger.get(id);
    return await runHere(engine, run, plan.secrets, plan, stdin ? { stdin } : {});
  } finally {
    engine.close();
  }
}

/** Makes the root, so that one that cannot be written to is refused before anything else happens. */
function prepareRoot(root: string): void {
  try {
    makeDirectory(root);
    accessSync(root, constants.W_OK);
  } catch (error) {
    throw new SettingsError(
      `cannot write to ${root} (${(error as NodeJS.ErrnoException).code}): choose another --artifact-root`,
    );
  }
}
