import type { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { TransferJob } from "@drover/shared/job";
import { SAME_TIME_MS } from "@drover/shared/leave";
import { type CatalogEntry, decodeCatalog, versionBefore } from "@drover/shared/protocol/catalog-entry";
import { etagOfVersion } from "@drover/shared/storage/s3/source";
import type { SourceEntry } from "@drover/shared/storage/source";
import { holdPath } from "../attempt/admit.js";
import type { Attempt } from "../attempt/attempt.js";
import { workFile } from "../attempt/context.js";
import type { WorkFile } from "../attempt/delivery.js";
import { type Lease, now } from "../attempt/leases.js";
import { decodeResumeRecord, encodeResumeRecord, newResumeRecord } from "../attempt/resume-record.js";
import type { FileEnd } from "../attempt/settle.js";
import type { StoppingError } from "../attempt/stopping.js";
import type { Operation } from "../attempt/under-lease.js";
import type { WriteAttempt } from "../destinations/destination.js";
import { CopyFile } from "./copy.js";
import { isLeft } from "./leave.js";
import { permit } from "./permit.js";

/** The path that a file is moved from, under its lease. */
interface HeldPath extends WriteAttempt {
  file: WorkFile;
  lease: Lease;
  /** Whether none of the lease's former holders can change it any more. */
  fencedOff: boolean;
}

/**
 * Moves a file at the destination, because it was renamed at its source: look at the source → hold both paths → move. The
 * source must have the file under its new name in the version that was copied, and nothing under the former one. Where
 * it has not, or the destination cannot move the file, it is copied, and its former copy is left to a removal.
 */
export class MoveFile implements Operation {
  readonly tellsOfErrors = true;
  readonly #copy: CopyFile;
  #held: HeldPath | undefined;

  constructor(private readonly attempt: Attempt) {
    this.#copy = new CopyFile(attempt);
  }

  async run(): Promise<FileEnd> {
    const moved = await this.#move();
    if (moved) return moved;
    await this.#letGo();
    return await this.#copy.run();
  }

  async #move(): Promise<FileEnd | undefined> {
    const { attempt } = this;
    const { context, job, file, terms, admitted } = attempt;
    const { destination } = context;
    if (!job.f || !destination.move || terms.ignoreTimes) return undefined;
    await this.#copy.begin();
    if (await isLeft(attempt, await context.source(job))) return undefined; // the copy finds it, too
    const source = await this.#look(job.s);
    if (!source || job.x !== undefined) return undefined;
    const known = decodeCatalog(admitted.catalog);
    if (known?.source === file.sourceHash && known.version === source.version) return undefined;
    const held = await this.#hold(job.f);
    const found = held && decodeCatalog(held.admitted.catalog);
    const entry = found && { ...found, version: versionBefore(found) };
    if (!entry || entry.source !== held.file.sourceHash) return undefined;
    if (!isSame(entry, source) && !(await this.#isSameRead(entry, source, held))) return undefined;
    if (await this.#look(job.f.s)) return undefined;
    failpoint("move");
    const moved = await destination.move(attempt, { attempt: held, entry });
    if (!moved) return undefined;
    held.fencedOff = true;
    failpoint("moved");
    await this.#copy.discard();
    const { version } = source;
    const permitted = await permit(attempt, { ...entry, version, stamp: moved.stamp }, source);
    const { lease, tree, name } = held.file;
    const from = { lease, tree, name, fence: held.lease.fence };
    const { unconditional } = moved;
    return { outcome: "copied", ...permitted, verifiedBy: "etag", verdict: "ok", unconditional, from };
  }

  /** What the source has; undefined for nothing, and where that cannot be told. */
  async #look(location: string): Promise<SourceEntry | undefined> {
    const { context, job, lease } = this.attempt;
    const source = await context.source({ ...job, s: location });
    return await source.look?.(lease.signal);
  }

  /**
   * Whether a file that has to be read for it has the bytes of a copy, and its time and mode, which a move does not bring.
   */
  async #isSameRead(entry: CatalogEntry, source: SourceEntry, held: HeldPath): Promise<boolean> {
    const { context, job } = this.attempt;
    if (entry.sha256 === "" || source.sizeBytes !== entry.sizeBytes || source.mode !== entry.mode)
      return false;
    const opened = await context.source(job);
    const there = opened.digest && (await context.destination.look(held));
    if (there?.mtimeMs === undefined || source.mtimeMs === undefined) return false;
    if (Math.abs(there.mtimeMs - source.mtimeMs) >= SAME_TIME_MS) return false;
    return (await opened.digest?.("sha256")) === entry.sha256;
  }

  /** Takes the lease on the former path, unless somebody else has it. */
  async #hold({ s, d }: NonNullable<TransferJob["f"]>): Promise<HeldPath | undefined> {
    const { context, job, terms, limiter, watchdog } = this.attempt;
    const file = workFile({ ...job, s, d }, context);
    const askedAt = now();
    const admitted = await holdPath(file, context);
    if (!admitted) return undefined;
    const lease = context.leases.hold(file.lease, admitted.fence, askedAt);
    const record = newResumeRecord(admitted.fence, decodeResumeRecord(admitted.staged));
    const fencedOff = admitted.predecessors.length === 0;
    this.#held = { file, expected: undefined, admitted, lease, record, terms, limiter, watchdog, fencedOff };
    return this.#held;
  }

  /** Gives the former path back. */
  async #letGo(): Promise<void> {
    const held = this.#held;
    if (!held) return;
    this.#held = undefined;
    const { context } = this.attempt;
    context.leases.drop(held.lease);
    await context.admission.release({
      ...held.file,
      host: "",
      fence: held.lease.fence,
      staged: encodeResumeRecord(held.record),
      ...{ verdict: "none", epoch: "0", rules: context.terms.rules, retryAfterMs: 0 },
      fencedOff: held.fencedOff,
    });
  }

  learnFrom(error: TransferError): boolean {
    return this.#copy.learnFrom(error);
  }

  async giveUp(error: TransferError | StoppingError, final: boolean): Promise<void> {
    await this.#copy.giveUp(error, final);
    await this.#letGo();
  }

  close(): void {
    this.#copy.close();
    if (this.#held) this.attempt.context.leases.drop(this.#held.lease);
  }
}

/** Whether an object has the bytes of a copy: the same ETag, or the same SHA-256. */
function isSame(entry: CatalogEntry, { sizeBytes, strongEtag, digest }: SourceEntry): boolean {
  if (sizeBytes !== entry.sizeBytes) return false;
  if (strongEtag !== "" && strongEtag === etagOfVersion(entry.version)) return true;
  const sha256 = digest?.algorithm === "sha256" ? Buffer.from(digest.base64, "base64").toString("hex") : "";
  return sha256 !== "" && sha256 === entry.sha256;
}
