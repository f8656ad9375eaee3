import { readFileSync } from "node:fs";
import { messageOf } from "@drover/shared/errors";
import { Command, CommanderError, InvalidArgumentError, type OutputConfiguration } from "commander";
import type { FetchFlags } from "./commands/fetch.js";
import type { WorkerFlags } from "./commands/worker.js";
import { isOutputWhole, reportError, setVerbose, tolerateClosedOutput } from "./output.js";
import type { SyncFlags } from "./plan-sync.js";
import { readFilters } from "./settings/filter-files.js";
import { addSettings, S3, STATE, settingsOf, TRANSFER, WORKER } from "./settings/flags.js";
import type { Resolved } from "./settings/settings.js";

const HOST_LIMIT =
  "of the whole fleet, e.g. 'example.com=conn:8,rps:50,bw:20MB', '*=conn:16' or 'example.com=none' (repeatable)";

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Errors of the command line in one line, with where help is. */
function oneLine(where: string): OutputConfiguration {
  return {
    outputError: (text, write) =>
      write(
        `drover: ${text
          .replace(/^error: /, "")
          .trim()
          .replace(/\s*\n\s*/g, " ")} (${where})\n`,
      ),
  };
}

function build(exit: (code: number) => void): Command {
  const program = new Command("drover");
  program
    .description("Moves files: one job per file, each locked, verified, retried and published whole.")
    .version(version(), "--version")
    .enablePositionalOptions()
    .configureOutput(oneLine("drover --help lists commands and options"))
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });

  const filters: string[] = [];
  addSettings(
    program
      .command("sync")
      .description("sync URLs, S3 objects, files and directories to a directory or to S3")
      .argument("[source...]", "http(s) URLs, s3://bucket/key or prefix, files, file:// URLs, directories")
      .option(
        "--from-file <LIST>",
        "sources from a file, one a line: source [TAB destination [TAB sha256]]; - is stdin",
      )
      .option(
        "--pattern <GLOB>",
        "files of directories and prefixes to take (repeatable; !GLOB excludes; default: *)",
        collect,
      )
      .option(
        "--include <GLOB>",
        "take matching files of directories; the first of these that matches decides",
        (glob) => {
          filters.push(`+ ${glob}`);
          return glob;
        },
      )
      .option(
        "--exclude <GLOB>",
        "leave matching files of directories out; in order with --include",
        (glob) => {
          filters.push(`- ${glob}`);
          return glob;
        },
      )
      .option("--include-from <FILE>", "globs to include, one a line; in order with --include", (file) => {
        filters.push(...readFilters(file, "+"));
        return file;
      })
      .option("--exclude-from <FILE>", "globs to exclude, one a line; in order with --exclude", (file) => {
        filters.push(...readFilters(file, "-"));
        return file;
      })
      .option(
        "--filter-from <FILE>",
        "'+ GLOB' and '- GLOB', one a line; in order with the others",
        (file) => {
          filters.push(...readFilters(file, undefined));
          return file;
        },
      )
      .option(
        "--min-size <SIZE>",
        "leave smaller files of directories out, e.g. 10K (KiB where it has no unit)",
      )
      .option("--max-size <SIZE>", "leave larger files of directories out")
      .option("--min-age <AGE>", "leave younger files of directories out, e.g. 10m, 2d, or a date")
      .option("--max-age <AGE>", "leave older files of directories out")
      .option("--delete", "remove at the destination what directories and prefixes do not have")
      .option("--max-delete <N|P%>", "delete nothing where it would be more (default: 50%)")
      .option("--backup-dir <DIR>", "move what is deleted there: a directory, or s3://bucket/prefix")
      .option("--checksum <SOURCE=SHA256>", "expected checksum of a source (repeatable)", collect)
      .option("--header <'K: V'>", "request header for the sources' own hosts (repeatable)", collect)
      .option("--json", "results as a JSON array on standard output")
      .option("--ndjson", "results as one JSON object a line")
      .option("--dry-run", "say what would be copied and deleted, and why; change nothing")
      .option("--detach", "with --redis: print the run's id and leave it to the fleet")
      .option("--host-limit <HOST=LIMIT>", HOST_LIMIT, collect)
      .option("--verbose", "retries, and stack traces of errors"),
    [...TRANSFER, ...S3, ...STATE],
  ).action(async (sources: string[], options: SyncFlags & { verbose?: boolean }, command: Command) => {
    setVerbose(options.verbose ?? false);
    const resolved = await settingsOf(command);
    const { sync } = await import("./commands/sync.js");
    exit(await sync(sources, { ...options, filters }, resolved));
  });

  addSettings(
    program
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
        "seconds for connecting, for the answer, and for 1 KiB of the body (default: 30)",
      )
      .option(
        "--circuit-ttl <N>",
        "seconds that an open circuit breaker keeps the host blocked (default: 300)",
      )
      .option("--checksum <SHA256>", "expected checksum"),
    STATE,
  ).action(async (options: FetchFlags, command: Command) => {
    const { FetchLog, FETCH_EXIT, fetchFile } = await import("./commands/fetch.js");
    const log = new FetchLog(version());
    let settings: Resolved;
    try {
      settings = await settingsOf(command, (message) => log.say("warn", message));
    } catch (error) {
      log.say("error", messageOf(error));
      return exit(FETCH_EXIT.usage);
    }
    exit(await fetchFile(options, settings.values, log));
  });

  const listing = (name: string, description: string) =>
    addSettings(program.command(name).description(description), STATE).option("--json", "as JSON");
  listing("runs", "list the latest runs").action(async (flags: { json?: boolean }, command: Command) => {
    const { runs } = await import("./commands/runs.js");
    exit(await runs((await settingsOf(command)).values, flags));
  });
  listing("status", "counts of a run, and what did not succeed")
    .argument("<run>")
    .action(async (run: string, flags: { json?: boolean }, command: Command) => {
      const { status } = await import("./commands/runs.js");
      exit(await status(run, (await settingsOf(command)).values, flags));
    });
  for (const [name, description] of [
    ["resume", "go on with a run that was interrupted"],
    ["retry", "take up again exactly what failed in a run"],
  ] as const) {
    listing(name, description)
      .argument("<run>")
      .option("--ndjson", "results as one JSON object a line")
      .option("--verbose", "retries, and stack traces of errors")
      .action(
        async (
          run: string,
          flags: { json?: boolean; ndjson?: boolean; verbose?: boolean },
          command: Command,
        ) => {
          setVerbose(flags.verbose ?? false);
          const { goOn } = await import("./commands/runs.js");
          exit(await goOn(run, name === "retry", (await settingsOf(command)).values, flags));
        },
      );
  }
  listing("wait", "follow a fleet's run to its end")
    .argument("<run>")
    .option("--ndjson", "results as one JSON object a line")
    .action(async (run: string, flags: { json?: boolean; ndjson?: boolean }, command: Command) => {
      const { wait } = await import("./fleet-run.js");
      exit(await wait(run, (await settingsOf(command)).values, flags));
    });
  listing("workers", "list a fleet's workers and what they carry").action(
    async (flags: { json?: boolean }, command: Command) => {
      const { workers } = await import("./commands/worker.js");
      exit(await workers((await settingsOf(command)).values, flags));
    },
  );
  addSettings(
    program
      .command("worker")
      .description("carry files of a fleet's runs, until a signal")
      .requiredOption(
        "--root <DIR>",
        "directory that files may be written below, on a file system that the fleet shares; or s3://bucket/prefix (repeatable)",
        collect,
      )
      .option("--host-limit <HOST=LIMIT>", HOST_LIMIT, collect)
      .option("--verbose", "a line for every file"),
    [...WORKER, "s3-endpoint", "s3-region", "s3-profile", ...STATE],
  ).action(async (flags: WorkerFlags, command: Command) => {
    const { worker } = await import("./commands/worker.js");
    exit(await worker(flags, await settingsOf(command)));
  });
  addSettings(
    program.command("gc").description("forget runs that ended, or were interrupted, long ago"),
    STATE,
  )
    .option(
      "--older-than <DAYS>",
      "days since they ended, or began where they were interrupted (default: 7)",
      "7",
    )
    .action(async (flags: { olderThan: string }, command: Command) => {
      const { gc } = await import("./commands/runs.js");
      exit(await gc(flags.olderThan, (await settingsOf(command)).values));
    });
  addSettings(program.command("cancel").description("stop a run; what is not done ends cancelled"), STATE)
    .argument("<run>")
    .action(async (run: string, _flags: object, command: Command) => {
      const { cancel } = await import("./commands/runs.js");
      exit(await cancel(run, (await settingsOf(command)).values));
    });
  addCatalog(program, exit);
  addSettings(program.command("config").description("print the settings and where they come from"), [
    ...TRANSFER,
    ...S3,
    ...WORKER,
    ...STATE,
  ])
    .option("--json", "as JSON")
    .action(async (flags: { json?: boolean }, command: Command) => {
      const { config } = await import("./commands/config.js");
      exit(config(await settingsOf(command), flags));
    });

  return program;
}

/** `drover catalog …`: what is known of each destination tree. */
function addCatalog(program: Command, exit: (code: number) => void): void {
  const catalog = program
    .command("catalog")
    .description("what is known of the files of each destination tree")
    .configureOutput(oneLine("drover catalog --help lists its commands"));
  const TREE = "its directory or id, as `drover catalog stats` lists them (default: the only one there is)";
  addSettings(
    catalog
      .command("export")
      .description("write what is known of a tree, sorted by path")
      .argument("[tree]", TREE)
      .option(
        "--format <csv|ndjson|sqlite>",
        "(default: as the output's name ends; csv where it has no ending)",
      )
      .option("--output <FILE>", "(default: standard output)"),
    STATE,
  ).action(
    async (tree: string | undefined, flags: { format?: string; output?: string }, command: Command) => {
      const { exportCatalog } = await import("./commands/catalog.js");
      exit(await exportCatalog(tree, flags, (await settingsOf(command)).values));
    },
  );
  addSettings(
    catalog
      .command("import")
      .description("make an export known again; what is known already is kept")
      .argument("<file>")
      .argument("[tree]", TREE)
      .option("--format <csv|ndjson>", "(default: as the file's name ends, else csv)"),
    [...S3, ...STATE],
  ).action(async (file: string, tree: string | undefined, flags: { format?: string }, command: Command) => {
    const { importCatalog } = await import("./commands/catalog.js");
    exit(await importCatalog(file, tree, flags, await settingsOf(command)));
  });
  catalog
    .command("diff")
    .description("compare two exports (CSV): added, removed, changed, renamed, permissions")
    .argument("<old>")
    .argument("<new>")
    .option("--json", "as JSON")
    .action(async (old: string, now: string, flags: { json?: boolean }) => {
      const { diffCatalogs } = await import("./commands/catalog.js");
      exit(await diffCatalogs(old, now, flags));
    });
  addSettings(
    catalog
      .command("stats")
      .description("list the trees, how many files they have, and the memory they take"),
    STATE,
  )
    .argument("[tree]", "this one alone")
    .option("--json", "as JSON")
    .action(async (tree: string | undefined, flags: { json?: boolean }, command: Command) => {
      const { stats } = await import("./commands/catalog.js");
      exit(await stats(tree, flags, (await settingsOf(command)).values));
    });
  addSettings(
    catalog.command("drop").description("forget what is known of a tree; its files are not touched"),
    STATE,
  )
    .argument("<tree>")
    .action(async (tree: string, _flags: object, command: Command) => {
      const { drop } = await import("./commands/catalog.js");
      exit(await drop(tree, (await settingsOf(command)).values));
    });
}

function version(): string {
  return (
    JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
  ).version;
}

/** Runs one command; answers its exit code. */
export async function main(args: string[]): Promise<number> {
  let code = 0;
  tolerateClosedOutput();
  const program = build((value) => {
    code = value;
  });
  if (args[0] === "fetch") await logUsageErrors(program);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      return args[0] === "fetch" ? 64 : 2;
    }
    reportError(error);
    return isSettings(error) ? 2 : 1;
  }
  return (await isOutputWhole()) || code !== 0 ? code : 1;
}

/** Usage errors of `drover fetch` are JSON lines too. */
async function logUsageErrors(program: Command): Promise<void> {
  const fetch = program.commands.find((command) => command.name() === "fetch");
  const { FetchLog } = await import("./commands/fetch.js");
  const log = new FetchLog(version());
  fetch?.configureOutput({ outputError: (text) => log.say("error", text.replace(/^error: /, "").trim()) });
}

/** Wrong settings and a Redis that is not there: nothing has changed. */
function isSettings(error: unknown): boolean {
  return (
    error instanceof InvalidArgumentError ||
    /^(SettingsError|UnavailableError|EmbeddedError)$/.test((error as Error).name)
  );
}
