import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { addSettings, NETWORK, S3, S3_SOURCE_KEY, settingsOf } from "../../settings/flags.js";
import { addHeaderOptions, type Exit } from "../options.js";
import { addFilterOptions, NO_WILDCARDS_HELP } from "../transfer/run-options.js";
import type { LsFlags } from "./ls-action.js";

/** `drover ls LOCATION…` */
export function addLs(program: Command, exit: Exit): void {
  const command = program
    .command("ls")
    .description("list files, directories and prefixes, or the buckets of a service (s3://)")
    .usage("[options] LOCATION...")
    .argument(
      "<location...>",
      "a directory, an s3:// prefix or wildcards, a file server, a file or URL; s3://",
    )
    .helpOption("--help", "display help for command")
    .option("-l, --long", "size, time, and of objects the storage class and ETag, too")
    .option("-r, --recursive", "all files below, by their whole names")
    .option("-h, --human", "sizes such as 1.5 MB")
    .option("--summarize", "how many files, directories and bytes there are, at the end")
    .option("--no-wildcards", NO_WILDCARDS_HELP);
  const filters = addFilterOptions(command);
  addHeaderOptions(command)
    .option("--json", "a JSON array on standard output")
    .option("--ndjson", "one JSON object a line")
    .option("-v, --verbose", "stack traces of errors");
  addSettings(command, ["retries", "timeout", ...NETWORK, ...S3, S3_SOURCE_KEY]).action(
    async (locations: string[], flags: LsFlags, command: Command) => {
      const { ls } = await import("./ls-action.js");
      exit(await ls(locations, { ...flags, filters }, await settingsOf(command)));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["one level of a prefix", "drover ls s3://bucket/reports/"],
    ["all that is below, with sizes and a sum", "drover ls -lrh --summarize s3://bucket/reports/"],
    ["what wildcards choose", "drover ls 's3://bucket/2026/*.gz'"],
    ["the buckets", "drover ls s3://"],
  ]);
}
