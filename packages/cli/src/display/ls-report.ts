import { once } from "node:events";
import type { PlaceEntry } from "@drover/producer/look/list-place";
import { messageOf, TransferError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import type { Bucket } from "@drover/shared/storage/s3/listing/list-buckets";
import { etagOfVersion } from "@drover/shared/storage/s3/source";
import prettyBytes from "pretty-bytes";
import { printable, reportError } from "../output.js";
import type { Format } from "./format.js";

/** Lines per write. */
const LINES = 500;
/** Widths of columns, in characters. */
const SIZE_WIDTH = 14;
const CLASS_WIDTH = 12;
const ETAG_WIDTH = 36;

export interface LsReportOptions {
  format: Format;
  long?: boolean;
  human?: boolean;
  summarize?: boolean;
  /** Whether several locations are listed: then entries are shown by their locations. */
  isSeveral: boolean;
  /** Called once when nobody reads standard output any more. */
  onClosed(): void;
}

/** What `drover ls` prints, in bounded memory: whoever reads it slowly is waited for. */
export class LsReport {
  isComplete = true;
  isClosed = false;
  #lines: string[] = [];
  #first = true;
  #files = 0;
  #directories = 0;
  #bytes = 0;

  constructor(private readonly options: LsReportOptions) {
    process.stdout.on("error", () => {
      if (!this.isClosed) options.onClosed();
      this.isClosed = true;
    });
  }

  async add(entry: PlaceEntry): Promise<void> {
    const { name, location } = entry;
    const named = { name: entry.is === "tree" ? `${name}/` : name, location: redactUrl(location) };
    if (entry.is === "failed") {
      this.isComplete = false;
      const { class: cls, message } = entry.error;
      reportError(`cannot list ${named.location}: ${message}`);
      if (this.options.format !== "human") await this.#json({ ...named, error: { class: cls, message } });
      return;
    }
    if (entry.is === "tree") {
      this.#directories++;
      if (this.options.format === "human") await this.#line(this.#columns([]), this.#shown(named, "/"));
      else await this.#json({ ...named, type: "directory" });
      return;
    }
    const { sizeBytes, mtimeMs, version, storageClass } = entry;
    this.#files++;
    this.#bytes += sizeBytes ?? 0;
    const isObject = /^s3:/.test(location);
    const etag = isObject ? etagOfVersion(version ?? "")?.replaceAll('"', "") : undefined;
    if (this.options.format === "human") {
      const size = sizeBytes === undefined ? "?" : this.#size(sizeBytes);
      const object = isObject
        ? [(storageClass ?? "-").padEnd(CLASS_WIDTH), (etag ?? "-").padEnd(ETAG_WIDTH)]
        : [];
      await this.#line(this.#columns([size, timeOf(mtimeMs), ...object]), this.#shown(named, ""));
      return;
    }
    await this.#json({
      ...named,
      type: "file",
      bytes: sizeBytes ?? null,
      modified: mtimeMs === undefined ? null : new Date(mtimeMs).toISOString(),
      ...(etag === undefined ? {} : { etag }),
      ...(storageClass === undefined ? {} : { storage_class: storageClass }),
    });
  }

  async bucket({ name, createdMs }: Bucket): Promise<void> {
    this.#directories++;
    if (this.options.format === "human")
      await this.#line(this.#columns(["", timeOf(createdMs)]), printable(`${name}/`));
    else
      await this.#json({
        ...{ name: `${name}/`, location: `s3://${name}/`, type: "bucket" },
        created: createdMs === undefined ? null : new Date(createdMs).toISOString(),
      });
  }

  /** A listing broke off. */
  async broken(location: string, error: unknown): Promise<void> {
    this.isComplete = false;
    if (this.options.format === "human") return;
    const cls = error instanceof TransferError ? error.class : "listing";
    await this.#json({ location, error: { class: cls, message: messageOf(error) } });
  }

  async end(): Promise<void> {
    const { format, summarize } = this.options;
    const [files, directories, bytes] = [this.#files, this.#directories, this.#bytes];
    if (summarize && format === "human") {
      const counts = `${files} ${files === 1 ? "file" : "files"}, ${directories} ${directories === 1 ? "directory" : "directories"}`;
      const size = this.options.human ? prettyBytes(bytes) : `${bytes} bytes`;
      await this.#line([], `${counts}, ${size}${this.isComplete ? "" : "; not everything could be listed"}`);
    } else if (summarize)
      await this.#json({ total: { files, directories, bytes, complete: this.isComplete } });
    if (format === "json") await this.#print(this.#first ? "[]" : "]");
    await this.#flush();
  }

  #size(bytes: number): string {
    return this.options.human ? prettyBytes(bytes) : String(bytes);
  }

  /** The columns before a name: none unless they are asked for. */
  #columns([size = "", time = "", ...others]: string[]): string[] {
    if (!this.options.long) return [];
    return [size.padStart(SIZE_WIDTH), time.padEnd(20), ...others];
  }

  #shown({ name, location }: { name: string; location: string }, end: string): string {
    return printable(this.options.isSeveral ? `${location.replace(/\/$/, "")}${end}` : name);
  }

  #line(columns: string[], name: string): Promise<void> {
    return this.#print([...columns, name].join("  "));
  }

  #json(value: object): Promise<void> {
    const text = JSON.stringify(value);
    const line = this.options.format === "ndjson" ? text : `${this.#first ? "[\n" : ","}  ${text}`;
    this.#first = false;
    return this.#print(line);
  }

  async #print(line: string): Promise<void> {
    if (this.#lines.push(line) >= LINES) await this.#flush();
  }

  async #flush(): Promise<void> {
    if (this.#lines.length === 0 || this.isClosed) return;
    const isRoom = process.stdout.write(`${this.#lines.splice(0).join("\n")}\n`);
    if (!isRoom)
      await Promise.race([once(process.stdout, "drain"), once(process.stdout, "close")]).catch(() => {});
  }
}

function timeOf(ms: number | undefined): string {
  return ms === undefined ? "-" : new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
