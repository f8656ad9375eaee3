import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { baseName } from "@drover/shared/paths";
import { decodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { stagingName } from "@drover/shared/storage/staging-name";
import {
  type Before,
  changedMeanwhile,
  type Destination,
  type Staging,
  vouchedFor,
  type WriteAttempt,
} from "../destination.js";
import { checkStored, RemoteStaging, WEAK_MS } from "./staging.js";
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
    const entry = decodeCatalog(admitted.catalog);
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
      await this.#target.forget(file.name);
      lease.check();
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

  close(): void {}
}

function changed(path: string): TransferError {
  return new TransferError("changed", `${path} changed while it was kept`, { verdict: "ok" });
}
