import { TransferError } from "../../errors.js";
import {
  type Contents,
  changedSince,
  chunksOf,
  type FileVersion,
  goneSince,
  type KnownDigest,
  knownDigest,
} from "../contents.js";
import { HttpClient } from "../http/client.js";
import type { Source } from "../source.js";
import type { ContentsOptions } from "../storage.js";
import { parseS3 } from "./object/name.js";
import { S3Client } from "./service/client.js";
import { credentialsOf } from "./service/credentials.js";
import { digestsOf, etagOfVersion, S3Source } from "./source.js";

const CONNECTIONS = 32;

/** What objects hold: their checksums take one HEAD. */
export class S3Contents implements Contents {
  readonly isLocal = false;
  readonly #http: HttpClient;
  readonly #client: S3Client;

  /** @throws TransferError where the run has no S3 settings. */
  constructor(private readonly options: ContentsOptions) {
    const { s3, s3Keys, timeoutMs, userAgent } = options.spec;
    if (!s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    this.#client = new S3Client(this.#http, s3, credentialsOf(s3), s3Keys?.source);
  }

  async look(name: string, location: string, signal: AbortSignal): Promise<FileVersion | undefined> {
    const entry = await this.#source(location).look(this.#within(signal));
    if (!entry) return undefined;
    const { sizeBytes, mtimeMs, version, headers = {} } = entry;
    return { name, location, sizeBytes, mtimeMs, version, digests: [...digestsOf(headers)].map(knownDigest) };
  }

  /** ETags that are MD5s: of the bytes, or of the MD5s of their parts. */
  mark(file: FileVersion): string | undefined {
    return /^"([0-9a-f]{32}(-\d+)?)"$/.exec(this.stamp(file) ?? "")?.[1];
  }

  stamp({ version = "" }: FileVersion): string | undefined {
    return etagOfVersion(version);
  }

  async digests(file: FileVersion, signal: AbortSignal): Promise<KnownDigest[]> {
    if (file.digests) return file.digests;
    const entry = await this.#source(file.location).look(this.#within(signal));
    if (!entry) throw goneSince(file.location);
    if (!isVersion(file, entry.strongEtag)) throw changedSince(file.location);
    return [...digestsOf(entry.headers ?? {})].map(knownDigest);
  }

  source(_name: string, location: string): Source {
    return this.#source(location);
  }

  async *read(file: FileVersion, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const opened = await this.#source(file.location).open("", signal);
    yield* chunksOf(opened, file.location, ({ strongEtag }) => isVersion(file, strongEtag));
  }

  #source(location: string): S3Source {
    return new S3Source(this.#client, parseS3(location));
  }

  #within(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, AbortSignal.timeout(this.options.spec.timeoutMs)]);
  }

  close(): Promise<void> {
    return this.#http.close();
  }
}

function isVersion({ version = "" }: FileVersion, etag: string): boolean {
  const listed = etagOfVersion(version);
  return listed === undefined || listed === etag;
}
