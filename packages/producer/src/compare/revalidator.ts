import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { RunSpec } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http/client";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { HttpSource } from "@drover/shared/storage/http/source";
import { hostOf } from "@drover/shared/storage/registry";

/** Time limit in ms per batch of files. Files without an answer by then are queued. */
const MOST_MS = 2_000;
/** Consecutive changed files after which the remaining ones are queued without a request. */
const MOST_CHANGED = 32;

/**
 * Asks servers whether files are unchanged before they are queued: an unchanged file then costs one
 * conditional request and no job. This is only a shortcut: files without an immediate "not modified" are
 * queued.
 */
export class Revalidator {
  readonly #client: HttpClient;
  #changed = 0;

  /**
   * @param terms of a request: its time limit, the User-Agent where the headers have none, and whether it is guarded.
   * @param headers of the request, sent only to the sources' own origins.
   * @param concurrency requests at once.
   * @param breakers hosts that are blocked or recovering are not asked.
   */
  constructor(
    { timeoutMs, userAgent, guarded }: Pick<RunSpec, "timeoutMs" | "userAgent" | "guarded">,
    private readonly headers: Record<string, string>,
    private readonly concurrency: number,
    private readonly breakers: HostBreakers,
  ) {
    const guard = guarded ? new AddressGuard() : undefined;
    this.#client = new HttpClient({ timeoutMs, connections: concurrency, userAgent, guard });
  }

  /** @returns for each file whether the server still has the given version. */
  async unchanged(files: { url: string; version: string }[]): Promise<boolean[]> {
    const answers: boolean[] = new Array(files.length).fill(false);
    const stop = AbortSignal.timeout(MOST_MS);
    let next = 0;
    const one = async () => {
      while (next < files.length && !stop.aborted && this.#changed < MOST_CHANGED) {
        const at = next++;
        const { url, version } = files[at] as { url: string; version: string };
        if (this.breakers.isRecovering(hostOf(url))) continue;
        answers[at] = await this.#ask(url, version, stop);
        this.#changed = answers[at] ? 0 : this.#changed + 1;
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.concurrency, files.length) }, one));
    return answers;
  }

  async #ask(url: string, version: string, stop: AbortSignal): Promise<boolean> {
    try {
      const opened = await new HttpSource(this.#client, url, this.headers).open(version, stop);
      if (opened.is === "body") opened.body.abort(new Error("it comes when it is its turn"));
      return opened.is === "unchanged";
    } catch {
      return false; // the attempt that carries the file reports it
    }
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
