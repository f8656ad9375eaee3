import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const BEAT_MS = 1_000;
/** Delay in ms from which the event loop counts as stuck. */
const LATE_MS = 10_000;

export interface HealthChecks {
  /** Bytes received by the files in progress, one number per file. */
  progress(): number[];
  /** Time in ms without progress of any file after which the process counts as stuck. */
  stuckMs: number;
  ready(): boolean;
}

/**
 * Serves `/healthz` (the event loop runs and files make progress) and `/readyz` (Redis answers and jobs are
 * taken). Redis does not affect `/healthz`, since killing a worker that waits for Redis does not help.
 */
export class Health {
  #beatMs = performance.now();
  #movedMs = performance.now();
  #last = "";
  readonly #timer: NodeJS.Timeout;

  private constructor(
    private readonly server: Server,
    private readonly checks: HealthChecks,
  ) {
    this.#timer = setInterval(() => this.#beat(), BEAT_MS).unref();
    server.on("request", (request, response) => {
      const say = (ok: boolean, why: string) => {
        response.writeHead(ok ? 200 : 503, { "content-type": "text/plain" }).end(`${ok ? "ok" : why}\n`);
      };
      if (request.url === "/healthz") return say(this.alive, "stuck");
      if (request.url === "/readyz") return say(checks.ready(), "not ready");
      response.writeHead(404).end();
    });
  }

  /** @throws the system's error if the port cannot be opened. */
  static async listen(port: number, checks: HealthChecks): Promise<Health> {
    const server = createServer();
    server.listen(port);
    await once(server, "listening");
    return new Health(server, checks);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get alive(): boolean {
    const nowMs = performance.now();
    return nowMs - this.#beatMs < LATE_MS && nowMs - this.#movedMs < this.checks.stuckMs;
  }

  #beat(): void {
    this.#beatMs = performance.now();
    const progress = this.checks.progress();
    const now = progress.join();
    if (progress.length === 0 || now !== this.#last) this.#movedMs = this.#beatMs;
    this.#last = now;
  }

  close(): void {
    clearInterval(this.#timer);
    this.server.close();
    this.server.closeAllConnections();
  }
}
