import { TransferError } from "../../errors.js";
import { baseName, STAGING_NAME, safeRelative } from "../../paths.js";
import { HttpClient } from "../http/client.js";
import { compareKeys } from "../key-order.js";
import { ListingError } from "../listing-error.js";
import type { Listed, ListedName, Lister, ListerOptions, ListOptions, Looked } from "../storage.js";
import type { FileServer, RemoteFile } from "./server.js";

const CONNECTIONS = 4;

/** Opens a server below a root. */
export type Connect = (http: HttpClient, root: string) => FileServer;

/** Lists the files of a server that a run writes to. */
export class RemoteLister implements Lister {
  readonly #http: HttpClient;

  constructor(
    private readonly options: ListerOptions,
    private readonly connect: Connect,
  ) {
    const { timeoutMs, userAgent } = options.spec;
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
  }

  async look(location: string): Promise<Looked> {
    try {
      const isThere = await this.connect(this.#http, location).exists(this.options.signal);
      return isThere ? { is: "tree" } : { is: "nothing", why: "there is no such directory" };
    } catch (error) {
      if (!(error instanceof TransferError) || error.class === "cancelled") throw error;
      return { is: "failed", error };
    }
  }

  async *list(location: string, { wanted, after }: ListOptions): AsyncGenerator<Listed> {
    for await (const { name, sizeBytes, etag } of this.#files(location)) {
      if ((after !== undefined && compareKeys(name, after) <= 0) || !wanted(name) || isStaged(name)) continue;
      const at = { name, location: `${location}/${name}`, mark: name };
      yield { is: "file", ...at, sizeBytes, mtimeMs: 0, version: etag };
    }
  }

  async *names(location: string): AsyncGenerator<ListedName> {
    for await (const { name, etag } of this.#files(location))
      yield { name, hides: false, isFile: isOurs(name), stamp: () => etag };
  }

  async *#files(location: string): AsyncGenerator<RemoteFile> {
    let last: string | undefined;
    try {
      for await (const files of this.connect(this.#http, location).list(this.options.signal)) {
        for (const file of files) {
          if (last !== undefined && compareKeys(last, file.name) >= 0) throw outOfOrder();
          last = file.name;
          yield file;
        }
      }
    } catch (error) {
      if (!(error instanceof TransferError) || error.class === "cancelled") throw error;
      throw new ListingError(location, error);
    }
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}

/** Whoever compares two listings relies on their order. */
function outOfOrder(): TransferError {
  return new TransferError("protocol", "the listing is not in the order of its keys", { permanent: true });
}

function isStaged(name: string): boolean {
  return STAGING_NAME.test(baseName(name));
}

/** Whether a sync may have written a file of that name. */
function isOurs(name: string): boolean {
  try {
    safeRelative(name);
    return true;
  } catch {
    return false;
  }
}
