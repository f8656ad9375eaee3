import { shortHash } from "../../ids.js";
import type { TreeNames } from "../tree.js";

/** The names in a tree on a local file system. */
export class LocalNames implements TreeNames {
  /** Id of this tree in the catalog. */
  readonly id: string;

  /** @param root absolute, with links resolved as far as it exists. */
  constructor(readonly root: string) {
    this.id = shortHash("tree", root);
  }

  /** Absolute path of a name in the tree. */
  path(name: string): string {
    return this.root === "/" ? `/${name}` : `${this.root}/${name}`;
  }

  leaseOf(name: string): string {
    return shortHash(this.path(name));
  }
}
