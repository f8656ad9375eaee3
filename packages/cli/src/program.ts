import { readFileSync } from "node:fs";
import { SettingsError, UnavailableError } from "@drover/shared/errors";
import { startTracing } from "@drover/shared/start-tracing";
import { endTracing } from "@drover/shared/tracing";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { addWorker } from "./commands/fleet/worker.js";
import { addGlobalOptions } from "./commands/global-options.js";
import { addCatalog } from "./commands/known/catalog.js";
import { addCompletion } from "./commands/known/completion.js";
import { addConfig } from "./commands/known/config.js";
import { addDoctor } from "./commands/known/doctor.js";
import { addCat } from "./commands/look/cat.js";
import { addCheck } from "./commands/look/check.js";
import { addLs } from "./commands/look/ls.js";
import { addReceipt } from "./commands/look/receipt.js";
import { addMirror } from "./commands/mirror/mirror.js";
import type { Exit } from "./commands/options.js";
import { addBisync } from "./commands/pairs/bisync.js";
import { addCache } from "./commands/pairs/cache.js";
import { addPairs } from "./commands/pairs/pairs.js";
import { addSettingsSync } from "./commands/pairs/settings-sync.js";
import { addTemplates } from "./commands/pairs/templates.js";
import { addRunEnds, addRuns } from "./commands/runs/runs.js";
import { addDashboard } from "./commands/service/dashboard.js";
import { addEvents } from "./commands/service/events.js";
import { addFileManager } from "./commands/service/file-manager.js";
import { addServe } from "./commands/service/serve.js";
import { addToken } from "./commands/service/token.js";
import { addCp } from "./commands/transfer/cp.js";
import { addFetch, logUsageErrors } from "./commands/transfer/fetch.js";
import { addMv } from "./commands/transfer/mv.js";
import { addPlan } from "./commands/transfer/plan.js";
import { addSync } from "./commands/transfer/sync.js";
import { addExamples, HELP } from "./display/help.js";
import { EXIT, FETCH_EXIT } from "./exit.js";
import { commandLog } from "./log/log.js";
import { isOutputWhole, oneLine, reportError, tolerateClosedOutput } from "./output.js";
import { OptionError } from "./settings/option-error.js";

/** Builds the command line. Each command declares its own flags and loads its code on demand. */
export function buildProgram(exit: Exit): Command {
  const program = new Command("drover");
  program
    .description("Moves files: one job per file, each locked, verified, retried and published whole.")
    .version(version(), "--version")
    .enablePositionalOptions()
    .configureOutput(oneLine("drover --help lists commands and options"))
    .exitOverride()
    .configureHelp(HELP);
  program.commandsGroup("Move files:");
  addCp(program, exit);
  addMv(program, exit);
  addSync(program, exit);
  addPlan(program, exit);
  addBisync(program, exit);
  addTemplates(program, exit);
  addSettingsSync(program, exit);
  addCache(program, exit);
  addFetch(program, exit, version());
  addCat(program, exit);
  program.commandsGroup("Runs:");
  addRuns(program, exit);
  addRunEnds(program, exit);
  addReceipt(program, exit);
  program.commandsGroup("Pairs that are synced both ways:");
  addPairs(program, exit);
  program.commandsGroup("Fleets:");
  addWorker(program, exit);
  program.commandsGroup("Over HTTP:");
  addServe(program, exit);
  addDashboard(program, exit);
  addEvents(program, exit);
  addToken(program, exit);
  addFileManager(program, exit);
  program.commandsGroup("Mirrors:");
  addMirror(program, exit);
  program.commandsGroup("What is known and set:");
  addLs(program, exit);
  addCheck(program, exit);
  addCatalog(program, exit);
  addConfig(program, exit);
  addDoctor(program, exit);
  addCompletion(program, exit);
  addGlobalOptions(program);
  for (const command of program.commands) nameHelp(command);
  addExamples(program, [
    [
      "a URL and the content of a directory into a directory",
      "drover cp https://example.com/a.csv ./data downloads",
    ],
    ["make a directory what a prefix of S3 is", "drover sync s3://bucket/reports/ --to mirror --delete"],
    ["the latest runs, and try again what failed in one", "drover runs; drover retry RUN"],
    ["what is missing, and how to get it", "drover doctor"],
  ]);
  return program;
}

/** Has usage errors of a command name the help that lists what there is. */
function nameHelp(command: Command): void {
  command.configureOutput(oneLine(helpOf(command)));
  for (const child of command.commands) nameHelp(child);
}

/** Where a person finds what a command takes. */
function helpOf(command: Command): string {
  const names: string[] = [];
  for (let each: Command | null = command; each; each = each.parent) names.unshift(each.name());
  return `${names.join(" ")} --help lists its ${command.commands.length > 0 ? "commands" : "options"}`;
}

function version(): string {
  return (
    JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
  ).version;
}

/** Runs one command. @returns its exit code. */
export async function main(args: string[]): Promise<number> {
  let code = 0;
  tolerateClosedOutput();
  const program = buildProgram((value) => {
    code = value;
  });
  let command = program;
  program.hook("preAction", (_program, called) => {
    command = called;
  });
  const isFetch = args[0] === "fetch";
  if (isFetch) await logUsageErrors(program, version());
  try {
    await startTracing();
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      return isFetch ? FETCH_EXIT.usage : EXIT.settings;
    }
    reportError(error, error instanceof OptionError ? helpOf(command) : undefined);
    return ended(isSettings(error) ? EXIT.settings : EXIT.some);
  } finally {
    await endTracing();
  }
  return ended((await isOutputWhole()) || code !== 0 ? code : EXIT.some);
}

/** Has the log say how the command ended. @returns the exit code. */
function ended(code: number): number {
  commandLog()?.info({ exit_code: code, duration_ms: Math.round(performance.now()) }, "ended");
  return code;
}

/** Whether the error is about settings or an unreachable Redis, so that nothing has changed. */
function isSettings(error: unknown): boolean {
  return (
    error instanceof InvalidArgumentError ||
    error instanceof SettingsError ||
    error instanceof UnavailableError
  );
}
