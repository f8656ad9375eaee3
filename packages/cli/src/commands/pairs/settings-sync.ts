import type { Command } from "commander";
import { addExamples, groupOptions, HELP } from "../../display/help.js";
import { addSettings, RELOAD, settingsOf } from "../../settings/flags.js";
import { ALLOW_ADDRESS_HELP, addDisplayOptions, collect, type Exit, type OutputFlags } from "../options.js";
import { addFilterOptions } from "../transfer/run-options.js";
import { addPairOptions, PAIR_SETTINGS } from "./pair-options.js";
import type { SettingsFlags } from "./settings-sync-action.js";

/** `drover settings [DIR]` and `drover settings check [DIR]` */
export function addSettingsSync(program: Command, exit: Exit): void {
  const command = program
    .command("settings")
    .description("keep YAML settings and a bucket the same: checked before they are published, then reloaded")
    .argument("[dir]", "directory of settings (default: settings)")
    .option(
      "--bucket <BUCKET>",
      "bucket, bucket/prefix, or a directory that begins with / or . (default: settings)",
    )
    .option("--adapter <NAME>", "only NAME.yml and NAME.yaml (repeatable; default: all)", collect)
    .option("--all-or-nothing", "publish nothing if a file is invalid (default: hold that file back alone)")
    .option("--no-reload", "do not tell the program that its settings have changed")
    .option(
      "--allow-address <ADDRESS>",
      ALLOW_ADDRESS_HELP.replace("guarded runs may fetch from", "--reload-url may lead to"),
      collect,
    );
  addPairOptions(command);
  const filters = addFilterOptions(command, "*.yml *.yaml");
  addDisplayOptions(command, "the result as a JSON object on standard output");
  addSettings(command, ["schema-dir", "cache", ...RELOAD, ...PAIR_SETTINGS]).action(
    async (directory: string | undefined, flags: SettingsFlags, command: Command) => {
      const resolved = await settingsOf(command);
      const { settings } = await import("./settings-sync-action.js");
      exit(await settings(directory, { ...flags, filters }, resolved));
    },
  );
  groupOptions(command);
  addExamples(command, [
    ["what would be done, and what is invalid", "drover settings ./settings --dry-run"],
    ["get those of production, and reload", "drover settings --direction pull --conflict remote-wins"],
    ["two adapters alone", "drover settings --adapter database --adapter cache"],
  ]);
  const check = command
    .command("check")
    .description("check settings as they are before they are published; changes nothing")
    .argument("[dir]", "directory of settings (default: settings)")
    .option("--adapter <NAME>", "only NAME.yml and NAME.yaml (repeatable; default: all)", collect)
    .option("--json", "as JSON")
    .configureHelp({ ...HELP, showGlobalOptions: false });
  addSettings(check, ["schema-dir"]).action(
    async (
      directory: string | undefined,
      flags: OutputFlags & Pick<SettingsFlags, "adapter">,
      command: Command,
    ) => {
      const { values } = await settingsOf(command);
      const { check } = await import("./settings-sync-action.js");
      exit(await check(directory, flags, values["schema-dir"]));
    },
  );
}
