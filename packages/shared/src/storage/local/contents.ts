import { type BigIntStats, statSync } from "node:fs";
import { errnoCode, fileError, TransferError } from "../../errors.js";
import { type Contents, chunksOf, type FileVersion, type KnownDigest } from "../contents.js";
import type { Source } from "../source.js";
import { LocalSource, localVersion } from "./source.js";

/** What local files hold. Links to files are followed, as a listing of sources does. */
export class LocalContents implements Contents {
  readonly isLocal = true;

  async look(name: string, location: string): Promise<FileVersion | undefined> {
    let stat: BigIntStats;
    try {
      stat = statSync(location, { bigint: true });
    } catch (error) {
      if (errnoCode(error) === "ENOENT" || errnoCode(error) === "ENOTDIR") return undefined;
      throw fileError(error, `look at ${location}`);
    }
    if (!stat.isFile())
      throw new TransferError("unsupported", `${location} is not a regular file`, { permanent: true });
    const [sizeBytes, mtimeMs] = [Number(stat.size), Number(stat.mtimeNs) / 1e6];
    return { name, location, sizeBytes, mtimeMs, version: localVersion(stat) };
  }

  mark(): undefined {}

  stamp(): undefined {}

  async digests(): Promise<KnownDigest[]> {
    return [];
  }

  source(_name: string, location: string): Source {
    return new LocalSource(location);
  }

  async *read({ location, version }: FileVersion): AsyncGenerator<Uint8Array> {
    const opened = await new LocalSource(location).open("");
    // Files of /proc and the like have no version.
    yield* chunksOf(opened, location, (entry) => entry.version === "" || entry.version === version);
  }

  async close(): Promise<void> {}
}
