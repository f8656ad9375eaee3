import type { Command } from "commander";
import { addSettings, RETENTION, STATE, settingsOf, WORKER } from "../../settings/flags.js";
import { OptionError } from "../../settings/option-error.js";
import { ALLOW_ADDRESS_HELP, collect, type Exit, HOST_LIMIT_HELP, type OutputFlags } from "../options.js";
import type { WorkerFlags } from "./worker-actions.js";

/** `drover worker`, and `drover workers`, which lists them. */
export function addWorker(program: Command, exit: Exit): void {
  addSettings(program.command("workers").description("list a fleet's workers and what they carry"), STATE)
    .option("--json", "as JSON")
    .action(async (flags: OutputFlags, command: Command) => {
      const { values } = await settingsOf(command);
      if (values.redis === undefined)
        throw new OptionError("only a fleet has workers: name its Redis with --redis or REDIS_URL");
      const { workers } = await import("./worker-actions.js");
      exit(await workers(values, flags));
    });
  addSettings(
    program
      .command("worker")
      .description("carry files of a fleet's runs, until a signal")
      .requiredOption(
        "--root <DIR>",
        "directory that files may be written below, on a file system that the fleet shares; or s3://bucket/prefix (repeatable)",
        collect,
      )
      .option("--host-limit <HOST=LIMIT>", HOST_LIMIT_HELP, collect)
      .option("--allow-address <CIDR|HOST>", ALLOW_ADDRESS_HELP, collect)
      .option("--verbose", "a line for every file"),
    [
      ...WORKER,
      ...RETENTION,
      "ca-file",
      "client-cert",
      "client-key",
      "s3-endpoint",
      "s3-region",
      "s3-profile",
      ...STATE,
    ],
  ).action(async (flags: WorkerFlags, command: Command) => {
    const resolved = await settingsOf(command);
    if (resolved.values.redis === undefined)
      throw new OptionError("a worker needs the fleet's Redis: name it with --redis or REDIS_URL");
    const { worker } = await import("./worker-actions.js");
    exit(await worker(flags, resolved));
  });
}
