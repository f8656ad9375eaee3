import { type CatalogEntry, decodeCatalog, statStamp } from "@drover/shared/catalog";
import type { Admitted } from "@drover/shared/protocol";
import { type LocalTree, remove } from "@drover/shared/storage/local-tree";
import type { Before, Destination } from "./destination.js";
import { sha256OfFile } from "./hash-file.js";
import type { Lease } from "./leases.js";
import { LocalStaging } from "./local-staging.js";
import type { WorkFile } from "./work-file.js";

/** A tree on a local file system. */
export class LocalDestination implements Destination {
  constructor(private readonly tree: LocalTree) {}

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

  async remove(name: string, stamp: string, lease: Lease): Promise<"removed" | "gone" | "changed"> {
    const stat = this.tree.stat(this.tree.path(name));
    if (!stat) return "gone";
    if (!stat.isFile() || statStamp(stat) !== stamp) return "changed";
    const directory = this.tree.directoryOf(name);
    try {
      directory.check();
      lease.check();
      remove(directory, name.slice(name.lastIndexOf("/") + 1));
      return "removed";
    } finally {
      this.tree.release(directory);
    }
  }
}

/** What is known of a destination that is as its catalog entry says. */
export function vouchedFor(entry: CatalogEntry, file: WorkFile, expected: string | undefined): Before {
  const version = entry.source === file.sourceHash ? entry.version : "";
  if (expected === undefined) return { entry, known: version, expected: false };
  return { entry: { ...entry, version }, known: "", expected: entry.sha256 === expected };
}
