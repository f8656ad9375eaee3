import type { ErrorClass } from "@drover/shared/errors";
import { readMetadata, withMode } from "@drover/shared/storage/s3/object/metadata";
import type { ServerCopy, Source, SourceEntry } from "@drover/shared/storage/source";
import type { ResumeRecord } from "../../attempt/resume-record.js";
import { readBeginning } from "../beginning.js";
import type { OpenedBody, Published, Received, Staging } from "../destination.js";
import { receiveCopy } from "./copy.js";
import type { DestinationObject } from "./object.js";
import { ObjectUpload } from "./object-upload.js";
import { receiveParts } from "./parts.js";
import { AlreadyThere, type StagedObject } from "./publishing/publication.js";
import { publish } from "./publishing/publish.js";
import { stageSmall } from "./small.js";

/**
 * One file on its way to an object. It chooses the way: bytes in memory, a multipart upload, a copy by the service, or
 * new metadata for the object that is there.
 */
export class S3Staging implements Staging {
  readonly #upload: ObjectUpload;
  #staged: StagedObject["staged"] | undefined;

  constructor(private readonly object: DestinationObject) {
    this.#upload = new ObjectUpload(object);
  }

  adopt(_fences: string[], noted: ResumeRecord | undefined, alive: boolean): Promise<boolean> {
    return this.#upload.adopt(noted, alive);
  }

  async receive(opened: OpenedBody, source: Source | undefined): Promise<Received> {
    if (opened.copy) {
      const copy = this.object.target.asAsked(withAskedMode(opened.copy, opened.entry.mode));
      return await this.receiveCopy(opened, copy);
    }
    const { ended, chunks } = await readBeginning(opened, this.object.attempt);
    const ofFile = source !== undefined;
    return this.#hold(
      ended
        ? await stageSmall(this.object, opened, chunks, ofFile)
        : await receiveParts(this.object, { opened, held: chunks, ofFile }, this.#upload),
    );
  }

  /** Stages another object of the same service, to be copied by it. */
  async receiveCopy(opened: OpenedBody, copy: ServerCopy): Promise<Received> {
    return this.#hold(await receiveCopy(this.object, opened, copy, this.#upload));
  }

  #hold({ received, staged }: StagedObject): Received {
    this.#staged = staged;
    return received;
  }

  async publish(received: Received, entry: SourceEntry): Promise<Published> {
    const { object } = this;
    const staged = this.#staged;
    if (!staged) throw new Error("nothing is staged");
    if (staged instanceof AlreadyThere) {
      await this.discard();
      return { outcome: "unchanged", stamp: staged.head.etag };
    }
    return await object.at(async () => {
      const published = await publish(object, staged, received, entry);
      if (published.outcome === "copied" && this.#upload.isBegun) await this.#upload.completed();
      else await this.discard(); // an upload of a predecessor is of no use any more
      return published;
    });
  }

  /** Without the lease, false: the successor has begun anew, so nobody would continue the upload. */
  worthKeeping(after: ErrorClass | undefined): boolean {
    return after !== "locked" && this.#upload.isThere;
  }

  keep(): void {
    this.#release();
    this.#upload.keep();
  }

  async discard(): Promise<void> {
    this.#release();
    await this.#upload.drop();
  }

  /** Gives up what is in memory. */
  #release(): void {
    if (this.#staged && !(this.#staged instanceof AlreadyThere)) this.#staged.release();
    this.#staged = undefined;
  }

  close(): void {
    this.keep();
  }
}

/** A copy that is to have other permission bits than its source. */
function withAskedMode(copy: ServerCopy, mode: number | undefined): ServerCopy {
  if (mode === undefined || mode === readMetadata(copy.headers).mode) return copy;
  return { ...copy, headers: withMode(copy.headers, mode), replaces: true, exact: true };
}
