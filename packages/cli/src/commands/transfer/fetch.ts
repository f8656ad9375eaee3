import { messageOf } from "@drover/shared/errors";
import type { Command } from "commander";
import { FETCH_EXIT } from "../../exit.js";
import { addSettings, NETWORK, OUTCOMES_KEPT, RETENTION, STATE, settingsOf } from "../../settings/flags.js";
import type { Resolved, SettingName } from "../../settings/settings.js";
import { addHeaderOptions, type Exit } from "../options.js";
import type { FetchFlags } from "./fetch-action.js";

/** Settings of runs that fetch has flags for, besides its own flags for others. */
const FETCH: SettingName[] = ["max-file-size", "bwlimit", "resume", "durability"];

/** `drover fetch`: exit codes and JSON logs for scripts. @param version of Drover, for the log. */
export function addFetch(program: Command, exit: Exit, version: string): void {
  const command = program
    .command("fetch")
    .description("fetch one file; exit codes and JSON logs for scripts")
    .option("--source-url <URL>", "URL or path (default: file://$REPO_ROOT/sample.csv)")
    .option("--destination <FILE>", "(default: $REPO_ROOT/reports/resilient-sync/sample.csv)")
    .option(
      "--lock-dir <DIR>",
      "locks and breakers are shared by those who name the same (default: the user's)",
    )
    .option("--max-retries <N>", "tries in all (default: 5)")
    .option(
      "--timeout <N>",
      "seconds, or a time such as 5m, for connecting, for the answer, and for 1 KiB of the body (default: 30)",
    )
    .option("--circuit-ttl <N>", "seconds that an open circuit breaker keeps the host blocked (default: 300)")
    .option("--checksum <SHA256>", "expected checksum");
  addSettings(addHeaderOptions(command), [
    ...FETCH,
    ...NETWORK,
    ...RETENTION,
    ...OUTCOMES_KEPT,
    ...STATE,
  ]).action(async (flags: FetchFlags, command: Command) => {
    const { FetchLog } = await import("../../display/fetch-log.js");
    const log = new FetchLog(version);
    let settings: Resolved;
    try {
      settings = await settingsOf(command, (message) => log.say("warn", message));
    } catch (error) {
      log.say("error", messageOf(error));
      return exit(FETCH_EXIT.usage);
    }
    const { fetchFile } = await import("./fetch-action.js");
    exit(await fetchFile(flags, settings, log));
  });
}

/** Logs usage errors of `drover fetch` as JSON lines. */
export async function logUsageErrors(program: Command, version: string): Promise<void> {
  const fetch = program.commands.find((command) => command.name() === "fetch");
  const { FetchLog } = await import("../../display/fetch-log.js");
  const log = new FetchLog(version);
  fetch?.configureOutput({ outputError: (text) => log.say("error", text.replace(/^error: /, "").trim()) });
}
