import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { withDestination } from "../../settings/destination.js";
import { addSettings, RUN, settingsOf, without } from "../../settings/flags.js";
import { OptionError } from "../../settings/option-error.js";
import type { SettingName } from "../../settings/settings.js";
import type { Exit } from "../options.js";
import { addRunOptions, type RunFlags } from "./run-options.js";

/** What the last argument says instead, and what a removal of the sources needs as it is. */
const FIXED: SettingName[] = ["artifact-root", "script-name", "durability", "check-destination"];

/** `drover mv SOURCE… DEST` */
export function addMv(program: Command, exit: Exit): void {
  const command = program
    .command("mv")
    .description("copy to DEST as cp does, then remove each source whose copy is there and verified")
    .usage("[options] SOURCE... DEST")
    .argument(
      "<path...>",
      "s3://bucket/key, prefix or wildcards, files, directories; the last one is where they go",
    );
  const filters = addRunOptions(command);
  addSettings(command, without(RUN, FIXED)).action(
    async (paths: string[], flags: RunFlags, command: Command) => {
      const [sources, destination = ""] = [paths.slice(0, -1), paths.at(-1)];
      if (sources.length === 0 && flags.fromFile === undefined)
        throw new OptionError(`mv needs a source and a destination: drover mv ${destination} DEST`);
      const resolved = withDestination(await settingsOf(command), "DEST", destination);
      const { move } = await import("./mv-action.js");
      exit(await move(sources, { ...flags, filters }, resolved, destination));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["the content of a directory to S3", "drover mv /var/log/old s3://bucket/logs"],
    ["objects that wildcards choose, within S3", "drover mv 's3://bucket/in/*.csv' s3://bucket/done"],
    ["what would be moved", "drover mv --dry-run s3://bucket/in/ downloads"],
  ]);
}
