import { TransferError } from "../../errors.js";
import type { FileFacts } from "../../leave.js";
import type { Foreseen, ForeseenFile, Foresight, ForesightOptions } from "../storage.js";
import { RemoteCheck } from "./check.js";
import { remoteFacts } from "./facts.js";
import type { Connect } from "./lister.js";
import type { RemoteHead } from "./server.js";
import type { RemoteTree } from "./tree.js";

/** Tells what a run would find at a server. It decides as RemoteDestination and RemoteStaging do. */
export class RemoteForesight implements Foresight {
  readonly #check: RemoteCheck;

  constructor(
    tree: RemoteTree,
    connect: Connect,
    private readonly options: ForesightOptions,
  ) {
    this.#check = new RemoteCheck(tree, connect, options);
  }

  async foresee(files: ForeseenFile[]): Promise<(Foreseen | TransferError)[]> {
    const heads = await this.#check.heads(files.map(({ name }) => name));
    const found: (Foreseen | TransferError)[] = [];
    for (const [at, file] of files.entries()) {
      try {
        found.push(await this.#foresee(file, heads[at] ?? "nothing"));
      } catch (error) {
        if (!(error instanceof TransferError)) throw error;
        found.push(error.permanent ? error : "unclear");
      }
    }
    return found;
  }

  async look(names: string[]): Promise<(FileFacts | "nothing" | undefined)[]> {
    const heads = await this.#check.heads(names);
    return names.map((_, at) => {
      const head = heads[at];
      if (head === undefined || head === "nothing") return head;
      return head instanceof TransferError ? undefined : remoteFacts(head);
    });
  }

  async #foresee(
    { sourceId, expected, last, peek }: ForeseenFile,
    found: "nothing" | RemoteHead | TransferError,
  ): Promise<Foreseen> {
    const head = found === "nothing" || found instanceof TransferError ? undefined : found;
    const isVouchedFor =
      last !== undefined && (!this.options.spec.checkDestination || head?.etag === last.stamp);
    if (expected !== undefined) {
      if (isVouchedFor && last.sha256 === expected) return "same";
      if (!isVouchedFor && head?.sha256 === expected) return "same";
    }
    const known = isVouchedFor && last.source === sourceId && expected === undefined ? last.version : "";
    if (known !== "" && peek && (await peek()).isVersion(known)) return "same";
    if (found === "nothing") return "nothing";
    if (!head || !peek) return "unclear";
    const { entry, digest } = await peek();
    if (entry.sizeBytes !== undefined && head.sizeBytes !== entry.sizeBytes) return "other";
    if (head.mode !== undefined && entry.mode !== undefined && (entry.mode & 0o777) !== head.mode)
      return "other";
    if (head.sha256 === undefined) return "unclear"; // a transfer reads the file at the server
    const sha256 = await digest("sha256");
    if (sha256 === undefined) return "unclear";
    return sha256 === head.sha256 ? "same" : "other";
  }

  close(): Promise<void> {
    return this.#check.close();
  }
}
