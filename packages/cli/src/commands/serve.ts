import type { Command } from "commander";
import { addExamples } from "../display/help.js";
import { settingsOf } from "../settings/flags.js";
import { loadDotEnv } from "../settings/service-settings.js";
import { ALLOW_ADDRESS_HELP, collect, type Exit } from "./options.js";
import type { ServeFlags } from "./serve-action.js";
import { addServiceSettings } from "./service-options.js";

/** `drover serve`: the HTTP service. */
export function addServe(program: Command, exit: Exit): void {
  const command = program
    .command("serve")
    .description("take runs and tell of them over HTTP, until a signal")
    .option(
      "--host <ADDRESS>",
      "address to listen on (default: API_HOST, else 127.0.0.1, with tokens 0.0.0.0)",
    )
    .option("--port <N>", "port to listen on (default: API_PORT, else 8888)")
    .option(
      "--download-dir <DIR>",
      "where /sync puts objects (default: LOCAL_DOWNLOAD_DIR, else downloaded_files)",
    )
    .option(
      "--root <DIR|S3>",
      "directory that requests may read and write below, or s3://bucket/prefix to write below (repeatable)",
      collect,
    )
    .option("--allow-address <CIDR|HOST>", ALLOW_ADDRESS_HELP, collect)
    .option("--insecure", "answer other machines without any token");
  addServiceSettings(command);
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
