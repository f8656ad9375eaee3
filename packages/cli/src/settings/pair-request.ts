import type { PairLimits } from "@drover/producer/pair/guards";
import type { PairRequest } from "@drover/producer/pair/pair-session";
import type { RunRequestInput } from "@drover/producer/runs/plan/request";
import { BACKUPS, DIRECTIONS, type PairTerms, STRATEGIES } from "@drover/shared/pair/decide";
import { parseRoot } from "@drover/shared/storage/registry";
import { withDestination } from "./destination.js";
import { OptionError } from "./option-error.js";
import { objectsOf, type RequestFlags, requestOf } from "./run-request.js";
import type { Resolved } from "./settings.js";
import { parseMostDeleted } from "./units.js";

/** Flags of a sync of a pair, as typed. */
export interface PairFlags
  extends Pick<RequestFlags, "pattern" | "filters" | "minSize" | "maxSize" | "minAge" | "maxAge" | "label"> {
  direction?: string;
  conflict?: string;
  backup?: string;
  backupDir?: string;
  remoteBackupDir?: string;
  /** False for `--no-delete`. */
  delete?: boolean;
  maxDelete?: string;
  maxChange?: string;
  allowEmpty?: string;
  adopt?: boolean;
  rollbackOnError?: boolean;
  keepBackups?: string;
  dryRun?: boolean;
  json?: boolean;
  ndjson?: boolean;
  verbose?: boolean;
  quiet?: boolean;
  stats?: string;
}

/** Translates the flags of a sync of a pair. @throws OptionError for an invalid value. */
export function pairRequestOf(flags: PairFlags, { values }: Resolved): PairRequest {
  const directory = process.cwd();
  const rootOf = (text: string) => parseRoot(text, directory);
  return {
    terms: termsOf(flags),
    limits: limitsOf(flags),
    adopt: flags.adopt ?? false,
    backupDirs: {
      ...(flags.backupDir === undefined ? {} : { local: rootOf(flags.backupDir) }),
      ...(flags.remoteBackupDir === undefined ? {} : { remote: rootOf(flags.remoteBackupDir) }),
    },
    stateDir: values["state-dir"] as string,
    waitMs: values.timeout * 1000,
    suffixed: false,
  };
}

/** The run of a pair, with the local side as its destination and the other one as its only source. */
export function pairRunRequestOf(
  local: string,
  remote: string,
  flags: PairFlags,
  resolved: Resolved,
): RunRequestInput {
  const { backupDir: _, maxDelete: __, delete: ___, ...ofRun } = flags;
  // A prefix is a tree, whether it ends in a slash or not.
  const source = /^s3:\/\//i.test(remote) && !remote.endsWith("/") ? `${remote}/` : remote;
  const request = requestOf([source], ofRun, withDestination(resolved, "DIR", local));
  const { objects: _objects, ...s3 } = request.s3 ?? {};
  const isPull = termsOf(flags).direction === "pull"; // which writes no object
  const objects = objectsOf(resolved, isPull ? local : source);
  return { ...request, s3: { ...s3, ...objects, objectsOf: isPull ? "destination" : "source" } };
}

function termsOf(flags: PairFlags): PairTerms {
  return {
    direction: oneOf("--direction", flags.direction ?? "bidirectional", DIRECTIONS),
    strategy: oneOf("--conflict", flags.conflict ?? "newest-wins", STRATEGIES),
    backups: oneOf("--backup", flags.backup ?? "all", BACKUPS),
    noDelete: flags.delete === false,
  };
}

function limitsOf(flags: PairFlags): PairLimits {
  const { allowEmpty } = flags;
  if (allowEmpty !== undefined && allowEmpty !== "local" && allowEmpty !== "remote")
    throw new OptionError(`--allow-empty must be local or remote, not ${JSON.stringify(allowEmpty)}`);
  return {
    maxDelete: parseMostDeleted(flags.maxDelete ?? "50%"),
    maxChangePercent: flags.maxChange === undefined ? 99.999 : percentOf("--max-change", flags.maxChange),
    allowEmpty,
  };
}

function percentOf(option: string, text: string): number {
  const percent = Number(/^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim())?.[1]);
  if (percent >= 0 && percent <= 100) return percent;
  throw new OptionError(`${option} must be a percentage such as 80%, not ${JSON.stringify(text)}`);
}

/** One of the words; `NEWEST_WINS` is understood as `newest-wins`. */
function oneOf<T extends string>(option: string, text: string, words: readonly T[]): T {
  const word = text.trim().toLowerCase().replaceAll("_", "-");
  const found = words.find((each) => each === word);
  if (found !== undefined) return found;
  throw new OptionError(`${option} must be one of ${words.join(", ")}, not ${JSON.stringify(text)}`);
}
