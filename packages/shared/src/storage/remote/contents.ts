import { type Contents, changedSince, type FileVersion, goneSince, type KnownDigest } from "../contents.js";
import { type Headers, HttpClient } from "../http/client.js";
import { HttpSource } from "../http/source.js";
import type { Source } from "../source.js";
import type { ContentsOptions } from "../storage.js";
import type { Connect } from "./lister.js";
import type { FileServer, RemoteHead } from "./server.js";

const CONNECTIONS = 16;

/** What the files of a server hold, below the root of the run. */
export class RemoteContents implements Contents {
  readonly isLocal = false;
  readonly #http: HttpClient;
  readonly #server: FileServer;

  constructor(
    private readonly options: ContentsOptions,
    connect: Connect,
  ) {
    const { root, timeoutMs, userAgent } = options.spec;
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    this.#server = connect(this.#http, root);
  }

  async look(name: string, location: string, signal: AbortSignal): Promise<FileVersion | undefined> {
    const head = await this.#head(name, signal);
    if (!head) return undefined;
    const { sizeBytes, etag: version } = head;
    return { name, location, sizeBytes, mtimeMs: undefined, version, digests: digestsOf(head) };
  }

  mark(): undefined {}

  stamp({ version }: FileVersion): string | undefined {
    return version;
  }

  async digests(file: FileVersion, signal: AbortSignal): Promise<KnownDigest[]> {
    return file.digests ?? digestsOf(await this.#sameHead(file, signal));
  }

  source(name: string): Source {
    const get = (_url: string, _headers: Headers, extra: Headers, signal: AbortSignal) =>
      this.#server.get(name, extra, signal);
    return new HttpSource({ get }, "", {});
  }

  /** The version is looked at behind the bytes: a server that changes it without another ETag cannot be told. */
  async *read(file: FileVersion, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const bytes = await this.#server.read(file.name, signal);
    if (!bytes) throw goneSince(file.location);
    yield* bytes;
    await this.#sameHead(file, signal);
  }

  async #sameHead(file: FileVersion, signal: AbortSignal): Promise<RemoteHead> {
    const head = await this.#head(file.name, signal);
    if (!head) throw goneSince(file.location);
    if (file.version !== undefined && head.etag !== file.version) throw changedSince(file.location);
    return head;
  }

  #head(name: string, signal: AbortSignal): Promise<RemoteHead | undefined> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(this.options.spec.timeoutMs)]);
    return this.#server.head(name, within);
  }

  close(): Promise<void> {
    return this.#http.close();
  }
}

function digestsOf({ sha256 }: RemoteHead): KnownDigest[] {
  return sha256 === undefined ? [] : [{ algorithm: "sha256", hex: sha256 }];
}
