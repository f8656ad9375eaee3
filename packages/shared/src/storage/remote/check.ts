import { TransferError } from "../../errors.js";
import { HttpClient } from "../http/client.js";
import type { DestinationCheck, LookOptions } from "../storage.js";
import type { Connect } from "./lister.js";
import type { FileServer, RemoteHead } from "./server.js";
import type { RemoteTree } from "./tree.js";

/** Files that are asked about at once. */
const CONNECTIONS = 16;

/** Looks at files of a server, each with a request. */
export class RemoteCheck implements DestinationCheck {
  readonly #http: HttpClient;
  readonly server: FileServer;
  /** Why a file could not be looked at, the first of them. */
  trouble: Error | undefined;

  constructor(
    private readonly tree: RemoteTree,
    connect: Connect,
    private readonly options: LookOptions,
  ) {
    const { timeoutMs, userAgent } = options.spec;
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    this.server = connect(this.#http, tree.root);
  }

  async asLeft(files: { name: string; stamp: string }[]): Promise<boolean[]> {
    const heads = await this.heads(files.map(({ name }) => name));
    return files.map(({ stamp }, at) => {
      const head = heads[at];
      return (
        head !== undefined && head !== "nothing" && !(head instanceof TransferError) && head.etag === stamp
      );
    });
  }

  /** @returns for each name `nothing`, what is there, or the error of looking at it. */
  async heads(names: string[]): Promise<("nothing" | RemoteHead | TransferError)[]> {
    const heads: ("nothing" | RemoteHead | TransferError)[] = [];
    let next = 0;
    const one = async () => {
      while (next < names.length && !this.options.signal.aborted) {
        const at = next++;
        heads[at] = await this.#head(names[at] as string);
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, one));
    return heads;
  }

  async #head(name: string): Promise<"nothing" | RemoteHead | TransferError> {
    const { signal, spec } = this.options;
    try {
      const within = AbortSignal.any([signal, AbortSignal.timeout(spec.timeoutMs)]);
      return (await this.server.head(this.tree.nameOf(name), within)) ?? "nothing";
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      this.trouble ??= error;
      return error;
    }
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}
