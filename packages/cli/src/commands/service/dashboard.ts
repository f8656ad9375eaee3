import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { loadDotEnv } from "../../settings/dot-env.js";
import { settingsOf } from "../../settings/flags.js";
import type { Exit } from "../options.js";
import type { ServeFlags } from "./serve-action.js";
import { addDashboardOptions, addServiceOptions, addServiceSettings } from "./service-options.js";

/** `drover dashboard`: the HTTP service and its pages, carrying no files itself. */
export function addDashboard(program: Command, exit: Exit): void {
  const command = program
    .command("dashboard")
    .description("show what a fleet does in a browser, beside the HTTP service, until a signal");
  addServiceOptions(command);
  addDashboardOptions(command);
  addServiceSettings(command);
  command.action(async (flags: ServeFlags, command: Command) => {
    loadDotEnv();
    const resolved = await settingsOf(command);
    const { serve } = await import("./serve-action.js");
    exit(await serve({ ...flags, dashboard: true, carriesNothing: true }, resolved));
  });
  addExamples(command, [
    ["the pages of a fleet, on this machine", "drover dashboard --redis redis://redis:6379"],
    [
      "behind a proxy that logs users in",
      "drover dashboard --redis redis://redis:6379 --trusted-proxy 10.0.0.5 --proxy-scope alice=read,operate",
    ],
  ]);
}
