import { shortHash } from "../../ids.js";
import type { EntryKind, Tree } from "../tree.js";
import { joinRemote } from "./root.js";

/** The files of a server below a root, as a tree of destinations. */
export class RemoteTree implements Tree {
  readonly id: string;

  /**
   * @param root canonical.
   * @param suffix added to every name, for a tree that keeps former versions. Default none.
   */
  constructor(
    readonly root: string,
    private readonly suffix = "",
  ) {
    this.id = shortHash("tree", root);
  }

  /** Name of a file at the server, which is that in the catalog. */
  nameOf(name: string): string {
    return name + this.suffix;
  }

  path(name: string): string {
    return joinRemote(this.root, this.nameOf(name));
  }

  leaseOf(name: string): string {
    return shortHash("remote", this.path(name));
  }

  /** Trusts the catalog, because looking would cost a request per file. */
  isAsLeft(): boolean {
    return true;
  }

  look(): EntryKind {
    return "unknown";
  }

  close(): void {}
}
