import { TransferError } from "../../errors.js";
import {
  type Contents,
  changedSince,
  chunksOf,
  type FileVersion,
  type KnownDigest,
  knownDigest,
  refuseEncoding,
} from "../contents.js";
import type { Opened, Source } from "../source.js";
import type { ContentsOptions } from "../storage.js";
import { HttpClient } from "./client.js";
import { HttpSource } from "./source.js";

const CONNECTIONS = 4;

/** What URLs hold. */
export class HttpContents implements Contents {
  readonly isLocal = false;
  readonly #http: HttpClient;

  constructor(private readonly options: ContentsOptions) {
    const { timeoutMs, userAgent } = options.spec;
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
  }

  /** Asks for the file, whose head tells, and leaves its body. */
  async look(name: string, location: string, signal: AbortSignal): Promise<FileVersion | undefined> {
    let opened: Opened;
    try {
      opened = await this.#open(location, signal);
    } catch (error) {
      if (error instanceof TransferError && error.class === "not-found") return undefined;
      throw error;
    }
    if (opened.is === "body") opened.body.abort(new Error("it is only looked at"));
    const { entry } = opened;
    refuseEncoding(entry, location);
    const { sizeBytes, mtimeMs, version, digest } = entry;
    const digests = digest === undefined ? [] : [knownDigest(digest)];
    return { name, location, sizeBytes, mtimeMs, version, digests };
  }

  mark(): undefined {}

  stamp(): undefined {}

  async digests(file: FileVersion, signal: AbortSignal): Promise<KnownDigest[]> {
    if (file.digests) return file.digests;
    const now = await this.look(file.name, file.location, signal);
    if (now?.version !== file.version) throw changedSince(file.location);
    return now?.digests ?? [];
  }

  source(_name: string, location: string): Source {
    return new HttpSource(this.#http, location, this.options.headers);
  }

  async *read(file: FileVersion, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const opened = await this.#open(file.location, signal);
    yield* chunksOf(
      opened,
      file.location,
      ({ version }) => version === "" || !file.version || version === file.version,
    );
  }

  #open(location: string, signal: AbortSignal): Promise<Opened> {
    return this.source("", location).open("", signal);
  }

  close(): Promise<void> {
    return this.#http.close();
  }
}
