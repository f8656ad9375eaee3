import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { addSettings, settingsOf } from "../../settings/flags.js";
import type { PairFlags } from "../../settings/pair-request.js";
import { addDisplayOptions, type Exit } from "../options.js";
import { addFilterOptions } from "../transfer/run-options.js";
import { addPairOptions, PAIR_SETTINGS } from "./pair-options.js";

/** `drover bisync DIR REMOTE` */
export function addBisync(program: Command, exit: Exit): void {
  const command = program
    .command("bisync")
    .description("keep a directory and a prefix of S3, or two directories, the same in both directions")
    .argument("<dir>", "the local side: a directory")
    .argument("<remote>", "the other side: s3://bucket/prefix, or a directory");
  addPairOptions(command);
  command
    .option("--rollback-on-error", "take the run back where a file failed")
    .option(
      "--keep-backups <AGE>",
      "how long what was replaced is kept, and runs can be taken back (default: 30d)",
    );
  const filters = addFilterOptions(command);
  addDisplayOptions(command);
  addSettings(command, PAIR_SETTINGS).action(
    async (local: string, remote: string, flags: PairFlags, command: Command) => {
      const resolved = await settingsOf(command);
      const { bisync } = await import("./bisync-action.js");
      exit(await bisync(local, remote, { ...flags, filters }, resolved));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["what would be done", "drover bisync ./docs s3://team/docs --dry-run"],
    [
      "keep both versions of what was edited on both sides",
      "drover bisync ./docs s3://team/docs --conflict backup-both",
    ],
    [
      "only bring changes here: the other side is never written",
      "drover bisync ./site s3://team/site --direction pull",
    ],
  ]);
}
