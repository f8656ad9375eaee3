import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { accessHash } from "@drover/shared/permissions";
import { NO_ENTRY } from "@drover/shared/protocol/admission";
import { type CatalogEntry, decodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { NoSuchObjectError } from "@drover/shared/storage/s3/service/errors";
import type { Body, Opened, Source, SourceEntry } from "@drover/shared/storage/source";
import type { Attempt } from "../attempt/attempt.js";
import { dropBytes, encodeResumeRecord } from "../attempt/resume-record.js";
import type { FileEnd } from "../attempt/settle.js";
import { StoppingError } from "../attempt/stopping.js";
import type { Operation } from "../attempt/under-lease.js";
import { receive } from "../bytes/receive.js";
import { verify } from "../bytes/verify.js";
import {
  type Before,
  mayRun,
  type Published,
  type Received,
  type Staging,
} from "../destinations/destination.js";
import { isLeft } from "./leave.js";
import { permit, wantedPermissions } from "./permit.js";

/** Number of crashed attempts after which a fleet's file is not retried. */
const MOST_CRASHES = 8;

/** Number of wrong checksums after which the file itself counts as wrong. */
const MOST_MISMATCHES = 2;

/** Copies one file. The destination always has the complete old or the complete new content. */
export class CopyFile implements Operation {
  readonly tellsOfErrors = true;
  #staging: Staging | undefined;
  #body: Body | undefined;

  constructor(private readonly attempt: Attempt) {}

  /** Copies an admitted file: open → stage → verify → commit. The caller settles it. */
  async run(): Promise<FileEnd> {
    const { attempt } = this;
    const { context, job, record } = attempt;
    await this.begin();
    const { ignoreTimes, leave } = attempt.terms;
    if (leave && (await isLeft(attempt, await context.source(job)))) return await this.#leave();
    const before = await context.destination.before(attempt);
    if (before.expected && !ignoreTimes) {
      await this.#staging?.discard();
      const entry = before.entry as CatalogEntry;
      return { outcome: "unchanged", entry, verifiedBy: "sha256", verdict: "none" };
    }

    const source = await context.source(job);
    const known = ignoreTimes || leave?.same === "checksum" ? "" : before.known;
    const opened = await open(source, attempt, known).catch((error: unknown) => {
      if (attempt.terms.whenGone !== undefined && error instanceof NoSuchObjectError) return undefined;
      throw error;
    });
    failpoint("open");
    const { trace } = attempt.delivery;
    trace?.step("opened");
    if (!opened) return await this.#gone(before);
    if (opened.is === "unchanged") {
      await this.#staging?.discard();
      await this.#readAccess(source, opened.entry);
      const entry = { ...(before.entry as CatalogEntry), version: opened.entry.version };
      const permitted = await permit(attempt, entry, opened.entry);
      return { outcome: "unchanged", ...permitted, verifiedBy: "not-modified", verdict: "ok" };
    }

    this.#body = opened.body;
    // Of a source that cannot be looked at, this is the first that is known.
    if (leave && !source.look && (await isLeft(attempt, source, opened.entry))) return await this.#leave();
    await this.#readAccess(source, opened.entry);
    const { mode, ...access } = wantedPermissions(attempt, opened.entry);
    if (mode !== undefined) opened.entry.mode = mode;
    opened.entry.access = access;
    this.#staging ??= context.destination.stage(attempt);
    const { version, strongEtag, sizeBytes } = opened.entry;
    Object.assign(record, { version, strongEtag, sizeBytes });
    context.receiving?.(job, record);
    const received = await receive(attempt, source, opened, this.#staging);
    failpoint("stage");
    trace?.step("staged");

    const verifiedBy = verify(received, opened.entry, received.lengthBytes, job.x);
    failpoint("verify");
    trace?.step("verified");

    // The transfer took time, in which somebody may have written the file.
    if (leave && (await isLeft(attempt, source, opened.entry))) return await this.#leave();
    const published = await this.#publish(this.#staging, received, opened.entry);
    if (!published) return await this.#leave();
    if (published.outcome === "copied") failpoint("committed");
    trace?.step("committed");
    const entry: CatalogEntry = {
      source: attempt.file.sourceHash,
      version,
      sha256: received.sha256,
      stamp: published.stamp,
      sizeBytes: received.sizeBytes,
    };
    if (mode !== undefined) entry.mode = mode;
    const by = verifiedBy === "length" ? (published.verifiedBy ?? verifiedBy) : verifiedBy;
    const { outcome, unconditional, permissionsLost, hasAccess } = published;
    const hash = hasAccess ? accessHash(access) : undefined;
    if (hash !== undefined) entry.access = hash;
    const permitted = await permit(attempt, entry, opened.entry);
    return { outcome, verifiedBy: by, verdict: "ok", unconditional, permissionsLost, ...permitted };
  }

  /** @returns undefined if the file is to be left after all: somebody has written it at the same moment. */
  async #publish(staging: Staging, received: Received, entry: SourceEntry): Promise<Published | undefined> {
    const { attempt } = this;
    try {
      return await staging.publish(received, entry);
    } catch (error) {
      if (!attempt.spares || !(error instanceof TransferError) || error.class !== "changed") throw error;
      if (await isLeft(attempt, await attempt.context.source(attempt.job), entry)) return undefined;
      throw error; // the next attempt compares anew
    }
  }

  /** Ends a file that the terms of the run leave as it is. The catalog vouches for no more than before. */
  async #leave(): Promise<FileEnd> {
    this.#body?.abort(new Error("the file at the destination is left as it is"));
    await this.#staging?.discard();
    return { outcome: "unchanged", verdict: this.#body ? "ok" : "none" };
  }

  /** Ends a file whose source is gone, where that is no failure. */
  async #gone(before: Before): Promise<FileEnd> {
    const { attempt } = this;
    // An entry that does not vouch for the file any more still tells that it is ours: a removal before may have failed.
    const entry = before.entry ?? decodeCatalog(attempt.admitted.catalog);
    const { context, file, terms } = attempt;
    await this.#staging?.discard();
    const isOurs = entry !== undefined && entry.source === file.sourceHash;
    if (terms.whenGone !== "remove" || !isOurs) return { outcome: "unchanged", verdict: "ok" };
    attempt.fencedOff = false; // a removal that breaks off may leave something behind
    try {
      await context.destination.remove(attempt, entry.stamp);
    } catch (error) {
      // Somebody else has written it meanwhile: it is not what was copied any more.
      if (error instanceof TransferError && error.class === "changed")
        return { outcome: "unchanged", verdict: "ok" };
      throw error;
    }
    return { outcome: "deleted", entry: NO_ENTRY, verdict: "ok" };
  }

  /** Reads the access list of a source, where the run asks for it and nothing else says what permissions the copy has. */
  async #readAccess(source: Source, entry: SourceEntry): Promise<void> {
    const { job, terms, lease } = this.attempt;
    if (terms.permissions !== "acl" || job.m !== undefined || job.a !== undefined) return;
    if (entry.mode === undefined && source.access) entry.access = await source.access(lease.signal);
  }

  /**
   * Fences off the predecessors first: none may publish after this attempt has read anything.
   *
   * @throws TransferError class `poison` for a file that too many workers have died over.
   */
  async begin(): Promise<void> {
    const { attempt } = this;
    if (!attempt.fencedOff) await this.#fenceOff();
    if (attempt.context.flights.shared && attempt.admitted.crashes >= MOST_CRASHES)
      throw poison(attempt.admitted.crashes);
  }

  /** Drops what is staged: the file has got to its place without it. */
  async discard(): Promise<void> {
    await this.#staging?.discard();
  }

  async #fenceOff(): Promise<void> {
    const { attempt } = this;
    const { admitted, noted, record, lease } = attempt;
    this.#staging = attempt.context.destination.stage(attempt);
    const adopted = await this.#staging.adopt(admitted.predecessors, noted, mayRun(admitted));
    if (noted && adopted) {
      Object.assign(record, noted, { fence: admitted.fence });
      lease.note = encodeResumeRecord(record);
    } else delete record.upload;
    attempt.fencedOff = true;
  }

  learnFrom(error: TransferError): boolean {
    const { record } = this.attempt;
    if (error.class === "checksum") {
      record.mismatches++;
      record.oneStream = true; // the segments may have come from servers with different versions
    }
    return record.mismatches >= MOST_MISMATCHES;
  }

  async giveUp(error: TransferError | StoppingError, final: boolean): Promise<void> {
    this.#body?.abort(error);
    const { attempt } = this;
    const { record, terms } = attempt;
    const after = error instanceof StoppingError ? undefined : error.class;
    const mayKeep = terms.resume && !final && after !== "checksum";
    if (mayKeep && this.#staging?.worthKeeping(after)) {
      this.#staging.keep();
      return;
    }
    try {
      await this.#staging?.discard();
    } catch (failed) {
      if (!(failed instanceof TransferError)) throw failed;
      // It stays, so the lease's record must: the next attempt removes it, or fails. The error at hand tells more.
      attempt.fencedOff = false;
    }
    dropBytes(record);
    if (attempt.fencedOff) delete record.upload;
  }

  close(): void {
    this.#staging?.close();
  }
}

function poison(crashes: number): TransferError {
  const what = `${crashes} workers died or hung while they carried this file`;
  return new TransferError("poison", what, { permanent: true });
}

/** Opens the source: the rest if bytes are staged, else the whole file, unless it has the known version. */
async function open(source: Source, attempt: Attempt, known: string): Promise<Opened> {
  const { record, lease } = attempt;
  if (record.contiguousBytes === 0) return source.open(known, lease.signal);
  if (record.contiguousBytes === record.sizeBytes) {
    dropBytes(record); // complete but not committed: a range behind its end would be refused (416)
    return source.open(known, lease.signal);
  }
  try {
    const opened = await source.openRange(record, { startByte: record.contiguousBytes }, lease.signal);
    if (opened.is === "body" && opened.offset === record.contiguousBytes) return opened;
    dropBytes(record);
    return opened;
  } catch (error) {
    // The server did not serve the range, so the whole file is requested.
    if (!(error instanceof TransferError)) throw error;
    // Some servers fail only on ranges. In the last attempt, the whole file is worth trying.
    const hopeless = attempt.isLast && error.class === "server" && !error.throttled;
    if (error.class !== "changed" && error.verdict !== "ok" && !hopeless) throw error;
    dropBytes(record);
    return source.open(known, lease.signal);
  }
}
