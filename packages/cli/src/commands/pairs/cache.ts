import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { addSettings, settingsOf } from "../../settings/flags.js";
import { ALLOW_ADDRESS_HELP, collect, type Exit } from "../options.js";
import type { CacheFlags } from "./cache-action.js";

const OPERATIONS = [
  ["refresh", "remove the keys of namespaces, and warm them"],
  ["invalidate", "remove the keys of namespaces, and warm templates"],
  ["warm", "have the program fill its cache, or put templates into it"],
  ["clear", "empty whole namespaces"],
] as const;

/** `drover cache refresh`, `invalidate`, `warm` and `clear` */
export function addCache(program: Command, exit: Exit): void {
  const cache = program.command("cache").description("the cache of your program, in a Redis of its own");
  for (const [operation, description] of OPERATIONS) {
    const command = cache
      .command(operation)
      .description(description)
      .option(
        "--namespace <NAME>",
        "templates, bccache, responses or gather (repeatable; default: the first three, unless there is a --key)",
        collect,
      );
    if (operation !== "warm") command.option("--key <KEY>", "remove this key, too (repeatable)", collect);
    if (operation !== "clear") {
      if (operation !== "warm") command.option("--no-warm-templates", "do not warm anything afterwards");
      command
        .option("--warm-url <URL>", "ask for it, so that the program fills its cache (repeatable)", collect)
        .option(
          "--warm-raw",
          "put templates into the cache as they are: only for programs that store them so",
        )
        .option("--templates <DIR>", "directory of these templates (repeatable; default: templates)", collect)
        .option(
          "--allow-address <ADDRESS>",
          ALLOW_ADDRESS_HELP.replace("guarded runs may fetch from", "--warm-url may lead to"),
          collect,
        );
    }
    command.option("-n, --dry-run", "say what would be done; change nothing").option("--json", "as JSON");
    addSettings(command, ["cache", "timeout"]).action(async (flags: CacheFlags, command: Command) => {
      const { values } = await settingsOf(command);
      const { cache } = await import("./cache-action.js");
      exit(await cache(operation, flags, values));
    });
  }
  addExamples(cache, [
    ["after a deployment", "drover cache refresh --cache redis://cache/1 --warm-url https://example.com/"],
    ["compiled templates alone", "drover cache clear --cache redis://cache/1 --namespace bccache"],
  ]);
}
