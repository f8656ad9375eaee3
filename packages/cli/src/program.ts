import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import type { SyncFlags } from "./commands/sync.js";
import { reportError, setVerbose } from "./output.js";
import { resolveSettings, type Resolved, type SettingName, SETTINGS } from "./settings.js";

const TRANSFER: SettingName[] = [
  "artifact-root",
  "script-name",
  "layout",
  "max-workers",
  "retries",
  "timeout",
  "backoff-factor",
  "circuit-ttl",
  "breaker-wait",
  "max-file-size",
  "bwlimit",
  "resume",
  "durability",
];
const STATE: SettingName[] = ["state-dir", "redis"];

/** What is written after a setting's flag. */
const VALUES: Partial<Record<SettingName, string>> = {
  "artifact-root": "DIR",
  "script-name": "NAME",
  layout: "name|url",
  "max-file-size": "SIZE",
  bwlimit: "RATE",
  durability: "fsync|rename",
  "state-dir": "DIR",
  redis: "URL",
};

function addSettings(command: Command, names: SettingName[]): Command {
  for (const name of names) {
    const { help, default: fallback } = SETTINGS[name];
    const shown = fallback === undefined || name === "resume" ? help : `${help} (default: ${fallback})`;
    if (name === "resume") command.option("--no-resume", `do not ${shown}`);
    else command.option(`--${name} <${VALUES[name] ?? "N"}>`, shown);
  }
  return command.option("--config <FILE>", "settings file (default: drover.yaml, where there is one)");
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

const camel = (name: string) => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The settings of a command: what its flags say, then environment, file and defaults. */
async function settingsOf(command: Command): Promise<Resolved> {
  const options = command.opts<Record<string, unknown>>();
  const flags: Record<string, unknown> = {};
  for (const name of Object.keys(SETTINGS)) {
    const key = camel(name);
    if (command.getOptionValueSource(key) === "cli") flags[name] = options[key];
  }
  return resolveSettings(flags, options.config as string | undefined);
}

function build(exit: (code: number) => void): Command {
  const program = new Command("drover");
  program
    .description("Moves files: one job per file, each locked, verified, retried and published whole.")
    .version(version(), "--version")
    .enablePositionalOptions()
    .showHelpAfterError("(drover --help lists commands and options)")
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });

  const filters: string[] = [];
  addSettings(
    program
      .command("sync")
      .description("sync URLs, files and directories to a directory")
      .argument("[source...]", "http(s) URLs, files, file:// URLs, directories")
      .option("--from-file <LIST>", "sources from a file, one a line: source [TAB destination [TAB sha256]]; - is stdin")
      .option("--pattern <GLOB>", "files of directories to take (repeatable; !GLOB excludes; default: *)", collect)
      .option("--include <GLOB>", "take matching files of directories; the first of these that matches decides", (glob) => {
        filters.push(`+ ${glob}`);
        return glob;
      })
      .option("--exclude <GLOB>", "leave matching files of directories out; in order with --include", (glob) => {
        filters.push(`- ${glob}`);
        return glob;
      })
      .option("--checksum <SOURCE=SHA256>", "expected checksum of a source (repeatable)", collect)
      .option("--header <'K: V'>", "request header for the sources' own hosts (repeatable)", collect)
      .option("--json", "results as a JSON array on standard output")
      .option("--ndjson", "results as one JSON object a line")
      .option("--dry-run", "say what would be synced; change nothing")
      .option("--verbose", "retries, and stack traces of errors"),
    [...TRANSFER, ...STATE],
  ).action(async (sources: string[], options: SyncFlags & { verbose?: boolean }, command: Command) => {
    setVerbose(options.verbose ?? false);
    const resolved = await settingsOf(command);
    const { sync } = await import("./commands/sync.js");
    exit(await sync(sources, { ...options, filters }, resolved));
  });

  return program;
}

function version(): string {
  return (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }).version;
}

/** Runs one command; answers its exit code. */
export async function main(args: string[]): Promise<number> {
  let code = 0;
  const program = build((value) => {
    code = value;
  });
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    reportError(error);
    return isSettings(error) ? 2 : 1;
  }
  return code;
}

/** Wrong settings and a Redis that is not there: nothing has changed. */
function isSettings(error: unknown): boolean {
  return error instanceof InvalidArgumentError || /^(SettingsError|UnavailableError|EmbeddedError)$/.test((error as Error).name);
}
