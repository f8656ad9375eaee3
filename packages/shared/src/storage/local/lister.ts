import { type BigIntStats, lstatSync, realpathSync, statSync } from "node:fs";
import { relative, sep } from "node:path";
import { fileError, TransferError } from "../../errors.js";
import { statStamp } from "../../protocol/catalog-entry.js";
import { ListingError } from "../listing-error.js";
import type { Listed, ListedLevel, ListedName, Lister, ListOptions, Looked } from "../storage.js";
import { localVersion } from "./source.js";
import { type Links, type WalkOptions, walk } from "./walk.js";

/** Directories that links may lead to, with links resolved. Default: any. */
type FollowedLinks = Pick<Links, "readsBelow">;

/** Lists files and directories. */
export class LocalLister implements Lister {
  /**
   * @param root destination of the run, which is left out of listings; undefined to list everything.
   * @param following says that links to directories are followed, and where to. By default they are not.
   */
  constructor(
    private readonly root: string | undefined,
    private readonly following?: FollowedLinks,
  ) {}

  async look(path: string): Promise<Looked> {
    let stat: BigIntStats;
    try {
      stat = statSync(path, { bigint: true });
    } catch (error) {
      return { is: "failed", error: fileError(error, `read ${path}`) };
    }
    if (stat.isDirectory()) return { is: "tree" };
    if (stat.isFile()) return { is: "file", version: localVersion(stat), sizeBytes: Number(stat.size) };
    const error = new TransferError("unsupported", `${path} is not a regular file`, { permanent: true });
    return { is: "failed", error };
  }

  async *list(directory: string, { wanted, after }: ListOptions): AsyncGenerator<Listed> {
    const destination = rootInside(directory, this.root);
    const isDestination = isInside(directory, this.root);
    for await (const each of this.#listed(directory, {
      ...{ wanted, destination, isDestination, after },
      links: this.#links(),
    }))
      if (each.is !== "tree") yield each;
  }

  level(directory: string, wanted: ListOptions["wanted"]): AsyncGenerator<ListedLevel> {
    return this.#listed(directory, { wanted, isLevel: true, links: this.#links() });
  }

  async *#listed(directory: string, options: WalkOptions): AsyncGenerator<ListedLevel> {
    for await (const found of walk(directory, options)) {
      switch (found.is) {
        case "skipped":
          yield {
            is: "skipped",
            name: found.relative,
            location: found.path,
            why: found.why,
            hides: found.hides,
          };
          break;
        case "failed":
          yield {
            is: "failed",
            name: found.name,
            location: found.path,
            error: found.error,
            ...(found.name === "" ? { tree: relative(directory, found.path) } : { mark: found.name }),
          };
          break;
        case "directory":
          yield { is: "tree", name: found.relative, location: found.path };
          break;
        case "file": {
          const { size, mtimeNs } = found.stat;
          yield {
            is: "file",
            name: found.relative,
            location: found.path,
            sizeBytes: Number(size),
            mtimeMs: Number(mtimeNs) / 1e6,
            version: localVersion(found.stat),
            mark: found.relative,
          };
          break;
        }
        default:
          yield { is: "passed", mark: found.relative };
      }
    }
  }

  async *names(directory: string): AsyncGenerator<ListedName> {
    const destination = rootInside(directory, this.root);
    const options = { names: true, destination, wanted: () => true, links: this.#links() };
    for await (const found of walk(directory, options)) {
      if (found.is === "failed") throw new ListingError(found.path, found.error);
      // A link that leads where it must not be followed: what is below it is not known.
      if (found.is === "skipped" && this.following && found.hides)
        yield { name: found.relative, hides: true, isFile: false, stamp: () => undefined };
      if (found.is !== "named") continue;
      const { relative: name, kind } = found;
      yield { name, hides: kind === "l", isFile: kind === "f", stamp: () => stampOf(`${directory}/${name}`) };
    }
  }

  #links(): Links | undefined {
    return this.following && { ...this.following, root: this.root };
  }

  async close(): Promise<void> {}
}

function stampOf(path: string): string | undefined {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stat?.isFile() ? statStamp(stat) : undefined;
}

/** Whether a directory is the root or below it. */
function isInside(directory: string, root: string | undefined): boolean {
  if (root === undefined) return false;
  try {
    const inside = relative(realpathSync(root), realpathSync(directory));
    return inside !== ".." && !inside.startsWith(`..${sep}`);
  } catch {
    return false; // one of them does not exist
  }
}

/** Path of the root relative to the directory, with `/`; undefined if it is not below it. */
function rootInside(directory: string, root: string | undefined): string | undefined {
  if (root === undefined) return undefined;
  try {
    const inside = relative(realpathSync(directory), realpathSync(root));
    const outside = inside === "" || inside === ".." || inside.startsWith(`..${sep}`);
    return outside ? undefined : inside.split(sep).join("/");
  } catch {
    return undefined; // one of them does not exist
  }
}
