import type { Command } from "commander";
import { addExamples, groupOptions } from "../../display/help.js";
import type { Exit } from "../options.js";
import { addSyncOptions } from "./sync.js";

/** `drover plan SOURCE…` */
export function addPlan(program: Command, exit: Exit): void {
  const command = program
    .command("plan")
    .description("say what a sync with the same options would do, take and cost; changes nothing");
  addSyncOptions(command, async (sources, flags, resolved) => {
    const { plan } = await import("./plan-action.js");
    exit(await plan(sources, flags, resolved));
  });
  groupOptions(command);
  addExamples(command, [
    ["how many files and bytes, and how long", "drover plan s3://bucket/in/ --to in"],
    ["what it costs by your price table", "drover plan ./site --to s3://bucket/site --prices prices.yaml"],
    [
      "whether it stays below a limit, as exit code",
      "drover plan ./site --to s3://bucket/site --max-bytes 50GB",
    ],
  ]);
}
