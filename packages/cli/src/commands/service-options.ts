import type { Command } from "commander";
import { groupOptions } from "../display/help.js";
import { addSettings, OUTCOMES_KEPT, RETENTION, STATE } from "../settings/flags.js";

/** Adds the settings that `drover serve` and `drover events` share. To be called behind the command's own options. */
export function addServiceSettings(command: Command): void {
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
