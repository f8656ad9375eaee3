import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import { withDestination } from "../../settings/destination.js";
import { addSettings, RUN, settingsOf, without } from "../../settings/flags.js";
import { OptionError } from "../../settings/option-error.js";
import type { SettingName } from "../../settings/settings.js";
import type { Exit } from "../options.js";
import { addRunOptions, type RunFlags, SOURCES_HELP } from "./run-options.js";
import { makeRun } from "./sync-action.js";

/** What the last argument says instead. */
const DESTINATION: SettingName[] = ["artifact-root", "script-name"];

/** `drover cp SOURCE… DEST` */
export function addCp(program: Command, exit: Exit): void {
  const command = program
    .command("cp")
    .description("copy files, URLs and the content of directories and prefixes to DEST; nothing is deleted")
    .usage("[options] SOURCE... DEST")
    .argument("<path...>", `${SOURCES_HELP}; the last one is where they go`);
  const filters = addRunOptions(command);
  addSettings(command, without(RUN, DESTINATION)).action(
    async (paths: string[], flags: RunFlags, command: Command) => {
      const [sources, destination = ""] = [paths.slice(0, -1), paths.at(-1)];
      if (sources.length === 0 && flags.fromFile === undefined)
        throw new OptionError(`cp needs a source and a destination: drover cp ${destination} DEST`);
      const resolved = withDestination(await settingsOf(command), "DEST", destination);
      // As in cp: one file goes into DEST where that is a directory or ends in /, else DEST is its name.
      const rootMayBeFile = !/\/\.{0,2}$|^\.{1,2}$/.test(destination);
      exit(await makeRun(sources, { ...flags, filters }, resolved, { rootMayBeFile }));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["a file by its name, into a directory", "drover cp https://example.com/a.csv downloads/"],
    ["and by another name", "drover cp https://example.com/a.csv today.csv"],
    ["the content of two directories to S3", "drover cp ./2025 ./2026 s3://bucket/reports"],
  ]);
}
