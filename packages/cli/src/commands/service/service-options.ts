import type { Command } from "commander";
import { groupOptions } from "../../display/help.js";
import { addSettings, OUTCOMES_KEPT, RETENTION, STATE } from "../../settings/flags.js";
import type { SettingName } from "../../settings/settings.js";
import { ALLOW_ADDRESS_HELP, collect } from "../options.js";

/** Adds where `drover serve` and `drover dashboard` listen, and what requests may reach. */
export function addServiceOptions(command: Command): Command {
  return command
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
}

/** Adds what the pages of the dashboard may do, and who logs in their users. */
export function addDashboardOptions(command: Command): Command {
  return command
    .option("--board-writes", "let Bull Board retry and remove jobs, for who has the scope operate")
    .option(
      "--trusted-proxy <CIDR>",
      "address of a proxy that logs in users and names them in a header (repeatable)",
      collect,
    )
    .option("--proxy-user-header <NAME>", "header that names the user (default: X-Forwarded-User)")
    .option(
      "--proxy-scope <USER=SCOPES>",
      "what a user of the proxy may do beside read (repeatable)",
      collect,
    );
}

/**
 * Adds the settings that `drover serve` and `drover events` share. To be called behind the command's own options.
 *
 * @param more settings of the command.
 */
export function addServiceSettings(command: Command, more: SettingName[] = []): void {
  addSettings(command, [
    ...more,
    ...(["concurrency", "drain-deadline", "retries", "timeout", "max-file-size"] as const),
    ...(["s3-bucket", "s3-endpoint", "s3-region", "s3-path-style", "s3-anonymous", "s3-profile"] as const),
    ...(["ca-file", "client-cert", "client-key", "prices"] as const),
    ...RETENTION,
    ...OUTCOMES_KEPT,
    ...STATE,
  ]);
  for (const option of command.options)
    option.description = describedHere(option.name()) ?? option.description;
  groupOptions(command);
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
      return "the bucket whose objects are copied (default: S3_BUCKET_NAME)";
    case "concurrency":
      return "files that it carries at once (default: 16 without --redis, else none)";
    case "drain-deadline":
      return "seconds that requests and files on their way may take when it is stopped (default: 30)";
    default:
      return undefined;
  }
}
