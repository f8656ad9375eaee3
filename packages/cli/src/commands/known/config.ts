import type { Command } from "commander";
import { groupOptions } from "../../display/help.js";
import { addSettings, RUN, settingsOf, WORKER } from "../../settings/flags.js";
import { type Resolved, showSettings } from "../../settings/settings.js";
import type { Exit } from "../options.js";

export function addConfig(program: Command, exit: Exit): void {
  const command = program.command("config").description("print the settings and where they come from");
  addSettings(command, [...RUN, ...WORKER])
    .option("--json", "as JSON")
    .action(async (flags: { json?: boolean }, command: Command) => {
      exit(config(await settingsOf(command), flags));
    });
  groupOptions(command);
}

/** `drover config`: prints every setting with its value and origin; secrets are hidden. */
function config(resolved: Resolved, flags: { json?: boolean }): number {
  const rows = showSettings(resolved);
  if (flags.json) {
    const object = Object.fromEntries(rows.map(({ name, ...shown }) => [name, shown]));
    process.stdout.write(`${JSON.stringify(object, null, 2)}\n`);
    return 0;
  }
  for (const { name, value, origin, place } of rows) {
    const from = place === "" ? origin : `${origin} ${place}`;
    process.stdout.write(`${name.padEnd(16)} ${value === "" ? "''" : value}  (${from})\n`);
  }
  return 0;
}
