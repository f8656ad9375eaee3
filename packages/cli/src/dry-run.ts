import { createReadStream, lstatSync } from "node:fs";
import { expand, START } from "@drover/producer/expand/expand";
import { below, isS3 } from "@drover/shared/storage/s3/name";
import type { Plan } from "./commands/sync.js";
import { warn } from "./output.js";

/**
 * `--dry-run`: what the sync would take up, without writing any file or starting Redis. No server is asked, except for
 * the listing of an s3:// source. Whether a file has changed is not asked, so this lists what would be looked at.
 *
 * @throws ListingError when an s3:// source cannot be listed to its end.
 */
export async function dryRun(plan: Plan): Promise<number> {
  const { spec, secrets } = plan;
  let files = 0;
  let refused = 0;
  const list = spec.listIsStdin
    ? process.stdin
    : spec.list === undefined
      ? undefined
      : createReadStream(spec.list);
  const onSkipped = (path: string, why: string) => warn(`left out ${path}: ${why}`);
  const { signal } = new AbortController(); // Ctrl-C ends the process
  const lines: string[] = [];
  const print = (text: string) => {
    if (lines.push(text) >= 500) process.stdout.write(`${lines.splice(0).join("\n")}\n`);
  };
  if (plan.format === "json") process.stdout.write("[");
  for await (const entry of expand({
    spec,
    sources: secrets.sources,
    list,
    from: START,
    signal,
    onSkipped,
  })) {
    const destination = entry.destination === "" ? "" : below(spec.root, entry.destination);
    if (plan.format === "human") {
      if (entry.error) print(`✗ ${entry.shown} (${entry.error.message})`);
      else print(`would sync ${entry.shown} -> ${destination}${isThere(destination) ? " (exists)" : ""}`);
    } else {
      const error = entry.error ? { error: { class: entry.error.class, message: entry.error.message } } : {};
      const status = entry.error ? "failed" : "planned";
      const text = JSON.stringify({ source: entry.shown, destination, status, ...error });
      print(
        plan.format === "json"
          ? `${files === 0 ? "\n  " : "  "}${text}`.replace(/^/, files === 0 ? "" : ",")
          : text,
      );
    }
    files++;
    if (entry.error) refused++;
  }
  if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
  if (plan.format === "json") process.stdout.write("]\n");
  if (plan.format === "human")
    process.stdout.write(`${files - refused} files would be synced, nothing was changed\n`);
  if (files === 0) warn("nothing matched: there is no file to sync");
  return refused === 0 ? 0 : refused === files ? 3 : 1;
}

/** Whether it is there, as far as no service is asked. */
function isThere(path: string): boolean {
  return !isS3(path) && lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
