import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { addSettings, NETWORK, S3, S3_KEYS, STATE, settingsOf } from "../../settings/flags.js";
import { addHeaderOptions, type Exit } from "../options.js";
import { addFilterOptions } from "../transfer/run-options.js";
import type { CheckFlags } from "./check-action.js";

/** `drover check SRC DST` */
export function addCheck(program: Command, exit: Exit): void {
  const command = program
    .command("check")
    .description(
      "say what differs between two trees, or a destination and what was delivered to it; writes to neither",
    )
    .usage("[options] SRC DST\n       drover check [options] --catalog DEST")
    .argument("[src]", "a directory, an s3:// prefix, a file server, or one file, object or URL")
    .argument("[dst]", "a directory, s3://bucket/prefix, a file server; for one file also another file")
    .option("--catalog <DEST>", "look whether what was delivered to DEST is still there, and the same")
    .option("--size-only", "compare sizes alone")
    .option("--download", "read both sides and compare their bytes")
    .option("--one-way", "do not look for files that only DST has")
    .option("--combined <FILE>", "all paths: = same, * differ, - missing on src, + missing on dst, ! error")
    .option("--missing-on-src <FILE>", "paths that only DST has, one a line; - is standard output")
    .option("--missing-on-dst <FILE>", "paths that only SRC has")
    .option("--match <FILE>", "paths that are equal")
    .option("--differ <FILE>", "paths that differ")
    .option("--error <FILE>", "paths that could not be compared");
  const filters = addFilterOptions(command);
  addHeaderOptions(command)
    .option("--json", "what was found of each path, as JSON")
    .option("-q, --quiet", "no sums where a report goes to standard output")
    .option("-v, --verbose", "equal files, and stack traces of errors");
  addSettings(command, ["max-workers", "retries", "timeout", ...NETWORK, ...S3, ...S3_KEYS, ...STATE]).action(
    async (src: string | undefined, dst: string | undefined, flags: CheckFlags, command: Command) => {
      const { check } = await import("./check-action.js");
      exit(await check(src, dst, { ...flags, filters }, await settingsOf(command)));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["a directory and its copy in S3", "drover check ./data s3://bucket/data"],
    ["what a program is to read", "drover check ./data /mnt/copy --combined report.txt"],
    ["byte by byte, nothing about extra files", "drover check ./data s3://bucket/data --download --one-way"],
    ["what was delivered is still there", "drover check --catalog /srv/downloads"],
  ]);
}
