import { BACKUPS, DIRECTIONS, STRATEGIES } from "@drover/shared/pair/decide";
import type { Command } from "commander";
import { PRICES, RUN, S3_KEYS, without } from "../../settings/flags.js";
import type { SettingName } from "../../settings/settings.js";

/** What the arguments say instead, what a pair does its own way, and keys, which it does not take. */
const NOT_OF_PAIRS: SettingName[] = [
  ...(["artifact-root", "script-name", "layout", "check-destination", "resume"] as const),
  ...PRICES,
  ...S3_KEYS,
];

/** Settings of syncs of pairs. */
export const PAIR_SETTINGS = without(RUN, NOT_OF_PAIRS);

/** Adds the options of how the two sides of a pair are made the same. */
export function addPairOptions(command: Command): void {
  command
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
    .option("-n, --dry-run", "say what would be done, and why; change nothing");
}
