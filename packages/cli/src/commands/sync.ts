import type { FleetRun } from "@drover/producer/runs/fleet-run";
import type { PlannedRun } from "@drover/producer/runs/plan";
import { SettingsError } from "@drover/shared/errors";
import type { Command } from "commander";
import { formatOf } from "../display/format.js";
import { EXIT } from "../exit.js";
import { detail, reportError, setVerbose, warn } from "../output.js";
import { readFilters } from "../settings/filter-files.js";
import { addSettings, RETENTION, S3, STATE, settingsOf, TRANSFER } from "../settings/flags.js";
import { type RequestFlags, requestOf } from "../settings/run-request.js";
import type { Resolved } from "../settings/settings.js";
import { collect, type Exit, HOST_LIMIT_HELP, type OutputFlags } from "./options.js";

interface SyncFlags extends RequestFlags, OutputFlags {
  dryRun?: boolean;
  /** Whether to submit the run to the fleet without following it. */
  detach?: boolean;
  hostLimit?: string[];
  verbose?: boolean;
}

/** `drover sync SOURCE…` */
export function addSync(program: Command, exit: Exit): void {
  const filters: string[] = [];
  const rule = (sign: "+" | "-") => (glob: string) => {
    filters.push(`${sign} ${glob}`);
    return glob;
  };
  const rules = (sign: "+" | "-" | undefined) => (file: string) => {
    filters.push(...readFilters(file, sign));
    return file;
  };
  const command = program
    .command("sync")
    .description("sync URLs, S3 objects, files and directories to a directory or to S3")
    .argument("[source...]", "http(s) URLs, s3://bucket/key or prefix, files, file:// URLs, directories")
    .option(
      "--from-file <LIST>",
      "sources from a file, one a line: source [TAB destination [TAB sha256]]; - is stdin",
    )
    .option(
      "--pattern <GLOB>",
      "files of directories and prefixes to take (repeatable; !GLOB excludes; default: *)",
      collect,
    )
    .option(
      "--include <GLOB>",
      "take matching files of directories; the first of these that matches decides",
      rule("+"),
    )
    .option("--exclude <GLOB>", "leave matching files of directories out; in order with --include", rule("-"))
    .option("--include-from <FILE>", "globs to include, one a line; in order with --include", rules("+"))
    .option("--exclude-from <FILE>", "globs to exclude, one a line; in order with --exclude", rules("-"))
    .option(
      "--filter-from <FILE>",
      "'+ GLOB' and '- GLOB', one a line; in order with the others",
      rules(undefined),
    )
    .option(
      "--min-size <SIZE>",
      "leave smaller files of directories out, e.g. 10K (KiB where it has no unit)",
    )
    .option("--max-size <SIZE>", "leave larger files of directories out")
    .option("--min-age <AGE>", "leave younger files of directories out, e.g. 10m, 2d, or a date")
    .option("--max-age <AGE>", "leave older files of directories out")
    .option("--delete", "remove at the destination what directories and prefixes do not have")
    .option("--max-delete <N|P%>", "delete nothing where it would be more (default: 50%)")
    .option(
      "--backup-dir <DIR>",
      "keep what is overwritten or deleted there: a directory, or s3://bucket/prefix",
    )
    .option(
      "--suffix <SUFFIX>",
      "add this to the names of what is kept; without --backup-dir keep it beside the new file",
    )
    .option("--checksum <SOURCE=SHA256>", "expected checksum of a source (repeatable)", collect)
    .option("--header <'K: V'>", "request header for the sources' own hosts (repeatable)", collect)
    .option("--json", "results as a JSON array on standard output")
    .option("--ndjson", "results as one JSON object a line")
    .option("--dry-run", "say what would be copied and deleted, and why; change nothing")
    .option("--detach", "with --redis: print the run's id and leave it to the fleet")
    .option("--host-limit <HOST=LIMIT>", HOST_LIMIT_HELP, collect)
    .option("--verbose", "retries, and stack traces of errors");
  addSettings(command, [...TRANSFER, ...S3, ...RETENTION, ...STATE]).action(
    async (sources: string[], options: SyncFlags, command: Command) => {
      setVerbose(options.verbose ?? false);
      exit(await sync(sources, { ...options, filters }, await settingsOf(command)));
    },
  );
}

/**
 * Checks all settings before anything changes, then carries the run or submits it to the fleet, and shows it.
 */
async function sync(sources: string[], flags: SyncFlags, resolved: Resolved): Promise<number> {
  const { redis, "state-dir": stateDir } = resolved.values as { redis?: string; "state-dir": string };
  const { "keep-runs": keepRuns } = resolved.values;
  const format = formatOf(flags);
  const request = requestOf(sources, flags, resolved);
  const { planRun } = await import("@drover/producer/runs/plan");
  const planned = await planRun(request);
  if (flags.delete && flags.detach)
    throw new SettingsError(
      "--delete needs the command to stay until everything has arrived: leave --detach out",
    );
  const { checkBackup, prepareDestination } = await import("@drover/producer/runs/destination");
  await checkBackup(planned);
  if (flags.dryRun) {
    const { showDryRun } = await import("../display/show-dry-run.js");
    return await showDryRun(planned, format, { redis, stateDir });
  }
  const fleets = flags.detach ? "--detach" : flags.hostLimit ? "--host-limit" : undefined;
  if (fleets && redis === undefined)
    throw new SettingsError(`${fleets} needs a fleet: name its Redis with --redis`);
  const { parseHostLimit } = await import("@drover/shared/protocol/host-limits");
  const hostLimits = (flags.hostLimit ?? []).map(parseHostLimit);
  await prepareDestination(planned);
  // Redis starts while the remaining modules are loaded.
  const { openEngine } = await import("@drover/shared/engine");
  const opening = openEngine({ redis, stateDir });
  opening.catch(() => {}); // awaited below
  const { submit, submitDetached } = await import("@drover/producer/runs/submit");
  const { startLocalPool } = await import("@drover/worker/runtime/local-worker-pool");
  const { isLive, showRun } = await import("../display/show-run.js");
  const engine = await opening;
  try {
    if (flags.detach) {
      const handle = await submitDetached(engine, planned, { stateDir, keepRuns, hostLimits, warn });
      return await leave(handle);
    }
    const options = { startPool: startLocalPool, stateDir, keepRuns, hostLimits, live: isLive(format), warn };
    const handle = await submit(engine, planned, options);
    if (!planned.spec.fleet) detail(`run ${handle.run.id}`); // of a fleet's run the display says it
    return await showRun(engine, handle, { format, title: titleOf(planned) });
  } finally {
    engine.close();
  }
}

/** Submits a run to its fleet and prints its id. */
async function leave(handle: FleetRun): Promise<number> {
  const { SILENT } = await import("@drover/producer/runs/run-handle");
  const { ListingError } = await import("@drover/shared/storage/listing-error");
  const { id } = handle.run;
  try {
    const batches = await handle.submitAll({ ...SILENT, warn });
    process.stdout.write(`${id}\n`);
    await handle.untilDurable(batches);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ListingError)) throw error;
    process.stdout.write(`${id}\n`);
    const remedy = error.remedy ?? `drover resume ${id} lists on`;
    reportError(`${error.message}; not everything was found: ${remedy}`);
    return EXIT.some;
  }
}

function titleOf({ spec, secrets }: PlannedRun): string {
  const count = secrets.sources.length;
  const many = count === 1 ? "1 source" : `${count} sources`;
  const hasList = spec.list !== undefined || spec.listIsStdin;
  return `Syncing ${!hasList ? many : count > 0 ? `${many} and a list` : "a list"}...`;
}
