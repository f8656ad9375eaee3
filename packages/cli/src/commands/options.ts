import type { Command } from "commander";
import { type Format, formatOf } from "../display/format.js";
import { setVerbosity } from "../output.js";
import { parseDuration } from "../settings/units.js";

/** Ends the command with an exit code once all output is written. */
export type Exit = (code: number) => void;

/** Collects the values of a repeatable option. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export const ALLOW_ADDRESS_HELP =
  "beside public addresses, what guarded runs may fetch from, e.g. 10.1.0.0/16, files.internal:8080, or 'proxy' for the proxies of the environment (repeatable)";

export const HOST_LIMIT_HELP =
  "of the whole fleet, e.g. 'example.com=conn:8,rps:50,bw:20MB', '*=conn:16' or 'example.com=none' (repeatable)";

/** Adds the flags of what is sent along with requests for URLs. */
export function addHeaderOptions(command: Command): Command {
  return command
    .option("--header <'K: V'>", "request header for the sources' own hosts (repeatable)", collect)
    .option("--bearer-token-file <FILE>", "send the token in this file to the sources' own hosts")
    .option("--netrc", "send user and password of NETRC, else ~/.netrc, to the hosts of the sources");
}

/** Flags for the format of the output. */
export interface OutputFlags {
  json?: boolean;
  ndjson?: boolean;
}

/** Flags that say how much is told of a run. */
export interface DisplayFlags extends OutputFlags {
  verbose?: boolean;
  quiet?: boolean;
  /** Interval of progress lines where there is no terminal, as typed. */
  stats?: string;
}

/** Adds the flags that say how much is told of a run. */
export function addDisplayOptions(
  command: Command,
  json = "results as a JSON array on standard output",
): Command {
  return command
    .option("--json", json)
    .option("--ndjson", "results as one JSON object a line")
    .option("--stats <TIME>", "time between lines of progress without a terminal; 0 for none (default: 30s)")
    .option("-q, --quiet", "say what went wrong alone")
    .option("-v, --verbose", "unchanged files, retries, and stack traces of errors");
}

/** Applies the flags. @throws SettingsError for an invalid interval, or two formats. */
export function displayOf(flags: DisplayFlags): { format: Format; statsMs: number } {
  setVerbosity(flags);
  return { format: formatOf(flags), statsMs: parseDuration("--stats", flags.stats ?? "30s") };
}
