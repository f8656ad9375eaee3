import type { Side } from "@drover/shared/pair/decide";
import type { SeenPath } from "@drover/shared/pair/path-state";
import type { Look } from "@drover/shared/pair/side";
import { compareKeys } from "@drover/shared/storage/key-order";

/** A path that is a file's on one side, and a directory's on the same or the other one. */
export interface Clash {
  name: string;
  /** Sides that have the file. */
  files: ReadonlySet<Side>;
  /** Whether a file is the ancestor's, as far as its stamp tells: then it is not what is new. */
  isAncestor: boolean;
  /** Stamps of its versions; "" for none. */
  stamps: Record<Side, string>;
  /** How many paths each side has below it. */
  below: Record<Side, number>;
}

/** Finds paths that are a file's and a directory's: `a` and `a/b`. Paths come in byte order. */
export class Clashes {
  /** Files seen, below which others may come. */
  #files: Clash[] = [];
  readonly #clashing = new Map<string, Clash>();

  get size(): number {
    return this.#clashing.size;
  }

  see({ name, ancestor, local, remote }: SeenPath): void {
    const here = new Set<Side>();
    if (local.is !== "absent") here.add("local");
    if (remote.is !== "absent") here.add("remote");
    if (here.size === 0) return;
    // "0" follows "/" in byte order: nothing below a file comes after that.
    this.#files = this.#files.filter((file) => compareKeys(`${file.name}0`, name) > 0);
    for (const file of this.#files) {
      if (!name.startsWith(`${file.name}/`)) continue;
      for (const side of here) file.below[side]++;
      this.#clashing.set(file.name, file);
    }
    const stampOf = (look: Look) => (look.is === "file" ? look.stamp : "");
    const stamps = { local: stampOf(local), remote: stampOf(remote) };
    const isAncestor = [...here].some((side) => stamps[side] !== "" && stamps[side] === ancestor?.[side]);
    this.#files.push({ name, files: here, isAncestor, stamps, below: { local: 0, remote: 0 } });
  }

  /** The outermost clash that a path is the file of, or below; undefined if there is none. */
  of(name: string): Clash | undefined {
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1)) {
      const clash = this.#clashing.get(name.slice(0, at));
      if (clash) return clash;
    }
    return this.#clashing.get(name);
  }
}
