import type { DroverProcess, Sandbox } from "./drover.js";
import { startRedis, type TestRedis } from "./redis.js";

/** A fleet of one test: a Redis of its own and workers that come and go. */
export class TestFleet {
  readonly workers: DroverProcess[] = [];
  /** Environment of workers that are started from here on. */
  env: Readonly<Record<string, string>> = {};

  private constructor(
    private readonly box: Sandbox,
    readonly redis: TestRedis,
    private readonly roots: readonly string[],
  ) {}

  static async start(box: Sandbox, roots: readonly string[]): Promise<TestFleet> {
    return new TestFleet(box, await startRedis(), roots);
  }

  get url(): string {
    const { address } = this.redis;
    return "url" in address ? address.url : `unix://${address.socketPath}`;
  }

  /** Options that name this fleet. */
  get own(): string[] {
    return ["--redis", this.url];
  }

  /** Starts a worker; resolves when it takes jobs. */
  async worker(...options: string[]): Promise<DroverProcess> {
    const roots = this.roots.flatMap((root) => ["--root", root]);
    const args = ["worker", ...this.own, ...roots, "--verbose", ...options];
    const worker = this.box.start(args, { timeoutMs: 300_000, env: this.env });
    this.workers.push(worker);
    await worker.waitFor("stderr", /worker ready/);
    return worker;
  }

  async stop(): Promise<void> {
    for (const worker of this.workers) {
      worker.kill("SIGCONT");
      worker.kill("SIGKILL");
    }
    await Promise.all(this.workers.map((worker) => worker.result.catch(() => {})));
    await this.redis.stop();
  }
}
