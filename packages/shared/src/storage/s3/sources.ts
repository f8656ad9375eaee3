import { TransferError } from "../../errors.js";
import type { TransferJob } from "../../job.js";
import type { Source } from "../source.js";
import type { Sources, SourcesOptions } from "../storage.js";
import { S3CopySource } from "./copy-source.js";
import { parseS3 } from "./object/name.js";
import { S3Client } from "./service/client.js";
import { credentialsOf } from "./service/credentials.js";
import { copiesByItself } from "./service/service.js";
import { S3Source } from "./source.js";

/** Objects as a run reads them: over the network, or copied by their own service where it is written to as well. */
export class S3Sources implements Sources {
  readonly #client: S3Client;
  readonly #copies: boolean;

  /** @throws TransferError where the run has no S3 settings. */
  constructor({ http, spec }: SourcesOptions) {
    const { root, s3, s3Keys } = spec;
    if (!s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    this.#client = new S3Client(http, s3, credentialsOf(s3), s3Keys?.source);
    this.#copies = /^s3:/i.test(root) && copiesByItself(spec);
  }

  open(job: TransferJob): Source {
    const name = parseS3(job.s);
    // A checksum that the person gives can only be held against bytes that come by.
    return this.#copies && job.x === undefined
      ? new S3CopySource(this.#client, name)
      : new S3Source(this.#client, name);
  }
}
