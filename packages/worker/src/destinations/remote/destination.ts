import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { FileFacts } from "@drover/shared/leave";
import { baseName } from "@drover/shared/paths";
import type { Permissions } from "@drover/shared/permissions";
import { type CatalogEntry, decodeCatalog, isUncertain } from "@drover/shared/protocol/catalog-entry";
import { remoteFacts } from "@drover/shared/storage/remote/facts";
import type { RemoteBase, RemoteHead, Moved as ServerMoved } from "@drover/shared/storage/remote/server";
import { stagingName } from "@drover/shared/storage/staging-name";
import {
  type Before,
  changedMeanwhile,
  type Destination,
  type FormerFile,
  type KeptPermissions,
  type Moved,
  type Staging,
  vouchedFor,
  type WriteAttempt,
} from "../destination.js";
import { checkStored, RemoteStaging, sha256Of, WEAK_MS } from "./staging.js";
import { RemoteTarget, type RemoteTargetOptions } from "./target.js";

/** A removal that is refused although nothing has changed is tried so many times in all. */
const MOST_REMOVALS = 3;
/** Time limit of one look at a destination. */
const LOOK_MS = 60_000;

export interface RemoteDestinationOptions extends RemoteTargetOptions {
  /** Keeps what is overwritten or removed. */
  backup?: Pick<RemoteTargetOptions, "tree" | "server">;
}

/** The files of a file manager or WebDAV server below a directory. */
export class RemoteDestination implements Destination {
  readonly #target: RemoteTarget;
  readonly #backup: RemoteTarget | undefined;

  constructor(private readonly options: RemoteDestinationOptions) {
    const { backup } = options;
    this.#target = new RemoteTarget(options);
    if (backup) this.#backup = new RemoteTarget({ ...options, ...backup });
  }

  async before(attempt: WriteAttempt): Promise<Before> {
    const { file, expected, admitted } = attempt;
    const { tree, server } = this.#target;
    const known = decodeCatalog(admitted.catalog);
    const entry = known && isUncertain(known) ? undefined : known;
    if (entry && !this.options.spec.checkDestination) return vouchedFor(entry, attempt);
    const nothing: Before = { entry: undefined, known: "", expected: false };
    if (!entry && expected === undefined) return nothing;
    const head = await this.#target.at(file, () =>
      server.head(tree.nameOf(file.name), AbortSignal.timeout(LOOK_MS)),
    );
    if (entry && head?.etag === entry.stamp) return vouchedFor(entry, attempt);
    if (expected === undefined || head?.sha256 !== expected) return nothing;
    const { etag, sizeBytes } = head;
    const found = { source: "", version: "", sha256: expected, stamp: etag, sizeBytes };
    return { entry: found, known: "", expected: true };
  }

  async look({ file }: WriteAttempt): Promise<FileFacts | undefined> {
    const { tree, server } = this.#target;
    const head = await this.#target.at(file, () =>
      server.head(tree.nameOf(file.name), AbortSignal.timeout(LOOK_MS)),
    );
    return head && remoteFacts(head);
  }

  stage(attempt: WriteAttempt): Staging {
    const stamp = decodeCatalog(attempt.admitted.catalog)?.stamp;
    const backup = this.#backup;
    const keepFormer = backup && ((etag: string) => this.#keep(backup, attempt, etag));
    return new RemoteStaging(this.#target, attempt, stamp, keepFormer);
  }

  /**
   * Copies a file that is to be overwritten or removed to its name in the backup. Its bytes pass through this process. The
   * copy stays whatever becomes of the file: an extra copy is harmless and a missing one is not.
   *
   * @param stamp ETag of the version to keep.
   * @throws TransferError class `changed` if there is another version.
   */
  async #keep(backup: RemoteTarget, attempt: WriteAttempt, stamp: string): Promise<void> {
    const { file, lease, admitted } = attempt;
    const { tree, server } = this.#target;
    const { signal } = lease;
    const from = tree.nameOf(file.name);
    const to = backup.tree.nameOf(file.name);
    const stagedUnder = (fence: string) => to.slice(0, -baseName(to).length) + stagingName(lease.key, fence);
    const staged = stagedUnder(lease.fence);
    const head = await server.head(from, signal);
    const body = head?.etag === stamp ? await server.read(from, signal) : undefined;
    if (!head || !body) throw changed(file.path);
    const { sizeBytes, sha256, mode } = head;
    const permissions = mode === undefined ? {} : { mode };
    const fence = lease.fence;
    await backup.at(file, async () => {
      for (const former of admitted.predecessors)
        await backup.server.remove(stagedUnder(former), { base: undefined }, signal);
      if (!(await backup.server.nature()).stages)
        throw new TransferError("unsupported", "nothing can be kept at a file manager that stages nothing", {
          permanent: true,
        });
      const upload = { body, sizeBytes, sha256, permissions };
      const written = await backup.server.put(staged, upload, { base: undefined, fence }, signal);
      try {
        if (written.is === "done" && sha256 !== undefined) checkStored(written.head, { sizeBytes, sha256 });
        if ((await server.head(from, signal))?.etag !== stamp) throw changed(file.path);
        // The backup may be the destination of other syncs. Its catalog must not say that it still has the old version.
        await backup.forget(file.name);
        lease.check();
        const moved = await backup.server.move(staged, to, { base: undefined, fence }, signal);
        if (moved.is !== "done")
          throw new TransferError("locked", `another worker has taken over ${file.path}`);
      } catch (error) {
        await backup.server.remove(staged, { base: undefined }, AbortSignal.timeout(LOOK_MS));
        throw error;
      }
    });
    failpoint("kept");
  }

  async remove(attempt: WriteAttempt, stamp: string): Promise<void> {
    const { file, lease, admitted } = attempt;
    const { tree, server } = this.#target;
    const name = tree.nameOf(file.name);
    const { signal } = lease;
    await this.stage(attempt).adopt(admitted.predecessors, undefined, true);
    await this.#target.at(file, async () => {
      const isThere = async () => {
        const head = await server.head(name, signal);
        if (head && head.etag !== stamp) throw changedMeanwhile(file.path);
        return head !== undefined;
      };
      if (!(await isThere())) return;
      const { removeIsConditional } = await server.nature();
      if (this.#backup) {
        await this.#keep(this.#backup, attempt, stamp).catch((error) => {
          if (error instanceof TransferError && error.class === "changed") throw changedMeanwhile(file.path);
          throw error;
        });
        // The backup took time, so it may have changed.
        if (!removeIsConditional && !(await isThere())) return;
      }
      lease.check();
      await this.#target.markUncertain(file.name, decodeCatalog(admitted.catalog));
      const bound = { base: { is: "version", etag: stamp }, fence: lease.fence } as const;
      for (let tries = 1; (await server.remove(name, bound, signal)) === "refused"; tries++) {
        if (!(await isThere())) return;
        if (tries === MOST_REMOVALS) throw changedMeanwhile(file.path);
        await sleep(WEAK_MS, undefined, { signal }).catch(() => {});
        lease.check();
      }
      failpoint("removed");
    });
  }

  async permit(attempt: WriteAttempt, permissions: Permissions): Promise<KeptPermissions> {
    const { file, lease } = attempt;
    const { tree, server } = this.#target;
    return await this.#target.at(file, async () => {
      if (!(await server.nature()).keepsPermissions) return { all: false };
      lease.check();
      const set = await server.setPermissions(tree.nameOf(file.name), permissions, lease.signal);
      if (set.is !== "absent")
        return { all: set.is === "set", ...(set.is === "set" && set.etag ? { stamp: set.etag } : {}) };
      // Somebody has removed it. What the catalog says of it is of no use any more, so the next try copies it.
      await this.#target.forget(file.name);
      throw new TransferError("changed", `${file.path} is gone, although it was copied`, { verdict: "ok" });
    });
  }

  async move(attempt: WriteAttempt, { attempt: former, entry }: FormerFile): Promise<Moved | undefined> {
    const { file, lease, admitted } = attempt;
    const { tree, server } = this.#target;
    const { signal } = lease;
    if (this.#backup) return undefined;
    await this.stage(former).adopt(former.admitted.predecessors, undefined, true);
    const [from, to] = [tree.nameOf(former.file.name), tree.nameOf(file.name)];
    return await this.#target.at(file, async () => {
      const nature = await server.nature();
      if (!nature.stages) return undefined;
      const known = decodeCatalog(admitted.catalog);
      const source = await server.head(from, signal);
      const target = await server.head(to, signal);
      const unconditional = nature.moveIsConditional ? {} : ({ unconditional: true } as const);
      if (!source) {
        // An attempt before this one has moved it, and did not come to say so.
        const isMoved =
          target?.sizeBytes === entry.sizeBytes && (await this.#isSame(to, target, entry, signal));
        return target && isMoved ? { stamp: target.etag, ...unconditional } : undefined;
      }
      if (source.etag !== entry.stamp) return undefined;
      if (target && (target.etag !== known?.stamp || !nature.moveReplacesWhole)) return undefined;
      lease.check();
      former.lease.check();
      await this.#target.markUncertain(file.name, known);
      await this.#target.markUncertain(former.file.name, entry);
      const base: RemoteBase = target ? { is: "version", etag: target.etag } : { is: "absent" };
      const bound = { base, fence: lease.fence, from: entry.stamp };
      const moved = await movedOrUnsupported(server.move(from, to, bound, signal));
      if (moved?.is !== "done") return undefined;
      if (moved.head.sizeBytes !== entry.sizeBytes) throw changed(file.path);
      return { stamp: moved.head.etag, ...unconditional };
    });
  }

  /** Whether a file is the one in the catalog, which had another name. It is read where its server tells too little. */
  async #isSame(
    name: string,
    { etag, sha256 }: RemoteHead,
    entry: CatalogEntry,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (sha256 !== undefined || entry.sha256 === "") return sha256 === entry.sha256 && sha256 !== "";
    if (etag === entry.stamp) return true;
    const body = await this.#target.server.read(name, signal);
    return body !== undefined && (await sha256Of(body)) === entry.sha256;
  }

  close(): void {}
}

/** @returns undefined from a server that does not know how to move. */
async function movedOrUnsupported(moving: Promise<ServerMoved>): Promise<ServerMoved | undefined> {
  try {
    return await moving;
  } catch (error) {
    if (error instanceof TransferError && error.class === "unsupported") return undefined;
    throw error;
  }
}

function changed(path: string): TransferError {
  return new TransferError("changed", `${path} changed while it was kept`, { verdict: "ok" });
}
