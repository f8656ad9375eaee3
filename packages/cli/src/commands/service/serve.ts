import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { loadDotEnv } from "../../settings/dot-env.js";
import { RELOAD, settingsOf, without } from "../../settings/flags.js";
import type { Exit } from "../options.js";
import type { ServeFlags } from "./serve-action.js";
import { addDashboardOptions, addServiceOptions, addServiceSettings } from "./service-options.js";

/** `drover serve`: the HTTP service. */
export function addServe(program: Command, exit: Exit): void {
  const command = program
    .command("serve")
    .description("take runs and tell of them over HTTP, until a signal");
  addServiceOptions(command);
  addDashboardOptions(
    command.option("--dashboard", "show the pages of drover dashboard too, on the same port"),
  );
  addServiceSettings(command, ["cache", "schema-dir", ...without(RELOAD, ["reload-command"])]);
  command.action(async (flags: ServeFlags, command: Command) => {
    loadDotEnv();
    const resolved = await settingsOf(command);
    const { serve } = await import("./serve-action.js");
    exit(await serve(flags, resolved));
  });
  addExamples(command, [
    ["a service for this machine alone, with workers of its own", "drover serve --root /srv/data"],
    ["two servers of a fleet", "drover serve --redis redis://redis:6379 --host 0.0.0.0 --root /srv/data"],
  ]);
}
