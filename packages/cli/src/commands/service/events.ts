import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { loadDotEnv } from "../../settings/dot-env.js";
import { settingsOf } from "../../settings/flags.js";
import { ALLOW_ADDRESS_HELP, collect, type Exit } from "../options.js";
import type { EventsFlags } from "./events-action.js";
import { addServiceSettings } from "./service-options.js";

/** `drover events`: acts on what a storage tells a queue. */
export function addEvents(program: Command, exit: Exit): void {
  const command = program
    .command("events")
    .description("copy the objects that a storage tells a queue of, until a signal")
    .requiredOption("--sqs <URL>", "queue of Amazon SQS that gets the notifications")
    .option("--visibility <TIME>", "how long others do not see a message, before that is extended", "60s")
    .option(
      "--download-dir <DIR>",
      "where objects go without routes (default: LOCAL_DOWNLOAD_DIR, else downloaded_files)",
    )
    .option(
      "--root <DIR|S3>",
      "directory or s3://bucket/prefix that routes may lead below (repeatable)",
      collect,
    )
    .option("--allow-address <CIDR|HOST>", ALLOW_ADDRESS_HELP, collect);
  addServiceSettings(command);
  command.action(async (flags: EventsFlags, command: Command) => {
    loadDotEnv();
    const resolved = await settingsOf(command);
    const { events } = await import("./events-action.js");
    exit(await events(flags, resolved));
  });
  addExamples(command, [
    [
      "new objects of S3_BUCKET_NAME, by a queue that its notifications go to",
      "drover events --sqs https://sqs.eu-west-1.amazonaws.com/123456789012/uploads",
    ],
  ]);
}
