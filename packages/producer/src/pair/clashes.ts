import type { SeenPath } from "@drover/shared/pair/path-state";
import { compareKeys } from "@drover/shared/storage/key-order";

/** Finds paths that are a file's on one side and a directory's on any side: `a` and `a/b`. Paths come in byte order. */
export class Clashes {
  /** Paths seen that are files, below which others may come. */
  #files: string[] = [];
  readonly #clashing = new Set<string>();

  get size(): number {
    return this.#clashing.size;
  }

  see({ name, local, remote }: SeenPath): void {
    if (local.is === "absent" && remote.is === "absent") return;
    // "0" follows "/" in byte order: nothing below a file comes after that.
    this.#files = this.#files.filter((file) => compareKeys(`${file}0`, name) > 0);
    for (const file of this.#files) if (name.startsWith(`${file}/`)) this.#clashing.add(file);
    this.#files.push(name);
  }

  /** Whether a path is such a file, or below one. */
  has(name: string): boolean {
    if (this.#clashing.has(name)) return true;
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1))
      if (this.#clashing.has(name.slice(0, at))) return true;
    return false;
  }
}
