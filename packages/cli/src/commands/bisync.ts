import { BACKUPS, DIRECTIONS, STRATEGIES } from "@drover/shared/pair/decide";
import type { Command } from "commander";
import { addExamples, groupOptions } from "../display/help.js";
import {
  addSettings,
  NETWORK,
  OUTCOMES_KEPT,
  RETENTION,
  S3,
  STATE,
  settingsOf,
  TRANSFER,
} from "../settings/flags.js";
import type { PairFlags } from "../settings/pair-request.js";
import { addDisplayOptions, type Exit } from "./options.js";
import { addFilterOptions } from "./run-options.js";

/** What the arguments say instead, and what a pair does its own way. */
const NOT_OF_PAIRS = ["artifact-root", "script-name", "layout", "check-destination", "resume"];

/** `drover bisync DIR REMOTE` */
export function addBisync(program: Command, exit: Exit): void {
  const command = program
    .command("bisync")
    .description("keep a directory and a prefix of S3, or two directories, the same in both directions")
    .argument("<dir>", "the local side: a directory")
    .argument("<remote>", "the other side: s3://bucket/prefix, or a directory")
    .option("--direction <WAY>", `${DIRECTIONS.join(", ")} (default: bidirectional)`)
    .option("--conflict <STRATEGY>", `${STRATEGIES.join(", ")} (default: newest-wins)`)
    .option(
      "--backup <WHAT>",
      `what is kept of replaced and deleted versions: ${BACKUPS.join(", ")} (default: all)`,
    )
    .option(
      "--backup-dir <DIR>",
      "where those of the local side are kept (default: below the state directory)",
    )
    .option(
      "--remote-backup-dir <S3>",
      "where those of the other side are kept (default: s3://BUCKET/.drover-backups)",
    )
    .option("--no-delete", "bring no deletion to the other side")
    .option("--max-delete <N|P%>", "stop where more would be deleted on a side (default: 50%)")
    .option(
      "--max-change <P%>",
      "stop where more files of a side have other bytes (default: stop where all have)",
    )
    .option("--allow-empty <SIDE>", "local or remote: this side may have lost all of its files")
    .option(
      "--adopt",
      "take both sides as they are although they are not those that were synced; deletes nothing",
    )
    .option("--rollback-on-error", "take the run back where a file failed")
    .option(
      "--keep-backups <AGE>",
      "how long what was replaced is kept, and runs can be taken back (default: 30d)",
    )
    .option("-n, --dry-run", "say what would be done, and why; change nothing");
  const filters = addFilterOptions(command);
  addDisplayOptions(command);
  const transfer = TRANSFER.filter((name) => !NOT_OF_PAIRS.includes(name));
  addSettings(command, [...transfer, ...NETWORK, ...S3, ...RETENTION, ...OUTCOMES_KEPT, ...STATE]).action(
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
      "only bring changes here; local edits are kept aside",
      "drover bisync ./site s3://team/site --direction pull",
    ],
  ]);
}
