import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { addSettings, NETWORK, S3, S3_SOURCE_KEY, settingsOf } from "../../settings/flags.js";
import { addHeaderOptions, type Exit } from "../options.js";
import { NO_WILDCARDS_HELP } from "../transfer/run-options.js";
import type { CatFlags } from "./cat-action.js";

/** `drover cat LOCATION…` */
export function addCat(program: Command, exit: Exit): void {
  const command = program
    .command("cat")
    .description("write files, objects and URLs to standard output, one after the other, verified")
    .usage("[options] LOCATION...")
    .argument("<location...>", "files, URLs, s3://bucket/key or wildcards, files of a file server")
    .option("--range <FIRST-LAST>", "these bytes of each, from 0; FIRST- for the rest")
    .option("--no-wildcards", NO_WILDCARDS_HELP);
  addHeaderOptions(command)
    .option("-q, --quiet", "say what went wrong alone")
    .option("-v, --verbose", "stack traces of errors");
  addSettings(command, ["retries", "timeout", ...NETWORK, ...S3, S3_SOURCE_KEY]).action(
    async (locations: string[], flags: CatFlags, command: Command) => {
      const { cat } = await import("./cat-action.js");
      exit(await cat(locations, flags, await settingsOf(command)));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["an object into another program", "drover cat s3://bucket/a.csv.gz | zcat"],
    ["its first kilobyte", "drover cat --range 0-1023 https://example.com/a.iso"],
    ["many, in the order of their names", "drover cat 's3://bucket/log/2026-11-*.txt'"],
  ]);
}
