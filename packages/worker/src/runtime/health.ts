import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { messageOf } from "@drover/shared/errors";
import type { MetricsExporter } from "@drover/shared/metrics/exporter";

const BEAT_MS = 1_000;
/** Delay in ms from which the event loop counts as stuck. */
const LATE_MS = 10_000;

export interface HealthChecks {
  /** Bytes received by the files in progress, one number per file. */
  progress(): number[];
  /** Whether files cannot move because Redis is away. */
  waitsForRedis(): boolean;
  /** Time in ms without progress of any file after which the process counts as stuck. */
  stuckMs: number;
  ready(): boolean;
  /** What `/metrics` tells. */
  metrics: Pick<MetricsExporter, "contentType" | "text" | "close">;
}

/**
 * Serves `/healthz` (the event loop runs and files make progress), `/readyz` (Redis answers and jobs are
 * taken) and `/metrics`. Redis does not affect `/healthz`, since killing a worker that waits for Redis does not help.
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
      if (request.url === "/metrics") return void this.#tellMetrics(response);
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

  async #tellMetrics(response: ServerResponse): Promise<void> {
    const { metrics } = this.checks;
    try {
      const text = await metrics.text();
      response.writeHead(200, { "content-type": metrics.contentType }).end(text);
    } catch (error) {
      response.writeHead(500, { "content-type": "text/plain" }).end(`${messageOf(error)}\n`);
    }
  }

  #beat(): void {
    this.#beatMs = performance.now();
    const progress = this.checks.progress();
    const now = progress.join();
    if (progress.length === 0 || now !== this.#last || this.checks.waitsForRedis())
      this.#movedMs = this.#beatMs;
    this.#last = now;
  }

  close(): void {
    clearInterval(this.#timer);
    this.server.close();
    this.server.closeAllConnections();
    this.checks.metrics.close();
  }
}
