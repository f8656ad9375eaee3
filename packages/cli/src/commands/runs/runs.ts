import { OUTCOMES } from "@drover/shared/outcome";
import { type Command, Option } from "commander";
import { addSettings, RETENTION, STATE, settingsOf } from "../../settings/flags.js";
import { addDisplayOptions, type DisplayFlags, type Exit } from "../options.js";
import type { ListFlags, RetryFlags, StatusFlags } from "./runs-actions.js";

const RUN_HELP = "its id, as much of the id's beginning as is unique, or latest";

const actions = () => import("./runs-actions.js");

const about = (program: Command, name: string, description: string, settings = STATE) =>
  addSettings(program.command(name).description(description), settings);

/** `drover runs`, `status`, `resume`, `retry` and `wait`: the commands that show and follow runs. */
export function addRuns(program: Command, exit: Exit): void {
  const listing = (name: string, description: string) =>
    about(program, name, description).option("--json", "as JSON");

  listing("runs", "list the latest runs")
    .option("--limit <N>", "so many at most (default: 20; with --json all)")
    .option("--label <TEXT>", "those that are called so")
    .action(async (flags: ListFlags, command: Command) => {
      exit(await (await actions()).list((await settingsOf(command)).values, flags));
    });
  listing("status", "counts of a run, and what did not succeed")
    .argument("<run>", RUN_HELP)
    .option("--files", "also what else it did, as far as that is kept")
    .addOption(
      new Option("--outcome <OUTCOME...>", "files that ended so").choices(
        OUTCOMES.filter((outcome) => outcome !== "unchanged"),
      ),
    )
    .action(async (run: string, flags: StatusFlags, command: Command) => {
      exit(await (await actions()).status(run, await settingsOf(command), flags));
    });
  addDisplayOptions(about(program, "resume", "go on with a run that was interrupted"))
    .argument("<run>", RUN_HELP)
    .action(async (run: string, flags: DisplayFlags, command: Command) => {
      exit(await (await actions()).resume(run, false, await settingsOf(command), flags));
    });
  addDisplayOptions(about(program, "retry", "take up again exactly what failed in a run"))
    .argument("<run>", RUN_HELP)
    .option("--class <CLASS>", "what failed with errors of this class alone, such as timeout")
    .option("--host <HOST>", "what was to come from this host alone: name or name:port")
    .action(async (run: string, flags: RetryFlags, command: Command) => {
      exit(await (await actions()).resume(run, true, await settingsOf(command), flags));
    });
  addDisplayOptions(about(program, "wait", "follow a fleet's run to its end"))
    .argument("<run>", RUN_HELP)
    .action(async (run: string, flags: DisplayFlags, command: Command) => {
      exit(await (await actions()).wait(run, await settingsOf(command), flags));
    });
}

/** `drover gc` and `cancel`: the commands that end what is known of runs, or runs themselves. */
export function addRunEnds(program: Command, exit: Exit): void {
  about(program, "gc", "forget runs that ended, or were interrupted, long ago", [...RETENTION, ...STATE])
    .option(
      "--older-than <DAYS>",
      "days, or a time such as 12h, since they ended, or began where they were interrupted (default: 7, and 30 where something failed)",
    )
    .action(async (flags: { olderThan?: string }, command: Command) => {
      exit(await (await actions()).gc(flags.olderThan, (await settingsOf(command)).values));
    });
  about(program, "cancel", "stop a run; what is not done ends cancelled")
    .argument("<run>", RUN_HELP)
    .action(async (run: string, _flags: object, command: Command) => {
      exit(await (await actions()).cancel(run, (await settingsOf(command)).values));
    });
}
