import { createHash, hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { baseName } from "@drover/shared/paths";
import type { Permissions } from "@drover/shared/permissions";
import { storedOther } from "@drover/shared/storage/remote/answer";
import type {
  Moved,
  RemoteBase,
  RemoteHead,
  ServerNature,
  Upload,
} from "@drover/shared/storage/remote/server";
import { readMetadata } from "@drover/shared/storage/s3/object/metadata";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import { stagingName } from "@drover/shared/storage/staging-name";
import { digestOf } from "../../bytes/hash/digest.js";
import { readBeginning } from "../beginning.js";
import type { OpenedBody, Published, Received, Staging, WriteAttempt } from "../destination.js";
import { Spool } from "./spool.js";
import { BodyStream } from "./stream.js";
import type { RemoteTarget } from "./target.js";

/** If others replace the file again and again, this try gives up after so many looks. */
const MOST_LOOKS = 3;
/** For so long Apache gives a new file an ETag that no condition holds for. */
export const WEAK_MS = 1_100;
/** A server that publishes half of a PUT that broke off is looked at so often, until that is gone and stays away. */
const NOTICED_MS = 500;
const QUIET_LOOKS = 2;
const MOST_NOTICED_LOOKS = 10;

/**
 * One file on its way to a file server. A small one is held in memory and sent by one PUT, where that is whole and takes a
 * condition. Others are sent to a staging name beside the file, which carries the fence, and moved from there.
 */
export class RemoteStaging implements Staging {
  readonly #name: string;
  readonly #staged: string;
  #held: Held | undefined;
  #made = false;
  /** Whether the PUT to the staging name broke off. */
  #broken = false;
  /** What the file is compared with. */
  #base: RemoteBase;
  /** What was there when the staging began; undefined if nobody looked. */
  #ahead: RemoteHead | undefined;

  /**
   * @param stamp ETag of the file in the catalog, if it is there.
   * @param keepFormer keeps the version with this ETag before another replaces it. Default: it is not kept.
   */
  constructor(
    private readonly target: RemoteTarget,
    private readonly attempt: WriteAttempt,
    stamp?: string,
    private readonly keepFormer?: (etag: string) => Promise<void>,
  ) {
    const { file, lease } = attempt;
    this.#name = target.tree.nameOf(file.name);
    this.#staged = this.#stagedUnder(lease.fence);
    this.#base = stamp ? { is: "version", etag: stamp } : { is: "absent" };
  }

  #stagedUnder(fence: string): string {
    const directory = this.#name.slice(0, -baseName(this.#name).length);
    return directory + stagingName(this.attempt.lease.key, fence);
  }

  /** What a predecessor has staged is removed, so that it finds nothing to move. Nothing of it is taken over. */
  async adopt(predecessors: string[]): Promise<boolean> {
    if (predecessors.length === 0) return false;
    const { stages } = await this.#at(() => this.#server.nature());
    for (const fence of stages ? predecessors : [])
      await this.#at(() => this.#server.remove(this.#stagedUnder(fence), { base: undefined }, this.#signal));
    return false;
  }

  get #server() {
    return this.target.server;
  }

  get #signal(): AbortSignal {
    return this.attempt.lease.signal;
  }

  #at<T>(work: () => Promise<T>): Promise<T> {
    return this.target.at(this.attempt.file, work);
  }

  async receive(opened: OpenedBody, source: Source | undefined): Promise<Received> {
    const { entry } = opened;
    const lengthBytes = source && entry.sizeBytes;
    const { ended, chunks } = await readBeginning(opened, this.attempt);
    const nature = await this.#at(() => this.#server.nature());
    if (!ended) {
      await this.#lookAhead();
      const stream = new BodyStream(opened, chunks, lengthBytes, this.attempt);
      if (!nature.stages) {
        this.#held = await Spool.of(stream);
        opened.confirm?.();
        return await stream.received();
      }
      const stored = await this.#stage({ body: stream, sizeBytes: lengthBytes, sha256: undefined }, entry);
      opened.confirm?.();
      const received = await stream.received();
      checkStored(stored, received);
      return received;
    }
    opened.confirm?.();
    const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    const sha256 = hash("sha256", bytes, "hex");
    const other = entry.digest?.algorithm ?? "sha256";
    const sourceDigest = other === "sha256" ? sha256 : await digestOf(other, bytes);
    const received = { sizeBytes: bytes.length, sha256, sourceDigest, lengthBytes };
    if (isDirect(nature)) {
      this.#held = { read: () => bytes, close() {} };
      return received;
    }
    await this.#lookAhead();
    checkStored(await this.#stage({ body: bytes, sizeBytes: bytes.length, sha256 }, entry), received);
    return received;
  }

  /** Looks at the file before anything is sent. What is staged replaces this version only. */
  async #lookAhead(): Promise<void> {
    this.#ahead = await this.#at(() => this.#server.head(this.#name, this.#signal));
    this.#base = baseOf(this.#ahead);
  }

  async #stage(upload: Upload, entry: SourceEntry): Promise<RemoteHead> {
    const { lease } = this.attempt;
    lease.check();
    this.#made = true;
    const bound = { base: undefined, fence: lease.fence };
    const sent = { ...upload, ...this.#metadata(entry) };
    this.#broken = true;
    const written = await this.#at(() => this.#server.put(this.#staged, sent, bound, this.#signal));
    this.#broken = false;
    if (written.is === "refused") throw takenOver(this.attempt.file.path);
    return written.head;
  }

  #metadata(entry: SourceEntry): { permissions: Permissions; sourceVersion?: string } {
    const { version } = entry;
    return { permissions: permissionsOf(entry), ...(version === "" ? {} : { sourceVersion: version }) };
  }

  publish(received: Received, entry: SourceEntry): Promise<Published> {
    return this.#at(() => this.#publish(received, entry));
  }

  /**
   * Publishes under the condition that the file is still the version that it was compared with. If it is not, it is looked
   * at again, and left alone if it has the same bytes. Where the server takes no condition for it, it is looked at right
   * before, and the result says so.
   */
  async #publish(received: Received, entry: SourceEntry): Promise<Published> {
    const { lease } = this.attempt;
    const nature = await this.#server.nature();
    const way = new Way(nature, this.#held !== undefined);
    let kept = "";
    const ahead = this.#ahead?.sha256;
    const looksSame = ahead !== undefined && ahead === received.sha256;
    for (let look = 0; look < MOST_LOOKS; look++) {
      const isBound = way.isBound(this.#base);
      if (!isBound || look > 0 || looksSame) {
        const head = await this.#server.head(this.#name, this.#signal);
        if (head && (await this.#isSame(head, received, entry, nature))) {
          await this.discard();
          return { outcome: "unchanged", stamp: head.etag };
        }
        const now = baseOf(head);
        const isAsCompared = etagOf(now) === etagOf(this.#base);
        if (!isAsCompared && this.#made) throw replacedMeanwhile();
        if (isAsCompared && look > 0)
          await sleep(WEAK_MS, undefined, { signal: this.#signal }).catch(() => {});
        this.#base = now;
        // The file may be our successor's. The clocks alone do not tell, so Redis is asked.
        await this.target.leases.confirm(lease);
      }
      const former = etagOf(this.#base);
      if (this.keepFormer && former !== "" && former !== kept) {
        await this.keepFormer(former);
        kept = former;
        const head = await this.#server.head(this.#name, this.#signal);
        if (etagOf(baseOf(head)) !== former) continue;
      }
      failpoint("commit");
      lease.check();
      const moved = await this.#write(way, received, entry);
      if (moved.is === "refused") continue;
      const head = moved.is === "gone" ? await this.#published(received) : moved.head;
      checkStored(head, received);
      this.#made &&= way.keepsStaged(this.#base);
      await this.discard();
      const proved = head.sha256 === undefined ? {} : ({ verifiedBy: "repr-digest" } as const);
      const unconditional = way.isBound(this.#base) ? {} : ({ unconditional: true } as const);
      const isLost = !nature.keepsPermissions && Object.keys(permissionsOf(entry)).length > 0;
      const permissions = isLost ? ({ permissionsLost: true } as const) : {};
      const how = { ...proved, ...unconditional, ...permissions };
      return { outcome: "copied", stamp: head.etag, hasAccess: true, ...how };
    }
    throw replacedMeanwhile();
  }

  async #write(way: Way, received: Received, entry: SourceEntry): Promise<Moved> {
    const { sizeBytes, sha256 } = received;
    const bound = { base: this.#base, fence: this.attempt.lease.fence };
    const metadata = this.#metadata(entry);
    if (this.#held)
      return this.#server.put(
        this.#name,
        { body: this.#held.read(), sizeBytes, sha256, ...metadata },
        bound,
        this.#signal,
      );
    if (!way.keepsStaged(this.#base)) return this.#server.move(this.#staged, this.#name, bound, this.#signal);
    // A move would remove the file first. What is staged is read back, and sent to its place in one whole.
    const body = await this.#server.read(this.#staged, this.#signal);
    if (!body) return { is: "gone" };
    return this.#server.put(this.#name, { body, sizeBytes, sha256, ...metadata }, bound, this.#signal);
  }

  /** What is there after a move that found nothing to move: it worked, and its answer was lost, or we were fenced off. */
  async #published(received: Received): Promise<RemoteHead> {
    const head = await this.#server.head(this.#name, this.#signal);
    await this.target.leases.confirm(this.attempt.lease);
    if (head && head.sizeBytes === received.sizeBytes && etagOf(this.#base) !== head.etag) {
      const sha256 = head.sha256 ?? (await this.#digest());
      if (sha256 === received.sha256) return head;
    }
    throw takenOver(this.attempt.file.path);
  }

  async #isSame(
    head: RemoteHead,
    { sizeBytes, sha256 }: Received,
    entry: SourceEntry,
    nature: ServerNature,
  ): Promise<boolean> {
    if (head.sizeBytes !== sizeBytes) return false;
    const { mode } = permissionsOf(entry);
    if (nature.keepsPermissions && mode !== undefined && head.mode !== mode) return false;
    return (head.sha256 ?? (await this.#digest())) === sha256;
  }

  /** SHA-256 of the file at a server that tells none: it is read. */
  async #digest(): Promise<string | undefined> {
    const body = await this.#server.read(this.#name, this.#signal);
    return body && (await sha256Of(body));
  }

  /** Nobody knows how much of a part a server has, so no part is taken over. */
  worthKeeping(): boolean {
    return false;
  }

  keep(): void {
    this.#held?.close();
    this.#held = undefined;
  }

  async discard(): Promise<void> {
    this.keep();
    if (!this.#made) return;
    // The lease may be lost; the name is ours alone.
    const within = AbortSignal.timeout(this.attempt.terms.timeoutMs);
    await this.#at(async () => {
      const published = this.#broken && !(await this.#server.nature()).putIsWhole;
      if (published) await this.#removeHalf(within);
      else await this.#server.remove(this.#staged, { base: undefined }, within);
    });
    this.#made = false;
  }

  /** Removes what a server publishes of a PUT that broke off. It may not let go of it before it has noticed. */
  async #removeHalf(signal: AbortSignal): Promise<void> {
    let refusal: unknown;
    for (let quiet = 0, look = 0; quiet < QUIET_LOOKS && look < MOST_NOTICED_LOOKS; look++) {
      if (look > 0) await sleep(NOTICED_MS);
      try {
        const isThere = (await this.#server.head(this.#staged, signal)) !== undefined;
        quiet = isThere ? 0 : quiet + 1;
        if (isThere) await this.#server.remove(this.#staged, { base: undefined }, signal);
        refusal = undefined;
      } catch (error) {
        refusal = error;
      }
    }
    if (refusal) throw refusal;
  }

  close(): void {
    this.keep();
  }
}

/** How a file gets to its name. */
class Way {
  constructor(
    private readonly nature: ServerNature,
    private readonly isDirect: boolean,
  ) {}

  /** Whether what is staged is sent again rather than moved. */
  keepsStaged(base: RemoteBase): boolean {
    if (this.isDirect) return false;
    return base.is === "version" && !this.nature.moveReplacesWhole && this.nature.putIsWhole;
  }

  /** Whether the server binds the request to what is replaced. A move to a free name takes nothing's place. */
  isBound(base: RemoteBase): boolean {
    const { putIsConditional, moveIsConditional } = this.nature;
    if (this.isDirect || this.keepsStaged(base)) return putIsConditional;
    return base.is === "absent" || moveIsConditional;
  }
}

function isDirect({ stages, putIsWhole, putIsConditional }: ServerNature): boolean {
  return !stages || (putIsWhole && putIsConditional);
}

/** The bytes of a whole file in this process. */
interface Held {
  read(): Uint8Array | AsyncIterable<Uint8Array>;
  close(): void;
}

/** The permissions that come with a file: those of its metadata where it has no others. */
function permissionsOf({ mode, access, headers }: SourceEntry): Permissions {
  const own = mode ?? readMetadata(headers ?? {}).mode;
  return { ...(own === undefined ? {} : { mode: own & 0o777 }), ...access };
}

function baseOf(head: RemoteHead | undefined): RemoteBase {
  return head ? { is: "version", etag: head.etag } : { is: "absent" };
}

function etagOf(base: RemoteBase): string {
  return base.is === "version" ? base.etag : "";
}

/** @throws TransferError class `checksum` if the server has other bytes than were sent. */
export function checkStored(
  head: RemoteHead,
  { sizeBytes, sha256 }: Pick<Received, "sizeBytes" | "sha256">,
): void {
  if (head.sizeBytes !== sizeBytes) throw storedOther(`${head.sizeBytes} bytes where ${sizeBytes} were sent`);
  if (head.sha256 !== undefined && head.sha256 !== sha256) throw storedOther("other bytes than were sent");
}

/** SHA-256 of bytes as they come, hexadecimal. */
export async function sha256Of(body: AsyncIterable<Uint8Array>): Promise<string> {
  const digest = createHash("sha256");
  for await (const chunk of body) digest.update(chunk);
  return digest.digest("hex");
}

function takenOver(path: string): TransferError {
  return new TransferError("locked", `another worker has taken over ${path}`, { verdict: "ok" });
}

function replacedMeanwhile(): TransferError {
  const why = "another writer replaced the destination while the file was on its way";
  return new TransferError("changed", why, { verdict: "ok" });
}
