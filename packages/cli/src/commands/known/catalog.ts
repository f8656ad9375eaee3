import type { Command } from "commander";
import { addSettings, NETWORK, S3, STATE, settingsOf, startLogAlone } from "../../settings/flags.js";
import type { Exit } from "../options.js";

/** `drover catalog …`: the catalog of each destination tree. */
export function addCatalog(program: Command, exit: Exit): void {
  const catalog = program
    .command("catalog")
    .description("what is known of the files of each destination tree");
  const TREE = "its directory or id, as `drover catalog stats` lists them (default: the only one there is)";
  const command = (name: string, description: string) => catalog.command(name).description(description);
  addSettings(
    command("export", "write what is known of a tree, sorted by path")
      .argument("[tree]", TREE)
      .option(
        "--format <csv|ndjson|sqlite>",
        "(default: as the output's name ends; csv where it has no ending)",
      )
      .option("--output <FILE>", "(default: standard output)"),
    STATE,
  ).action(
    async (tree: string | undefined, flags: { format?: string; output?: string }, command: Command) => {
      const { exportCatalog } = await import("./catalog-actions.js");
      exit(await exportCatalog(tree, flags, (await settingsOf(command)).values));
    },
  );
  addSettings(
    command("import", "make an export known again; what is known already is kept")
      .argument("<file>")
      .argument("[tree]", TREE)
      .option("--format <csv|ndjson>", "(default: as the file's name ends, else csv)"),
    [...NETWORK, ...S3, ...STATE],
  ).action(async (file: string, tree: string | undefined, flags: { format?: string }, command: Command) => {
    const { importCatalog } = await import("./catalog-actions.js");
    exit(await importCatalog(file, tree, flags, await settingsOf(command)));
  });
  command("diff", "compare two exports (CSV): added, removed, changed, renamed, permissions")
    .argument("<old>")
    .argument("<new>")
    .option("--json", "as JSON")
    .action(async (old: string, now: string, flags: { json?: boolean }, command: Command) => {
      await startLogAlone(command);
      const { diffCatalogs } = await import("./catalog-actions.js");
      exit(await diffCatalogs(old, now, flags));
    });
  addSettings(command("stats", "list the trees, how many files they have, and the memory they take"), STATE)
    .argument("[tree]", "this one alone")
    .option("--json", "as JSON")
    .action(async (tree: string | undefined, flags: { json?: boolean }, command: Command) => {
      const { stats } = await import("./catalog-actions.js");
      exit(await stats(tree, flags, (await settingsOf(command)).values));
    });
  addSettings(command("drop", "forget what is known of a tree; its files are not touched"), STATE)
    .argument("<tree>")
    .action(async (tree: string, _flags: object, command: Command) => {
      const { drop } = await import("./catalog-actions.js");
      exit(await drop(tree, (await settingsOf(command)).values));
    });
}
