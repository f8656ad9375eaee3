import { extname } from "node:path";
import { type Change, diff, type State } from "@drover/producer/catalog/diff";
import { type ExportFormat, exportTree, FORMATS, toStandardOutput } from "@drover/producer/catalog/export";
import { importTree } from "@drover/producer/catalog/import";
import { toText } from "@drover/producer/catalog/rows";
import { planServices } from "@drover/producer/runs/plan/services";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { Catalog, type CatalogTree } from "@drover/shared/protocol/catalog";
import { destinationOf, parseRoot, storageOf } from "@drover/shared/storage/registry";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import prettyBytes from "pretty-bytes";
import { EXIT } from "../../exit.js";
import { reportError, warn } from "../../output.js";
import { OptionError } from "../../settings/option-error.js";
import { servicesRequestOf } from "../../settings/run-request.js";
import { type Resolved, SETTINGS, type Settings } from "../../settings/settings.js";
import { withEngine } from "../engine.js";

function withCatalog<T>(settings: Settings, use: (catalog: Catalog) => Promise<T>): Promise<T> {
  return withEngine(settings, (engine) => use(new Catalog(engine.redis, engine.keys)));
}

/** Exit codes of `drover catalog diff`, the same as those of diff(1). */
const DIFF_EXIT = { same: 0, different: 1, trouble: 2 } as const;

/** `drover catalog export [TREE]` */
export async function exportCatalog(
  given: string | undefined,
  flags: { format?: string; output?: string },
  settings: Settings,
): Promise<number> {
  const ending = extname(flags.output ?? "").slice(1);
  if (flags.format === undefined && ending !== "" && !isFormat(ending))
    throw new OptionError(
      `.${ending} at the end of ${flags.output} names no format: use .${FORMATS.join(", .")}, or --format`,
    );
  const format = formatOf(flags.format, flags.output);
  if (format === "sqlite" && flags.output === undefined)
    throw new OptionError("--format sqlite needs --output: a database is no text");
  return await withCatalog(settings, async (catalog) => {
    const tree = await knownTree(catalog, given);
    const files = await exportTree(catalog, tree, format, flags.output);
    if (flags.output !== undefined)
      process.stdout.write(`${filesText(files)} of ${tree.root} written to ${flags.output}\n`);
    return EXIT.ok;
  });
}

/** `drover catalog import FILE [TREE]` */
export async function importCatalog(
  file: string,
  given: string | undefined,
  flags: { format?: string },
  resolved: Resolved,
): Promise<number> {
  const format = formatOf(flags.format, file);
  if (format === "sqlite")
    throw new SettingsError("csv and ndjson are imported: export the database anew as one");
  return await withCatalog(resolved.values, async (catalog) => {
    const known =
      given === undefined ? await knownTree(catalog, undefined) : find(await catalog.trees(), given);
    const root = known?.root ?? (given as string);
    const { tree, check } = await openTree(root, known, resolved);
    try {
      const { files, added, changed } = await importTree(catalog, tree, file, format, check);
      const before = `${files - added - changed} were known already`;
      const left = check ? `, ${changed} are not there as they were` : "";
      process.stdout.write(
        `${filesText(added)} imported into the catalog of ${tree.root}, ${before}${left}\n`,
      );
      return EXIT.ok;
    } finally {
      await check?.close();
    }
  });
}

/** `drover catalog stats [TREE]` */
export async function stats(
  given: string | undefined,
  flags: { json?: boolean },
  settings: Settings,
): Promise<number> {
  return await withCatalog(settings, async (catalog) => {
    const trees = given === undefined ? await catalog.trees() : [await knownTree(catalog, given)];
    const rows = [];
    for (const { id, root } of trees) {
      const { entries, fileBytes, memoryBytes } = await catalog.size(id);
      rows.push({ root, id, files: entries, bytes: fileBytes, memory_bytes: memoryBytes });
    }
    if (flags.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    else if (rows.length === 0) process.stdout.write("the catalog is empty\n");
    else {
      for (const row of rows) {
        const each = row.files === 0 ? "" : ` (${Math.round(row.memory_bytes / row.files)} B per file)`;
        process.stdout.write(
          `${row.root}  ${row.id}  ${filesText(row.files)}, ${prettyBytes(row.bytes)}; ` +
            `${prettyBytes(row.memory_bytes)} in Redis${each}\n`,
        );
      }
    }
    return EXIT.ok;
  });
}

/** `drover catalog drop TREE` */
export async function drop(given: string, settings: Settings): Promise<number> {
  return await withCatalog(settings, async (catalog) => {
    const tree = await knownTree(catalog, given);
    const files = await catalog.drop(tree.id);
    process.stdout.write(
      `${filesText(files)} of ${tree.root} forgotten; the files themselves were not touched\n`,
    );
    return EXIT.ok;
  });
}

/** `drover catalog diff OLD.csv NEW.csv` */
export async function diffCatalogs(
  oldFile: string,
  newFile: string,
  flags: { json?: boolean },
): Promise<number> {
  const counts = { added: 0, removed: 0, changed: 0, renamed: 0, permissions: 0 };
  const told = async function* () {
    for await (const change of diff(oldFile, newFile)) {
      counts[change.change]++;
      yield change;
    }
  };
  try {
    await toStandardOutput(flags.json ? asJson(told(), counts) : asText(told(), counts));
  } catch (error) {
    reportError(error);
    return DIFF_EXIT.trouble;
  }
  return Object.values(counts).some((count) => count > 0) ? DIFF_EXIT.different : DIFF_EXIT.same;
}

type Counts = Record<Change["change"], number>;

/** Characters per write. */
const CHUNK_CHARACTERS = 1 << 16;

async function* inChunks(texts: AsyncGenerator<string>): AsyncGenerator<Buffer> {
  let chunk = "";
  for await (const text of texts) {
    chunk += text;
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield Buffer.from(chunk);
    chunk = "";
  }
  if (chunk !== "") yield Buffer.from(chunk);
}

function asText(changes: AsyncGenerator<Change>, counts: Counts): AsyncGenerator<Buffer> {
  const lines = async function* () {
    for await (const change of changes) yield `${lineOf(change)}\n`;
    const { added, removed, changed, renamed, permissions } = counts;
    yield `${added} added, ${removed} removed, ${changed} changed, ${renamed} renamed, ${permissions} with other permissions\n`;
  };
  return inChunks(lines());
}

function lineOf(change: Change): string {
  const path = shown(change.path);
  switch (change.change) {
    case "added":
      return `+ ${path}`;
    case "removed":
      return `- ${path}`;
    case "renamed":
      return `> ${shown(change.from)} -> ${path}`;
    case "permissions":
      return `p ${path} (${change.old.mode} -> ${change.new.mode})`;
    case "changed": {
      const { old, new: now } = change;
      const sizes = old.sizeBytes === now.sizeBytes ? "" : ` (${old.sizeBytes} B -> ${now.sizeBytes} B)`;
      return `~ ${path}${sizes}`;
    }
  }
}

/** Formats a path for one line of a terminal, quoted if it would break the line or be ambiguous. */
function shown(bytes: string): string {
  const text = toText(bytes);
  if (text === undefined) return JSON.stringify(Buffer.from(bytes, "latin1").toString());
  return /[\p{Cc}\p{Zl}\p{Zp}]|^"| -> /u.test(text)
    ? JSON.stringify(text).replace(
        /[\u007f-\u009f\u2028\u2029]/g,
        (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`,
      )
    : text;
}

function asJson(changes: AsyncGenerator<Change>, counts: Counts): AsyncGenerator<Buffer> {
  const texts = async function* () {
    let before = '{"changes":[';
    for await (const change of changes) {
      yield `${before}\n  ${JSON.stringify(jsonOf(change))}`;
      before = ",";
    }
    yield before === ","
      ? `\n],${JSON.stringify(counts).slice(1)}\n`
      : `${before}],${JSON.stringify(counts).slice(1)}\n`;
  };
  return inChunks(texts());
}

function jsonOf(change: Change) {
  const named = (name: "path" | "from", bytes: string) => {
    const text = toText(bytes);
    if (text !== undefined) return { [name]: text };
    const raw = Buffer.from(bytes, "latin1");
    return { [name]: raw.toString(), [`${name}_base64`]: raw.toString("base64") };
  };
  const state = (of: State) => ({ size: of.sizeBytes, sha256: of.sha256 || null, mode: of.mode || null });
  return {
    change: change.change,
    ...named("path", change.path),
    ...(change.change === "renamed" ? named("from", change.from) : {}),
    ...("old" in change ? { old: state(change.old) } : {}),
    ...("new" in change ? { new: state(change.new) } : {}),
  };
}

function filesText(files: number): string {
  return files === 1 ? "1 file" : `${files} files`;
}

function isFormat(text: string): text is ExportFormat {
  return (FORMATS as readonly string[]).includes(text);
}

/** The format of an export or import. @param file its ending decides if no format is given. Default csv. */
function formatOf(given: string | undefined, file: string | undefined): ExportFormat {
  if (given === undefined) {
    const end = extname(file ?? "").slice(1);
    return isFormat(end) ? end : "csv";
  }
  if (!isFormat(given))
    throw new OptionError(`--format must be ${FORMATS.join(", ")}, not ${JSON.stringify(given)}`);
  return given;
}

/** @throws SettingsError if the catalog has no such tree, or several and none is named. */
export async function knownTree(catalog: Catalog, given: string | undefined): Promise<CatalogTree> {
  const trees = await catalog.trees();
  if (trees.length === 0)
    throw new SettingsError("the catalog is empty: no sync has come to its end here yet");
  const named = trees.map((tree) => tree.root).join(", ");
  if (given === undefined) {
    if (trees.length === 1) return trees[0] as CatalogTree;
    throw new SettingsError(`name one of the trees: ${named}`);
  }
  const found = find(trees, given);
  if (!found) throw new SettingsError(`the catalog knows no tree ${given}: it has ${named}`);
  return found;
}

function find(trees: CatalogTree[], given: string): CatalogTree | undefined {
  const names = new Set([given, ...(storageOf(given).destination?.spellings(given) ?? [])]);
  const found = trees.filter(({ id, root }) => id === given || names.has(root));
  if (found.length > 1)
    throw new SettingsError(
      `${given} is at several services: name one by its id, ${found.map(({ id }) => id).join(", ")}`,
    );
  return found[0];
}

/**
 * Opens the tree of a root, which the catalog need not contain, and its check if the tree cannot look at
 * files itself.
 *
 * @param known the catalog's record of the tree.
 */
async function openTree(
  given: string,
  known: CatalogTree | undefined,
  resolved: Resolved,
): Promise<{ tree: CatalogTree; check: DestinationCheck | undefined }> {
  const destination = destinationOf(given);
  // A local tree is identified by its catalog record, even if its directory is gone.
  if (known && !destination.openCheck) return { tree: known, check: undefined };
  const root = parseRoot(given, process.cwd());
  if (!destination.mayExist(root))
    throw new SettingsError(`${root} is no directory: name the destination that the files are in`);
  const services = await planServices(servicesRequestOf(resolved), { read: [], written: root });
  try {
    const tree = destination.openTree(root, services);
    tree.close();
    if (known && known.id !== tree.id)
      throw new SettingsError(`${root} is at another service than these settings name: see --s3-endpoint`);
    const spec = {
      root,
      ...services,
      timeoutMs: SETTINGS.timeout.default * 1000,
      retries: SETTINGS.retries.default,
      userAgent: resolved.values["user-agent"],
    };
    const { signal } = new AbortController(); // never aborted: Ctrl-C ends the process
    return { tree, check: await destination.openCheck?.(tree, { spec, signal, warn }) };
  } catch (error) {
    throw error instanceof SettingsError ? error : new SettingsError(messageOf(error));
  }
}
