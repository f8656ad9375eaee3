import { TransferError } from "../../errors.js";
import { HttpClient } from "../http/client.js";
import type { LookOptions, Peek, Peeked } from "../storage.js";
import { S3CopySource } from "./copy-source.js";
import { etagMd5 } from "./object/metadata.js";
import { parseS3 } from "./object/name.js";
import { S3Client } from "./service/client.js";
import { credentialsOf } from "./service/credentials.js";
import { etagOfVersion } from "./source.js";

const CONNECTIONS = 16;

/** Looks at single objects, with a HEAD each. */
export class S3Peek implements Peek {
  readonly #http: HttpClient;
  readonly #client: S3Client;

  /** @throws TransferError where the run has no S3 settings. */
  constructor(private readonly options: LookOptions) {
    const { s3, s3Keys, timeoutMs, userAgent } = options.spec;
    if (!s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    this.#client = new S3Client(this.#http, s3, credentialsOf(s3), s3Keys?.source);
  }

  async look(location: string): Promise<Peeked> {
    const { signal, spec } = this.options;
    const within = AbortSignal.any([signal, AbortSignal.timeout(spec.timeoutMs)]);
    const opened = await new S3CopySource(this.#client, parseS3(location)).open("", within);
    const { entry } = opened;
    const sha256 = opened.is === "body" ? opened.copy?.sha256 : undefined;
    return {
      entry,
      // A GET asks by the ETag alone.
      isVersion: (known) => entry.strongEtag !== "" && etagOfVersion(known) === entry.strongEtag,
      digest: async (algorithm) => (algorithm === "sha256" ? sha256 : etagMd5({ ...entry.headers })),
    };
  }

  close(): Promise<void> {
    return this.#http.close();
  }
}
