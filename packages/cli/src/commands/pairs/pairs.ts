import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { addSettings, NETWORK, RETENTION, S3, STATE, settingsOf } from "../../settings/flags.js";
import type { PairFlags } from "../../settings/pair-request.js";
import { addDisplayOptions, type Exit } from "../options.js";

const PAIR_HELP = "id of the pair, or one of its sides";
/** Of the settings of transfers those that what is done to a pair afterwards needs. */
const CARRY = ["max-workers", "retries", "timeout", "durability"] as const;

/** `drover pairs`, `drover conflicts`, `drover resolve`, `drover rollback`: what there is about pairs beside syncing them. */
export function addPairs(program: Command, exit: Exit): void {
  const pairs = program.command("pairs").description("pairs that were synced, their state and their backups");
  const list = pairs
    .command("list", { isDefault: true })
    .description("list all pairs")
    .option("--json", "as a JSON array");
  addSettings(list, STATE).action(async (flags: { json?: boolean }, command: Command) => {
    const { listPairs } = await import("./pairs-actions.js");
    exit(await listPairs(flags, await settingsOf(command)));
  });
  const show = pairs
    .command("show")
    .description("one pair: its sides, its runs that can be taken back, its conflicts")
    .argument("<pair>", PAIR_HELP)
    .option("--json", "as a JSON object");
  addSettings(show, STATE).action(async (pair: string, flags: { json?: boolean }, command: Command) => {
    const { showPair } = await import("./pairs-actions.js");
    exit(await showPair(pair, flags, await settingsOf(command)));
  });
  const forget = pairs
    .command("forget")
    .description("forget what is known of a pair; its files and backups stay")
    .argument("<pair>", PAIR_HELP);
  addSettings(forget, [...STATE, ...NETWORK, ...S3]).action(
    async (pair: string, _flags: unknown, command: Command) => {
      const { forgetPair } = await import("./pairs-actions.js");
      exit(await forgetPair(pair, await settingsOf(command)));
    },
  );
  const conflicts = program
    .command("conflicts")
    .description("conflicts of a pair that a person resolves")
    .argument("<pair>", PAIR_HELP)
    .option("--json", "as a JSON array");
  addSettings(conflicts, STATE).action(async (pair: string, flags: { json?: boolean }, command: Command) => {
    const { showConflicts } = await import("./pairs-actions.js");
    exit(await showConflicts(pair, flags, await settingsOf(command)));
  });
  addResolve(program, exit);
  addRollback(program, exit);
}

function addResolve(program: Command, exit: Exit): void {
  const command = program
    .command("resolve")
    .description("resolve conflicts of a pair; the version that loses goes to the backup")
    .argument("<pair>", PAIR_HELP)
    .argument("[path...]", "conflicts, as drover conflicts names them")
    .option("--all", "all conflicts")
    .requiredOption(
      "--take <VERSION>",
      "local, remote, newest, or both (the local one gets a name of its own)",
    );
  addDisplayOptions(command);
  addSettings(command, [...CARRY, ...NETWORK, ...S3, ...RETENTION, ...STATE]).action(
    async (
      pair: string,
      paths: string[],
      flags: PairFlags & { all?: boolean; take: string },
      command: Command,
    ) => {
      const { resolvePair } = await import("./pairs-actions.js");
      exit(await resolvePair(pair, paths, flags, await settingsOf(command)));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["the version that was edited last, of every conflict", "drover resolve ./docs --all --take newest"],
    ["keep both versions of one", "drover resolve ./docs report.txt --take both"],
  ]);
}

function addRollback(program: Command, exit: Exit): void {
  const command = program
    .command("rollback")
    .description("take back what a sync of a pair did, where nothing was changed since")
    .argument("<run>", "id of the run: drover pairs show lists them")
    .option("-n, --dry-run", "say what would be done; change nothing");
  addDisplayOptions(command);
  addSettings(command, [...CARRY, ...NETWORK, ...S3, ...RETENTION, ...STATE]).action(
    async (run: string, flags: PairFlags, command: Command) => {
      const { rollbackRun } = await import("./pairs-actions.js");
      exit(await rollbackRun(run, flags, await settingsOf(command)));
    },
  );
  groupOptions(command);
}
