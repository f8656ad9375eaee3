import type { Command } from "commander";
import { readFilters } from "../../settings/filter-files.js";
import type { RequestFlags } from "../../settings/run-request.js";
import {
  addDisplayOptions,
  addHeaderOptions,
  collect,
  type DisplayFlags,
  HOST_LIMIT_HELP,
} from "../options.js";

/** Flags of a command that makes a run, as typed. */
export interface RunFlags extends RequestFlags, DisplayFlags {
  dryRun?: boolean;
  /** Whether to submit the run to the fleet without following it. */
  detach?: boolean;
  hostLimit?: string[];
}

export const NO_WILDCARDS_HELP = "take * ? [ { in s3:// sources for characters of the key";

export const SOURCES_HELP =
  "http(s) URLs, s3://bucket/key, prefix or wildcards, files, file:// URLs, directories";

/**
 * Adds what commands that make a run have in common.
 *
 * @returns the rules of `--include`, `--exclude` and their files in the order in which they are typed; filled when the
 *   command line is parsed.
 */
export function addRunOptions(command: Command): string[] {
  command
    .option(
      "--from-file <LIST>",
      "sources from a file: source [TAB destination [TAB sha256]], sha256sum, or CSV or TSV with a header; - is stdin",
    )
    .option("--no-wildcards", NO_WILDCARDS_HELP)
    .option("--base-url <URL>", "where the names of a sha256sum list are fetched from (default: paths)");
  const filters = addFilterOptions(command);
  command
    .option("--name-from-header", "name files of URLs as their servers say (Content-Disposition)")
    .option("-L, --copy-links", "follow links to directories in local sources, as those to files")
    .option(
      "--backup-dir <DIR>",
      "keep what is overwritten or deleted there: a directory, or s3://bucket/prefix",
    )
    .option(
      "--suffix <SUFFIX>",
      "add this to the names of what is kept; without --backup-dir keep it beside the new file",
    )
    .option("--ignore-times", "read every file again, also what is known to be unchanged")
    .option("--update", "leave files that are newer at the destination")
    .option("--ignore-existing", "leave all files that the destination has")
    .option("--existing", "replace what the destination has, and bring nothing new")
    .option("--size-only", "leave files of the same size, whatever their times and bytes")
    .option(
      "--checksum-only",
      "leave files of the same bytes, whatever their times; trust no time and no catalog",
    )
    .option(
      "--deadline <TIME>",
      "cancel what is not done then: a time from now, e.g. 30m or 2h, or a date such as 2026-11-20T15:00:00Z",
    )
    .option("--stop-after-failures <N>", "cancel the rest once so many files failed or were blocked")
    .option("--max-bytes <SIZE>", "cancel the rest once so many bytes were copied, e.g. 500GB")
    .option("--max-cost <N>", "cancel the rest once it has cost so much by the table of --prices")
    .option("--label <TEXT>", "what drover runs calls the run")
    .option("--checksum <SOURCE=SHA256>", "expected checksum of a source (repeatable)", collect)
    .option("-n, --dry-run", "say what would be copied and deleted, and why; change nothing")
    .option("--detach", "with --redis: print the run's id and leave it to the fleet")
    .option("--host-limit <HOST=LIMIT>", HOST_LIMIT_HELP, collect);
  addHeaderOptions(command);
  addDisplayOptions(command);
  return filters;
}

/**
 * Adds the options that choose files of directories and prefixes.
 *
 * @param taken what is taken where no pattern is given.
 * @returns their rules, see {@link addRunOptions}.
 */
export function addFilterOptions(command: Command, taken = "*"): string[] {
  const filters: string[] = [];
  const rule = (sign: "+" | "-") => (glob: string) => {
    filters.push(`${sign} ${glob}`);
    return glob;
  };
  const rules = (sign: "+" | "-" | undefined) => (file: string) => {
    filters.push(...readFilters(file, sign));
    return file;
  };
  command
    .option(
      "--pattern <GLOB>",
      `files of directories and prefixes to take (repeatable; !GLOB excludes; default: ${taken})`,
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
    .option("--max-age <AGE>", "leave older files of directories out");
  return filters;
}
