import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { addSettings, settingsOf } from "../../settings/flags.js";
import { addDisplayOptions, type Exit } from "../options.js";
import { addFilterOptions } from "../transfer/run-options.js";
import { addPairOptions, PAIR_SETTINGS } from "./pair-options.js";
import type { TemplatesFlags } from "./templates-action.js";

/** `drover templates [DIR…]` */
export function addTemplates(program: Command, exit: Exit): void {
  const command = program
    .command("templates")
    .description("keep directories of templates and a bucket the same, and clear the cache of what changed")
    .argument("[dir...]", "directories of templates: the first one wins a name (default: templates)")
    .option(
      "--bucket <BUCKET>",
      "bucket, bucket/prefix, or a directory that begins with / or . (default: templates)",
    );
  addPairOptions(command);
  const filters = addFilterOptions(command, "*.html *.jinja2 *.j2");
  addDisplayOptions(command, "the result as a JSON object on standard output");
  addSettings(command, ["cache", ...PAIR_SETTINGS]).action(
    async (directories: string[], flags: TemplatesFlags, command: Command) => {
      const resolved = await settingsOf(command);
      const { templates } = await import("./templates-action.js");
      exit(await templates(directories, { ...flags, filters }, resolved));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["what would be done", "drover templates ./templates --dry-run"],
    [
      "in both directions, and clear the cache of what changed",
      "drover templates --cache redis://localhost:6379/1",
    ],
    ["deploy: local templates win", "drover templates ./templates --direction push --conflict local-wins"],
  ]);
}
