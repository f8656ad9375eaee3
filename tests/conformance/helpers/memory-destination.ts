import { hash } from "node:crypto";
import { TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import type { FileFacts } from "@drover/shared/leave";
import { baseName, STAGING_NAME, safeRelative } from "@drover/shared/paths";
import { decodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { compareKeys } from "@drover/shared/storage/key-order";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import type { Listed, ListedName, Lister, ListOptions, Looked } from "@drover/shared/storage/storage";
import type { EntryKind, Tree } from "@drover/shared/storage/tree";
import type { ResumeRecord } from "@drover/worker/attempt/resume-record";
import { digestOf } from "@drover/worker/bytes/hash/digest";
import { tooLarge } from "@drover/worker/bytes/receive";
import {
  type Before,
  changedMeanwhile,
  type Destination,
  type OpenedBody,
  type Published,
  type Received,
  type Staging,
  vouchedFor,
  type WriteAttempt,
} from "@drover/worker/destinations/destination";

interface MemoryFile {
  bytes: Buffer;
  /** Another one for each version. */
  stamp: string;
}

/**
 * A storage in memory, which several destinations may share as several workers share a directory. It knows conditions: a
 * file is replaced in the same step in which its stamp is compared.
 */
export class MemoryStore {
  readonly files = new Map<string, MemoryFile>();
  /** Staged bytes by lease and fence: whoever has another fence stages elsewhere. */
  readonly staged = new Map<string, Buffer[]>();
  #versions = 0;

  put(name: string, bytes: Buffer): string {
    const stamp = `v${++this.#versions}`;
    this.files.set(name, { bytes, stamp });
    return stamp;
  }

  /** @throws TransferError class `path`, permanent, for a name that no file may have. */
  checkName(name: string): void {
    safeRelative(name);
  }
}

/** The files of a store, as a tree of destinations. */
export class MemoryTree implements Tree {
  readonly id: string;

  constructor(
    readonly root: string,
    private readonly store: MemoryStore,
  ) {
    this.id = shortHash("tree", root);
  }

  path(name: string): string {
    return `${this.root}/${name}`;
  }

  leaseOf(name: string): string {
    return shortHash(this.path(name));
  }

  isAsLeft(name: string, stamp: string): boolean {
    return this.store.files.get(name)?.stamp === stamp;
  }

  look(name: string): EntryKind {
    return this.store.files.has(name) ? "file" : "nothing";
  }

  close(): void {}
}

/** Writes to a store. */
export class MemoryDestination implements Destination {
  /** @param backup keeps what is removed. */
  constructor(
    private readonly store: MemoryStore,
    private readonly backup?: Pick<MemoryStore, "put">,
  ) {}

  async before(attempt: WriteAttempt): Promise<Before> {
    const entry = decodeCatalog(attempt.admitted.catalog);
    const there = this.store.files.get(attempt.file.name);
    if (entry && there?.stamp === entry.stamp) return vouchedFor(entry, attempt);
    return { entry: undefined, known: "", expected: false };
  }

  async look({ file }: WriteAttempt): Promise<FileFacts | undefined> {
    const there = this.store.files.get(file.name);
    if (!there) return undefined;
    const { bytes } = there;
    return {
      ...{ sizeBytes: bytes.length, mtimeMs: undefined },
      ...{ algorithms: ["sha256", "md5"], digest: async (by) => hash(by, bytes, "hex") },
    };
  }

  stage(attempt: WriteAttempt): Staging {
    return new MemoryStaging(this.store, attempt);
  }

  async remove({ file, lease }: WriteAttempt, stamp: string): Promise<void> {
    const there = this.store.files.get(file.name);
    if (!there) return;
    if (there.stamp !== stamp) throw changedMeanwhile(file.path);
    lease.check();
    this.backup?.put(file.name, there.bytes);
    this.store.files.delete(file.name);
  }

  close(): void {}
}

class MemoryStaging implements Staging {
  readonly #id: string;
  /** Stamp of what is published over; undefined where nothing was there. */
  readonly #compared: string | undefined;

  constructor(
    private readonly store: MemoryStore,
    private readonly attempt: WriteAttempt,
  ) {
    const { lease, file } = attempt;
    this.#id = idOf(lease.key, lease.fence);
    this.#compared = store.files.get(file.name)?.stamp;
  }

  /** Without its staged bytes a predecessor cannot publish, whether it still runs or not. */
  adopt(predecessors: string[], noted: ResumeRecord | undefined): boolean {
    const { lease, terms } = this.attempt;
    const { staged } = this.store;
    let adopted = false;
    for (const fence of predecessors) {
      const id = idOf(lease.key, fence);
      const part = Buffer.concat(staged.get(id) ?? []);
      staged.delete(id);
      if (!terms.resume || !noted?.strongEtag || noted.fence !== fence) continue;
      if (noted.contiguousBytes === 0 || part.length < noted.contiguousBytes) continue;
      staged.set(this.#id, [part.subarray(0, noted.contiguousBytes)]);
      adopted = true;
    }
    return adopted;
  }

  async receive({ body, entry, offset, confirm }: OpenedBody, source: Source | undefined): Promise<Received> {
    const { record, lease, limiter, terms } = this.attempt;
    const chunks = (offset > 0 && this.store.staged.get(this.#id)) || [];
    this.store.staged.set(this.#id, chunks);
    let sizeBytes = offset;
    for (let more = await body.read(); more; more = await body.read()) {
      lease.check();
      const addedBytes = more.reduce((sum, chunk) => sum + chunk.length, 0);
      sizeBytes += addedBytes;
      if (terms.maxFileSizeBytes !== undefined && sizeBytes > terms.maxFileSizeBytes)
        throw tooLarge(sizeBytes, terms.maxFileSizeBytes);
      chunks.push(...more);
      await limiter.take(addedBytes, lease);
      record.receivedBytes = sizeBytes;
      record.contiguousBytes = sizeBytes;
    }
    confirm?.();
    const bytes = Buffer.concat(chunks);
    const sha256 = hash("sha256", bytes, "hex");
    const sourceDigest = entry.digest ? await digestOf(entry.digest.algorithm, bytes) : sha256;
    return { sizeBytes, sha256, sourceDigest, lengthBytes: source && entry.sizeBytes };
  }

  async publish(_received: Received, _entry: SourceEntry): Promise<Published> {
    const { file, lease } = this.attempt;
    const staged = this.store.staged.get(this.#id);
    lease.check();
    if (!staged) throw new TransferError("locked", `another worker has taken over ${file.path}`);
    const bytes = Buffer.concat(staged);
    const there = this.store.files.get(file.name);
    if (there?.bytes.equals(bytes)) {
      this.discard();
      return { outcome: "unchanged", stamp: there.stamp };
    }
    if (there?.stamp !== this.#compared)
      throw new TransferError("changed", `another writer replaced ${file.path}`, { verdict: "ok" });
    this.discard();
    return { outcome: "copied", stamp: this.store.put(file.name, bytes) };
  }

  worthKeeping(): boolean {
    const { record } = this.attempt;
    return record.strongEtag !== "" && record.contiguousBytes > 0;
  }

  keep(): void {}

  discard(): void {
    this.store.staged.delete(this.#id);
  }

  close(): void {}
}

function idOf(lease: string, fence: string): string {
  return `${lease} ${fence}`;
}

/** Lists a store. */
export class MemoryLister implements Lister {
  constructor(private readonly store: MemoryStore) {}

  async look(): Promise<Looked> {
    return { is: "tree" };
  }

  async *list(location: string, { wanted, after }: ListOptions): AsyncGenerator<Listed> {
    for (const [name, { bytes, stamp }] of this.#sorted()) {
      if ((after !== undefined && compareKeys(name, after) <= 0) || !wanted(name)) continue;
      const at = { name, location: `${location}/${name}`, mark: name };
      yield { is: "file", ...at, sizeBytes: bytes.length, mtimeMs: 0, version: stamp };
    }
  }

  async *names(): AsyncGenerator<ListedName> {
    for (const [name, { stamp }] of this.#sorted())
      yield { name, hides: false, isFile: !STAGING_NAME.test(baseName(name)), stamp: () => stamp };
  }

  #sorted(): [string, MemoryFile][] {
    return [...this.store.files].sort(([one], [other]) => compareKeys(one, other));
  }

  async close(): Promise<void> {}
}
