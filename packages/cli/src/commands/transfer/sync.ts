import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { refuseAmbiguous, withDestination } from "../../settings/destination.js";
import { addSettings, RUN, settingsOf } from "../../settings/flags.js";
import type { Resolved } from "../../settings/settings.js";
import type { Exit } from "../options.js";
import { addRunOptions, type RunFlags, SOURCES_HELP } from "./run-options.js";
import { makeRun } from "./sync-action.js";

interface SyncFlags extends RunFlags {
  /** Destination, instead of artifact root and script name. */
  to?: string;
}

/** `drover sync SOURCE…` */
export function addSync(program: Command, exit: Exit): void {
  const command = program
    .command("sync")
    .description("sync URLs, S3 objects, files and directories to a directory or to S3");
  addSyncOptions(command, async (sources, flags, resolved) => exit(await makeRun(sources, flags, resolved)));
  groupOptions(command);
  addExamples(command, [
    [
      "make a directory what another one is, after a look",
      "drover sync photos --to /mnt/photos --delete --dry-run",
    ],
    [
      "the CSV files of a prefix, 32 at once",
      "drover sync s3://bucket/in/ --pattern '*.csv' --to in --max-workers 32",
    ],
    ["what a list names, one source a line", "drover sync --from-file urls.txt --to downloads"],
    [
      "to S3, keeping what is overwritten",
      "drover sync ./site --to s3://bucket/site --backup-dir s3://bucket/old",
    ],
  ]);
}

/** Adds the arguments and options of `drover sync`. @param act is called with what was typed. */
export function addSyncOptions(
  command: Command,
  act: (sources: string[], flags: RunFlags, resolved: Resolved) => Promise<void>,
): void {
  command
    .argument("[source...]", SOURCES_HELP)
    .option("--to <DEST>", "where the files go: a directory, or s3://bucket/prefix");
  const filters = addRunOptions(command);
  command
    .option("--delete", "remove at the destination what directories and prefixes do not have")
    .option("--max-delete <N|P%>", "delete nothing where it would be more (default: 50%)")
    .option("--delete-excluded", "with --delete: also remove what the filters leave out")
    .option(
      "--track-renames",
      "with --delete: move what was renamed at its source, without copying it again",
    );
  addSettings(command, RUN).action(async (sources: string[], flags: SyncFlags, command: Command) => {
    const settings = await settingsOf(command);
    if (flags.to === undefined) refuseAmbiguous(sources, settings);
    const resolved = flags.to === undefined ? settings : withDestination(settings, "--to", flags.to);
    await act(sources, { ...flags, filters }, resolved);
  });
}
