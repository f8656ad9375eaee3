import { failpoint } from "@drover/shared/failpoint";
import type { Admitted } from "@drover/shared/protocol/admission";
import { decodeCatalog, statStamp } from "@drover/shared/protocol/catalog-entry";
import { LocalTree } from "@drover/shared/storage/local/tree";
import type { Terms } from "../../attempt/context.js";
import type { WorkFile } from "../../attempt/delivery.js";
import type { Lease } from "../../attempt/leases.js";
import type { ResumeRecord } from "../../attempt/resume-record.js";
import { sha256OfFile } from "../../bytes/hash/hash-file.js";
import { type Before, type Destination, vouchedFor } from "../destination.js";
import { LocalRemoval } from "./removal.js";
import { LocalStaging } from "./staging.js";

/** A tree on a local file system. */
export class LocalDestination implements Destination {
  #backup: LocalTree | undefined;

  /** @param backupDir keeps what is removed, absolute. */
  constructor(
    private readonly tree: LocalTree,
    private readonly backupDir?: string,
  ) {}

  async before(file: WorkFile, expected: string | undefined, admitted: Admitted): Promise<Before> {
    const nothing: Before = { entry: undefined, known: "", expected: false };
    const entry = decodeCatalog(admitted.catalog);
    if (!entry && expected === undefined) return nothing;
    const stat = this.tree.stat(file.path);
    if (!stat?.isFile()) return nothing;
    if (entry && entry.stamp === statStamp(stat)) return vouchedFor(entry, file, expected);
    if (expected === undefined) return nothing;
    const sha256 = await sha256OfFile(file.path);
    if (sha256 !== expected) return nothing;
    const found = { source: "", version: "", sha256, stamp: statStamp(stat), sizeBytes: Number(stat.size) };
    return { entry: found, known: "", expected: true };
  }

  stage(file: WorkFile, _expected: string | undefined, lease: Lease): LocalStaging {
    return new LocalStaging(this.tree, file.name, lease);
  }

  async remove(
    file: WorkFile,
    stamp: string,
    lease: Lease,
    admitted: Admitted,
    _part: ResumeRecord,
    { durable }: Pick<Terms, "durable">,
  ): Promise<void> {
    const removal = new LocalRemoval(this.tree, file.name, stamp, file.lease, admitted.fence);
    try {
      removal.adopt(admitted.predecessors);
      if (removal.take(() => lease.check())) {
        failpoint("taken");
        await removal.finish(this.#openBackup(), durable);
      }
      failpoint("removed");
      removal.prune();
    } finally {
      removal.close();
    }
  }

  #openBackup(): LocalTree | undefined {
    if (this.backupDir !== undefined) this.#backup ??= new LocalTree(this.backupDir);
    return this.#backup;
  }

  close(): void {
    this.#backup?.close();
  }
}
