import { lstatSync } from "node:fs";
import { TransferError } from "../../errors.js";
import type { FileFacts } from "../../leave.js";
import { statStamp } from "../../protocol/catalog-entry.js";
import type { Foreseen, ForeseenFile, Foresight, Peeked } from "../storage.js";
import type { Tree } from "../tree.js";
import { digestOfFile } from "./digest-of-file.js";
import { localFacts } from "./facts.js";
import { isSameFile, TIME_MS } from "./same-file.js";

/** Tells what a run would find in a local tree: LocalDestination and LocalStaging decide in this order. */
export class LocalForesight implements Foresight {
  constructor(private readonly tree: Tree) {}

  async foresee(files: ForeseenFile[]): Promise<(Foreseen | TransferError)[]> {
    const found: (Foreseen | TransferError)[] = [];
    for (const file of files) {
      try {
        found.push(await this.#foresee(file));
      } catch (error) {
        if (!(error instanceof TransferError)) throw error;
        found.push(error.permanent ? error : "unclear");
      }
    }
    return found;
  }

  async look(names: string[]): Promise<(FileFacts | "nothing" | undefined)[]> {
    return names.map((name) => {
      const path = this.tree.path(name);
      try {
        const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
        return (stat && localFacts(stat, path)) ?? "nothing";
      } catch {
        return undefined; // the run says why
      }
    });
  }

  async #foresee({ name, sourceId, expected, last, peek }: ForeseenFile): Promise<Foreseen> {
    const path = this.tree.path(name);
    const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (!stat) return "nothing";
    if (!stat.isFile()) return "other";
    const isAsLeft = last !== undefined && last.stamp === statStamp(stat);
    if (expected !== undefined) {
      const sha256 = isAsLeft ? last.sha256 : await digestOfFile(path, "sha256");
      return sha256 === expected ? "same" : "other";
    }
    if (!peek) return "unclear";
    const peeked = await peek();
    if (isAsLeft && last.source === sourceId && peeked.isVersion(last.version)) return "same";
    if (peeked.path !== undefined) return (await isSameFile(peeked.path, path)) ? "same" : "other";
    return await compareWith(path, stat, peeked);
  }

  async close(): Promise<void> {}
}

/** Compares a file with one whose bytes are elsewhere. */
async function compareWith(
  path: string,
  stat: { size: bigint; mode: bigint; mtimeNs: bigint },
  { entry, digest }: Peeked,
): Promise<Foreseen> {
  if (Number(stat.size) !== entry.sizeBytes) return "other";
  const { mode, mtimeMs } = entry;
  if (mode !== undefined) {
    if ((mode & 0o777 & ~process.umask()) !== Number(stat.mode & 0o777n)) return "other";
    if (mtimeMs !== undefined && Math.abs(mtimeMs - Number(stat.mtimeNs) / 1e6) > TIME_MS) return "other";
  }
  for (const algorithm of ["sha256", "md5"] as const) {
    const theirs = await digest(algorithm);
    if (theirs !== undefined) return theirs === (await digestOfFile(path, algorithm)) ? "same" : "other";
  }
  return "unclear";
}
