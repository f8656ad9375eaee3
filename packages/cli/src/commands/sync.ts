import type { Command } from "commander";
import { refuseAmbiguous, withDestination } from "../settings/destination.js";
import { addSettings, NETWORK, RETENTION, S3, STATE, settingsOf, TRANSFER } from "../settings/flags.js";
import type { Exit } from "./options.js";
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
    .description("sync URLs, S3 objects, files and directories to a directory or to S3")
    .argument("[source...]", SOURCES_HELP)
    .option("--to <DEST>", "where the files go: a directory, or s3://bucket/prefix");
  const filters = addRunOptions(command);
  command
    .option("--delete", "remove at the destination what directories and prefixes do not have")
    .option("--max-delete <N|P%>", "delete nothing where it would be more (default: 50%)");
  addSettings(command, [...TRANSFER, ...NETWORK, ...S3, ...RETENTION, ...STATE]).action(
    async (sources: string[], flags: SyncFlags, command: Command) => {
      const settings = await settingsOf(command);
      if (flags.to === undefined) refuseAmbiguous(sources, settings);
      const resolved = flags.to === undefined ? settings : withDestination(settings, "--to", flags.to);
      exit(await makeRun(sources, { ...flags, filters }, resolved));
    },
  );
}
