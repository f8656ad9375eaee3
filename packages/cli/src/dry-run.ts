import { createReadStream, existsSync, lstatSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import { openCheck, type S3Check } from "@drover/producer/compare/check-s3";
import { type Extraneous, findExtraneous } from "@drover/producer/delete/remove-extraneous";
import { START } from "@drover/producer/expand/cursor";
import { type Entry, expand } from "@drover/producer/expand/expand";
import { ListingError } from "@drover/producer/expand/listing-error";
import { compare } from "@drover/producer/runs/expand-run";
import { openPipe } from "@drover/producer/runs/piped-list";
import { TransferError } from "@drover/shared/errors";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { openTree } from "@drover/shared/storage/registry";
import { baseName, below, isS3 } from "@drover/shared/storage/s3/name";
import type { Tree } from "@drover/shared/storage/tree";
import type { Format } from "./display/report.js";
import { type Engine, openEngine } from "./engine.js";
import { EXIT } from "./exit.js";
import { printable, reportError, warn } from "./output.js";
import type { Plan } from "./plan-sync.js";
import type { Settings } from "./settings/settings.js";

const BATCH = 500;

/** What would be done about a file. */
interface Planned {
  source: string | null;
  /** Absolute, or "". */
  destination: string;
  action: "copy" | "unchanged" | "delete" | "none";
  reason: string;
  error?: { class: string; message: string };
}

/**
 * `--dry-run`: what the sync would do, without writing any file. Directories and prefixes are listed, and compared with
 * what earlier syncs noted, where there were any; no URL is asked for.
 *
 * @throws ListingError when a source cannot be listed to its end.
 */
export async function dryRun(plan: Plan, settings: Settings): Promise<number> {
  const { spec } = plan;
  const output = new Output(plan.format);
  const there = isS3(spec.root) || statSync(spec.root, { throwIfNoEntry: false })?.isDirectory();
  const tree = there ? openTree(spec) : undefined;
  const noted = settings.redis !== undefined || existsSync(join(settings["state-dir"] as string, "redis"));
  const engine = tree && noted ? await openEngine(settings) : undefined;
  const check = engine && tree ? openCheck(spec, tree, new AbortController().signal, warn) : undefined;
  try {
    const counts = { copy: 0, unchanged: 0, delete: 0, none: 0 };
    let added = 0;
    let incomplete: ListingError | undefined;
    const claims = new Claims(plan);
    const tell = async (found: Entry[]) => {
      const entries = claims.of(found);
      for (const planned of await judge(entries, plan, engine, tree, check)) {
        counts[planned.action]++;
        if (planned.reason === NEW) added++;
        output.file(planned);
      }
    };
    try {
      for await (const entries of batches(plan)) await tell(entries);
    } catch (error) {
      if (!(error instanceof ListingError)) throw error;
      incomplete = error;
    }
    const files = counts.copy + counts.unchanged + counts.none;
    let refused = "";
    if (spec.delete) {
      if (incomplete) refused = incomplete.message;
      else if (counts.none > 0)
        refused = `${counts.none} ${counts.none === 1 ? "file" : "files"} cannot be copied`;
      else if (tree) {
        const signal = new AbortController().signal; // Ctrl-C ends the process
        const besides = { removed: 0, added, coming: isS3(spec.root) ? files : 0 };
        const found = await findExtraneous(spec, plan.secrets.sources, tree, besides, signal, warn);
        refused = found.refused;
        for await (const each of refused === "" ? found.extraneous.all() : []) {
          counts.delete++;
          output.file(deletion(each, tree));
        }
        found.extraneous.close();
      }
    }
    const deleted = spec.delete ? `, ${counts.delete} deleted` : "";
    output.end(
      `${counts.copy} ${counts.copy === 1 ? "file" : "files"} would be copied, ${counts.unchanged} left unchanged${deleted}; nothing was changed`,
    );
    if (incomplete) throw incomplete;
    if (refused !== "") reportError(`nothing would be deleted in ${spec.root}: ${refused}`);
    else if (files === 0) warn("nothing matched: there is no file to sync");
    if (counts.none > 0) return counts.none === files ? EXIT.none : EXIT.some;
    return refused === "" ? EXIT.ok : EXIT.some;
  } finally {
    await check?.close();
    tree?.close();
    engine?.close();
  }
}

async function* batches({ spec, secrets, pipe }: Plan): AsyncGenerator<Entry[]> {
  const list =
    pipe !== undefined ? openPipe(pipe) : spec.list === undefined ? undefined : createReadStream(spec.list);
  const { signal } = new AbortController();
  let entries: Entry[] = [];
  try {
    for await (const found of expand({
      spec,
      sources: secrets.sources,
      list,
      from: START,
      signal,
      warn,
    })) {
      if ("passed" in found || entries.push(found) < BATCH) continue;
      yield entries;
      entries = [];
    }
  } finally {
    if (entries.length > 0) yield entries;
  }
}

/** Tells what two sources want to write, as Redis does for a run: then the names are kept until all are found. */
class Claims {
  readonly #sources: Map<string, string> | undefined;

  constructor({ spec }: Plan) {
    if (spec.sources.length > 1 || spec.list !== undefined || spec.listIsStdin) this.#sources = new Map();
  }

  /** Entries without those that come twice; with an error where another source came before. */
  of(entries: Entry[]): Entry[] {
    const sources = this.#sources;
    if (!sources) return entries;
    return entries.flatMap((entry) => {
      if (entry.error) return [entry];
      const other = sources.get(entry.destination);
      if (other === undefined) sources.set(entry.destination, entry.source);
      if (other === undefined) return [entry];
      return other === entry.source ? [] : [{ ...entry, error: COLLISION }];
    });
  }
}

const COLLISION = new TransferError("collision", "another source of this run has the same destination", {
  permanent: true,
});

const NEW = "it is not there";

async function judge(
  entries: Entry[],
  { spec }: Plan,
  engine: Engine | undefined,
  tree: Tree | undefined,
  check: S3Check | undefined,
): Promise<Planned[]> {
  const known =
    engine && tree
      ? await compare({ redis: engine.redis, keys: engine.keys, tree, check, input: { spec } }, entries)
      : [];
  return entries.map((entry, at): Planned => {
    const { redacted: source, error } = entry;
    const destination = entry.destination === "" ? "" : below(spec.root, entry.destination);
    const base = { source, destination };
    if (error) return refused(base, error);
    if (known[at]) return { ...base, action: "unchanged", reason: "it is as the last sync left it" };
    if (isS3(destination)) {
      const reason = "it is not known to be this version there";
      return { ...base, action: "copy", reason };
    }
    let there: Stats | undefined;
    try {
      there = tree instanceof LocalTree ? lookAt(tree, entry.destination) : undefined;
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      return refused(base, error);
    }
    if (!there) return { ...base, action: "copy", reason: NEW };
    if (there.isDirectory()) {
      const why = `the destination ${destination} is a directory`;
      return refused(base, new TransferError("path", why, { permanent: true }));
    }
    if (entry.version === undefined)
      return { ...base, action: "copy", reason: "it is there; the server will be asked whether it changed" };
    const where = isS3(source) ? "object" : "file";
    return {
      ...base,
      action: "copy",
      reason: `it is there, but not known to be this version of the ${where}`,
    };
  });
}

function deletion({ name }: Extraneous, tree: Tree): Planned {
  return { source: null, destination: tree.path(name), action: "delete", reason: "no source has it" };
}

function refused(
  of: Pick<Planned, "source" | "destination">,
  { class: cls, message }: TransferError,
): Planned {
  return { ...of, action: "none", reason: message, error: { class: cls, message } };
}

/** What is there now. @throws TransferError where a directory on the way is a link or a file. */
function lookAt(tree: LocalTree, name: string): Stats | undefined {
  const directory = tree.find(name);
  if (!directory) return undefined;
  try {
    return lstatSync(directory.at(baseName(name)), { throwIfNoEntry: false });
  } finally {
    tree.release(directory);
  }
}

/** Lines of the plan, many per write. */
class Output {
  #lines: string[] = [];
  #first = true;

  constructor(private readonly format: Format) {}

  file({ source, destination, action, reason, error }: Planned): void {
    if (this.format === "human") {
      const verb = action === "unchanged" ? "leave" : action;
      const what = source === null || action === "unchanged" ? destination : `${source} -> ${destination}`;
      this.#print(printable(error ? `✗ ${source} (${reason})` : `would ${verb} ${what} (${reason})`));
      return;
    }
    const status = error ? "failed" : "planned";
    const told = error ? { error } : { action, reason };
    const text = JSON.stringify({ source, destination, status, ...told });
    if (this.format === "ndjson") this.#print(text);
    else this.#print(`${this.#first ? "[\n" : ","}  ${text}`);
    this.#first = false;
  }

  end(summary: string): void {
    if (this.format === "human") this.#print(summary);
    if (this.format === "json") this.#print(this.#first ? "[]" : "]");
    this.#flush();
  }

  #print(line: string): void {
    if (this.#lines.push(line) >= BATCH) this.#flush();
  }

  #flush(): void {
    if (this.#lines.length > 0) process.stdout.write(`${this.#lines.splice(0).join("\n")}\n`);
  }
}
