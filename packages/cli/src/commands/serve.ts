import type { Command } from "commander";
import { addExamples, groupOptions } from "../display/help.js";
import { addSettings, OUTCOMES_KEPT, RETENTION, STATE, settingsOf } from "../settings/flags.js";
import { loadDotEnv } from "../settings/service-settings.js";
import { ALLOW_ADDRESS_HELP, collect, type Exit } from "./options.js";
import type { ServeFlags } from "./serve-action.js";

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
  addSettings(command, [
    ...(["concurrency", "drain-deadline", "retries", "timeout", "max-file-size"] as const),
    ...(["s3-bucket", "s3-endpoint", "s3-region", "s3-path-style", "s3-anonymous", "s3-profile"] as const),
    ...(["ca-file", "client-cert", "client-key"] as const),
    ...RETENTION,
    ...OUTCOMES_KEPT,
    ...STATE,
  ]);
  for (const option of command.options)
    option.description = describedHere(option.name()) ?? option.description;
  groupOptions(command);
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

/** What stands for the defaults of settings that have others here. */
function describedHere(name: string): string | undefined {
  switch (name) {
    case "retries":
      return "tries per file in all (default: RETRY_ATTEMPTS, else 3)";
    case "timeout":
      return "seconds for connecting, for the answer, and for 1 KiB of the body (default: DOWNLOAD_TIMEOUT_SECONDS, else 300)";
    case "max-file-size":
      return "refuse larger files, e.g. 2GiB (default: MAX_FILE_SIZE_MB, else 1000 MB)";
    case "s3-bucket":
      return "the bucket that /sync copies (default: S3_BUCKET_NAME)";
    case "concurrency":
      return "files that it carries at once (default: 16 without --redis, else none)";
    case "drain-deadline":
      return "seconds that requests and files on their way may take when it is stopped (default: 30)";
    default:
      return undefined;
  }
}
