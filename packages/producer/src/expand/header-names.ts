import { dirname } from "node:path/posix";
import { messageOf, TransferError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http/client";
import { fileNameOf } from "@drover/shared/storage/http/content-disposition";
import { statusError } from "@drover/shared/storage/http/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { destinationOf } from "@drover/shared/storage/registry";
import type { Entry } from "./entry.js";

/** Servers that are asked at once. */
const AT_ONCE = 8;

/**
 * Gives files of URLs the names that their servers send in Content-Disposition. Each is asked once, by a GET whose body is
 * left, since servers answer a HEAD otherwise, or not at all where a URL is signed. It is done before a file is registered, so
 * that its name is in the run from then on, and two of the same name are found as any others are.
 */
export class HeaderNames {
  readonly #client: HttpClient;

  /**
   * @param headers the user's, for the URLs' own origins.
   * @param signal stops asking.
   */
  constructor(
    private readonly spec: RunSpec,
    private readonly headers: Record<string, string>,
    private readonly signal: AbortSignal,
  ) {
    const { timeoutMs, userAgent, guarded } = spec;
    const guard = guarded ? new AddressGuard() : undefined;
    this.#client = new HttpClient({ timeoutMs, connections: AT_ONCE, userAgent, guard });
  }

  /** @returns the entries in their order; those whose server cannot be asked, or answers with an error, have that error. */
  async name(entries: Entry[]): Promise<Entry[]> {
    const named = [...entries];
    let next = 0;
    const one = async () => {
      while (next < entries.length) {
        const at = next++;
        const entry = entries[at] as Entry;
        if (entry.isUnnamed && !entry.error) named[at] = await this.#named(entry);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    return named;
  }

  async #named(entry: Entry): Promise<Entry> {
    try {
      const name = fileNameOf(await this.#disposition(entry.source));
      if (name === undefined) return entry;
      const directory = dirname(entry.destination);
      const destination = directory === "." ? name : `${directory}/${name}`;
      destinationOf(this.spec.root).checkName(destination);
      return { ...entry, destination };
    } catch (error) {
      if (this.signal.aborted) throw error;
      const known = error instanceof TransferError ? error : new TransferError("internal", messageOf(error));
      // Without a name, so that no retry brings it under another one.
      return { ...entry, destination: "", error: known };
    }
  }

  async #disposition(url: string): Promise<string | undefined> {
    const within = AbortSignal.any([this.signal, AbortSignal.timeout(this.spec.timeoutMs)]);
    const { status, headers, body } = await this.#client.get(url, this.headers, {}, within);
    body.abort(new Error("only its name was asked for"));
    if (status !== 200 && status !== 203) throw statusError(status, headers);
    return headers["content-disposition"];
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
