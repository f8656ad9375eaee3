import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { hostOf } from "@drover/shared/storage/registry";

/** The files of a batch are asked about for so long; what is not answered by then is queued like any other. */
const MOST_MS = 2_000;
/** Files that turned out to be changed, in a row, after which the rest is queued without being asked about. */
const MOST_CHANGED = 32;

/**
 * Asks servers whether files are unchanged before they are queued: a file that is costs one conditional request and
 * no job. It is a shortcut only: whatever does not answer "not modified" at once takes the usual way.
 */
export class Revalidator {
  readonly #client: HttpClient;
  #changed = 0;

  /**
   * @param headers the person's own, for the URLs' origins.
   * @param concurrency files that are asked about at once.
   * @param gates no blocked host is asked.
   */
  constructor(
    timeoutMs: number,
    private readonly headers: Record<string, string>,
    private readonly concurrency: number,
    private readonly breakers: HostBreakers,
  ) {
    this.#client = new HttpClient({ timeoutMs, connections: concurrency });
  }

  /** @returns whether each is the version that is named. */
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
      return false; // it is met again, and said, when the file is carried
    }
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
