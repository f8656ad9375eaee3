import { messageOf, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { FileFacts } from "@drover/shared/leave";
import type { Permissions } from "@drover/shared/permissions";
import { type CatalogEntry, decodeCatalog, isUncertain } from "@drover/shared/protocol/catalog-entry";
import { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import { objectFacts } from "@drover/shared/storage/s3/object/facts";
import { readMetadata, withMode } from "@drover/shared/storage/s3/object/metadata";
import { encodeKey } from "@drover/shared/storage/s3/service/sigv4";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { WorkFile } from "../../attempt/delivery.js";
import { encodeResumeRecord } from "../../attempt/resume-record.js";
import {
  type Before,
  changedMeanwhile,
  type Destination,
  type FormerFile,
  type KeptPermissions,
  type Moved,
  type Published,
  type Staging,
  vouchedFor,
  type WriteAttempt,
} from "../destination.js";
import { keepObject } from "./backup.js";
import { DestinationObject } from "./object.js";
import { S3Staging } from "./staging.js";
import { S3Target, type S3TargetOptions } from "./target.js";

/** Time limit of one HEAD of a destination. */
const LOOK_MS = 60_000;
/** Time limit of a sweep. */
const SWEEP_MS = 600_000;

export interface S3DestinationOptions extends Omit<S3TargetOptions, "backupOf"> {
  /** Keeps what is overwritten or removed. */
  backup?: S3Tree;
  /** Called with errors that concern no single file. */
  onError(error: Error): void;
}

/** The objects below a prefix of a bucket. */
export class S3Destination implements Destination {
  readonly #target: S3Target;
  readonly #backup: S3Target | undefined;
  readonly #closing = new AbortController();
  #swept = false;

  constructor(private readonly options: S3DestinationOptions) {
    const { backup, tree } = options;
    this.#target = new S3Target(options);
    if (backup) this.#backup = new S3Target({ ...options, tree: backup, backupOf: tree });
  }

  async before(attempt: WriteAttempt): Promise<Before> {
    const { file, expected, admitted } = attempt;
    const known = decodeCatalog(admitted.catalog);
    const entry = known && isUncertain(known) ? undefined : known;
    if (entry && !this.options.spec.checkDestination) return vouchedFor(entry, attempt);
    const nothing: Before = { entry: undefined, known: "", expected: false };
    if (!entry && expected === undefined) return nothing;
    const head = await this.#head(file);
    if (entry && head?.etag === entry.stamp) return vouchedFor(entry, attempt);
    if (expected === undefined || !head || readMetadata(head.headers).sha256 !== expected) return nothing;
    const { etag, sizeBytes } = head;
    return {
      entry: { source: "", version: "", sha256: expected, stamp: etag, sizeBytes },
      known: "",
      expected: true,
    };
  }

  async #head(file: WorkFile) {
    const { bucket, tree } = this.#target;
    try {
      return await bucket.head(tree.key(file.name), AbortSignal.timeout(LOOK_MS));
    } catch (error) {
      throw this.#target.asDestinationError(error, file);
    }
  }

  async look({ file }: WriteAttempt): Promise<FileFacts | undefined> {
    const head = await this.#head(file);
    return head && objectFacts(head);
  }

  stage(attempt: WriteAttempt): Staging {
    this.#sweep();
    const stamp = decodeCatalog(attempt.admitted.catalog)?.stamp;
    const backup = this.#backup;
    const keepFormer = backup && ((etag: string) => this.#keepFormer(backup, attempt, etag));
    return new S3Staging(new DestinationObject(this.#target, attempt, stamp, keepFormer));
  }

  /** Keeps the version that is to be overwritten. @throws TransferError as {@link keepObject}. */
  async #keepFormer(backup: S3Target, attempt: WriteAttempt, etag: string): Promise<void> {
    const { file, expected, lease, record, terms, limiter, watchdog } = attempt;
    // The upload in the record is that of the new version: none was begun to the backup under another fence.
    const admitted = { ...attempt.admitted, predecessors: [] };
    const { upload: _, ...rest } = record;
    const own = { file, expected, admitted, lease, record: { ...rest }, terms, limiter, watchdog };
    await keepObject(backup, this.#objectOf(file), own, etag);
    // An upload to the backup may have taken its place in the record of the lease.
    if (record.upload) await this.#target.leases.confirm(lease, encodeResumeRecord(record));
    failpoint("kept");
  }

  #objectOf({ name }: WorkFile): S3CopySource {
    const { tree } = this.#target;
    return new S3CopySource(this.options.client, { bucket: tree.bucket, key: tree.key(name) });
  }

  /** Drops abandoned uploads and probes, once per process and run. No file waits for this or fails because of it. */
  #sweep(): void {
    if (this.#swept) return;
    this.#swept = true;
    const { signal } = this.#closing;
    const { conditions, uploads, tree } = this.#target;
    const within = AbortSignal.any([signal, AbortSignal.timeout(SWEEP_MS)]);
    const sweep = async () => {
      await conditions.sweep(within);
      await uploads.sweep(within);
    };
    sweep().catch((error) => {
      if (signal.aborted) return; // the next run continues
      const why = `what was left below ${tree.root} cannot be dropped: ${messageOf(error)}`;
      this.options.onError(new Error(why, { cause: error }));
    });
  }

  async remove(attempt: WriteAttempt, stamp: string): Promise<void> {
    const { file, lease, admitted, record } = attempt;
    const { bucket, tree, conditions } = this.#target;
    this.#sweep();
    if (admitted.predecessors.length > 0 && record.upload?.object === undefined) {
      const staging = this.stage(attempt);
      await staging.adopt(admitted.predecessors, record, true); // as if it still ran, so that its upload is dropped
      await staging.discard();
      staging.close();
      delete record.upload;
    }
    const key = tree.key(file.name);
    const isThere = async () => {
      const head = await bucket.head(key, lease.signal);
      if (head && head.etag !== stamp) throw changedMeanwhile(file.path);
      return head !== undefined;
    };
    const backup = this.#backup;
    if (backup) {
      try {
        await keepObject(backup, this.#objectOf(file), attempt, stamp);
      } catch (error) {
        // Somebody may have removed or replaced it just now.
        const about = error instanceof TransferError && /^(not-found|changed)$/.test(error.class);
        if (about && !(await isThere())) return;
        throw error;
      }
      failpoint("kept");
    }
    const isSeen = backup !== undefined || (await isThere());
    const base = { is: "version", etag: stamp } as const;
    const headers = await conditions.headers("remove", base);
    // A condition is more than a look, which may be wrong. Without one, the backup took time, so it may have changed.
    if (!headers && !(backup ? await isThere() : isSeen)) return;
    lease.check();
    await this.#target.markUncertain(file.name, decodeCatalog(admitted.catalog));
    const removed = await bucket.remove(key, lease.signal, headers);
    if (removed.is === "refused") {
      if (!(await isThere())) return;
      throw changedMeanwhile(file.path);
    }
    failpoint("removed");
  }

  /** An object's mode is metadata: a copy onto itself has the new one. Owners and grants are not kept. */
  async permit(
    attempt: WriteAttempt,
    { mode, owner, grants }: Permissions,
    { stamp, sizeBytes }: CatalogEntry,
  ): Promise<KeptPermissions> {
    const { file, lease } = attempt;
    const { bucket, tree, conditions, mostCopyBytes } = this.#target;
    if (mode === undefined || sizeBytes > mostCopyBytes) return { all: false };
    const key = tree.key(file.name);
    try {
      const head = await bucket.head(key, lease.signal);
      if (!head || head.etag !== stamp) throw changedSince(file.path);
      const base = { is: "version", etag: stamp } as const;
      const condition = await conditions.headers("copy", base);
      if (!condition) return { all: false };
      lease.check();
      const headers = {
        ...withMode(head.headers, mode),
        ...bucket.copyHeaders(head.headers),
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-copy-source-if-match": stamp,
        ...condition,
      };
      const written = await bucket.copy(
        key,
        `/${encodeKey(bucket.name)}/${encodeKey(key)}`,
        headers,
        lease.signal,
      );
      if (written.is !== "written") throw changedSince(file.path);
      return { all: owner === undefined && grants === undefined, stamp: written.etag };
    } catch (error) {
      if (error instanceof TransferError && error.class === "changed") await this.#target.forget(file.name);
      throw this.#target.asDestinationError(error, file);
    }
  }

  async move(attempt: WriteAttempt, { attempt: former, entry }: FormerFile): Promise<Moved | undefined> {
    const { file } = attempt;
    const { tree, bucket } = this.#target;
    if (this.#backup) return undefined;
    const { signal } = attempt.lease;
    const known = decodeCatalog(attempt.admitted.catalog);
    const target = await this.#head(file);
    const source = await bucket.head(tree.key(former.file.name), signal);
    // An attempt before this one may have copied it: equal ETags mean equal bytes, or equal parts.
    const isThere = target?.etag === entry.stamp && target.sizeBytes === entry.sizeBytes;
    if (!source) return isThere ? { stamp: target.etag } : undefined;
    if (source.etag !== entry.stamp) return undefined;
    if (target && !isThere && target.etag !== known?.stamp) return undefined;
    former.lease.check();
    await this.#target.markUncertain(file.name, known);
    await this.#target.markUncertain(former.file.name, entry);
    let published: Published = { outcome: "unchanged", stamp: entry.stamp };
    if (!isThere) {
      const staging = new S3Staging(new DestinationObject(this.#target, attempt, target?.etag));
      try {
        const opened = await this.#objectOf(former.file).open("", signal);
        if (opened.is !== "body" || !opened.copy || opened.entry.strongEtag !== entry.stamp) return undefined;
        const received = await staging.receiveCopy(opened, { ...opened.copy, exact: true });
        published = await staging.publish(received, opened.entry);
        delete attempt.record.upload;
      } catch (error) {
        await staging.discard();
        delete attempt.record.upload;
        throw error;
      } finally {
        staging.close();
      }
      failpoint("linked");
    }
    await this.remove(former, entry.stamp);
    const { stamp, unconditional } = published;
    return { stamp, ...(unconditional ? { unconditional } : {}) };
  }

  close(): void {
    this.#closing.abort();
  }
}

function changedSince(path: string): TransferError {
  return new TransferError("changed", `${path} changed since it was copied`, { verdict: "ok" });
}
