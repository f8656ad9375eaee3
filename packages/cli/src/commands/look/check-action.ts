import {
  type CheckedPath,
  type CheckResult,
  check as checkSides,
  isEqual,
} from "@drover/producer/check/check";
import { checkCatalog } from "@drover/producer/check/check-catalog";
import {
  type Comparing,
  type PlannedSide,
  planCheck,
  planDestinationCheck,
} from "@drover/producer/check/plan-check";
import { SettingsError } from "@drover/shared/errors";
import { Catalog } from "@drover/shared/protocol/catalog";
import { storageOf } from "@drover/shared/storage/registry";
import { CheckReport, type ReportFlags } from "../../display/check-report.js";
import { EXIT } from "../../exit.js";
import { reportError, setVerbosity, warn } from "../../output.js";
import { checkTermsOf } from "../../settings/check-terms.js";
import { OptionError } from "../../settings/option-error.js";
import type { RequestFlags } from "../../settings/run-request.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import { withEngine } from "../engine.js";
import { knownTree } from "../known/catalog-actions.js";

/** Flags of `drover check`, as typed. */
export interface CheckFlags extends RequestFlags, ReportFlags {
  catalog?: string;
  sizeOnly?: boolean;
  download?: boolean;
  oneWay?: boolean;
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
}

/** `drover check SRC DST` and `drover check --catalog DEST`. @returns the exit code. */
export async function check(
  src: string | undefined,
  dst: string | undefined,
  flags: CheckFlags,
  resolved: Resolved,
): Promise<number> {
  setVerbosity(flags);
  if (flags.sizeOnly && flags.download)
    throw new OptionError("--size-only and --download exclude each other: choose one");
  const comparing: Comparing = flags.sizeOnly ? "size" : flags.download ? "download" : "checksum";
  const directory = process.cwd();
  if (flags.catalog !== undefined) {
    if (src !== undefined)
      throw new OptionError(`--catalog ${flags.catalog} is all that is checked: leave ${src} out`);
    return await checkDelivered(flags.catalog, { comparing, directory }, flags, resolved);
  }
  if (src === undefined || dst === undefined)
    throw new OptionError("name both sides, SRC and DST, or a destination with --catalog");
  const {
    sources: [source = ""],
    terms,
  } = checkTermsOf([src], flags, resolved);
  const planned = await planCheck({
    ...{ directory, source, destination: dst, comparing, terms },
    findsExtra: !flags.oneWay,
  });
  const report = reportOf([planned.source, planned.destination], flags);
  return await show(report, (signal) => checkSides(planned, { signal, warn }));
}

async function checkDelivered(
  given: string,
  asked: { comparing: Comparing; directory: string },
  flags: CheckFlags,
  resolved: Resolved,
): Promise<number> {
  return await withEngine(resolved.values, async (engine) => {
    const catalog = new Catalog(engine.redis, engine.keys);
    const tree = await knownTree(catalog, given);
    const { terms } = checkTermsOf([], flags, resolved);
    const planned = await planDestinationCheck({ ...asked, destination: tree.root, terms });
    const { location, spec } = planned.destination;
    // A local tree is identified by its record, even if its directory is gone.
    const { settings, destination } = storageOf(location);
    const id = settings && destination?.namesOf(tree.root, spec).id;
    if (settings !== undefined && id !== tree.id)
      throw new SettingsError(
        `${tree.root} is at another service than these settings name: see --s3-endpoint`,
      );
    const report = reportOf([planned.destination], flags);
    return await show(report, (signal) => checkCatalog(planned, { engine, tree }, { signal, warn }));
  });
}

function reportOf(sides: PlannedSide[], flags: CheckFlags): CheckReport {
  const local = sides.filter(({ location }) => storageOf(location).schemes[0] === "file");
  const checked = local.map(({ location }) => location);
  return new CheckReport({ flags, json: flags.json ?? false, checked });
}

/** Shows what is found until it ends or is interrupted. @returns the exit code. */
async function show(
  report: CheckReport,
  begin: (signal: AbortSignal) => AsyncGenerator<CheckedPath, CheckResult>,
): Promise<number> {
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  try {
    const paths = begin(stop.signal);
    let step = await paths.next();
    for (; !step.done; step = await paths.next()) report.add(step.value);
    const { value: result } = step;
    report.end(result);
    if (result.incomplete) reportError(`${result.incomplete.message}; what comes after it was not compared`);
    return isEqual(result) ? EXIT.ok : EXIT.some;
  } catch (error) {
    report.close();
    if (!stop.signal.aborted) throw error;
    warn("interrupted: not everything was compared");
    return EXIT.interrupted;
  } finally {
    unlisten();
  }
}
