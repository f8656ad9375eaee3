import { catalogKey } from "@drover/shared/protocol/catalog";
import { type CatalogEntry, encodeCatalog, markUncertain } from "@drover/shared/protocol/catalog-entry";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import type { FileServer } from "@drover/shared/storage/remote/server";
import type { RemoteTree } from "@drover/shared/storage/remote/tree";
import type { Redis } from "ioredis";
import type { WorkFile } from "../../attempt/delivery.js";
import type { Leases } from "../../attempt/leases.js";
import { destinationError } from "../destination-error.js";

export interface RemoteTargetOptions {
  tree: RemoteTree;
  /** Reaches the root of the tree. */
  server: FileServer;
  spec: RunSpec;
  redis: Redis;
  keys: Keys;
  leases: Leases;
}

/** A tree at a file server that files are written to. */
export class RemoteTarget {
  readonly tree: RemoteTree;
  readonly server: FileServer;
  readonly leases: Leases;

  constructor(private readonly options: RemoteTargetOptions) {
    this.tree = options.tree;
    this.server = options.server;
    this.leases = options.leases;
  }

  /** Does something with the server. @throws TransferError that names the destination. */
  async at<T>(file: WorkFile, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      throw destinationError(thrown, file, this.options.spec, this.tree.root);
    }
  }

  /**
   * Removes a file from the catalog. The catalog is trusted without a look, so an entry without its file would prevent that
   * it is ever copied again.
   */
  async forget(name: string): Promise<void> {
    const { redis, keys } = this.options;
    const known = this.tree.nameOf(name);
    await redis.hdel(catalogKey(keys, this.tree.id, known), known);
  }

  /** Has the catalog not vouch any more for a file that is about to be moved, removed or replaced. */
  async markUncertain(name: string, entry: CatalogEntry | undefined): Promise<void> {
    if (!entry) return;
    const { redis, keys } = this.options;
    const known = this.tree.nameOf(name);
    await redis.hset(catalogKey(keys, this.tree.id, known), known, encodeCatalog(markUncertain(entry)));
  }
}
