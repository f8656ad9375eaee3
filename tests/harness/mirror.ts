import { existsSync, readFileSync } from "node:fs";
import type { MirrorStatus } from "@drover/mirror/status";
import type { SyncReport } from "@drover/mirror/sync/report";
import { type DroverProcess, filesBelow, type Result, type Sandbox, type StartOptions } from "./drover.js";
import type { FakeS3 } from "./fake-s3.js";
import { itWithFakeS3, type Work } from "./fixtures.js";

/** A mirror of the bucket of a fake S3 in a directory of its own. */
export class TestMirror {
  #events = 0;
  readonly out: string;

  constructor(
    readonly box: Sandbox,
    readonly work: Work,
    readonly s3: FakeS3,
  ) {
    this.out = work.out;
    this.writeTo(this.out);
  }

  /** Sets the destination. @param root default: a directory of the test's. */
  writeTo(root: string): void {
    const { work } = this;
    work.write({
      "drover.yaml": JSON.stringify({
        "state-dir": work.at("state"),
        retries: 2,
        mirrors: {
          default: {
            source: "s3://bucket/",
            destination: root,
            interval: 1,
            database: work.at("data/sync.db"),
            "data-dir": work.at("data"),
            "max-delete": "100%",
          },
        },
      }),
    });
  }

  get options(): StartOptions {
    return { env: this.s3.env, cwd: this.work.path };
  }

  async run(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
    return await this.box.run(["mirror", ...args], { ...this.options, env: { ...this.s3.env, ...env } });
  }

  start(args: readonly string[], env: Record<string, string> = {}): DroverProcess {
    return this.box.start(["mirror", ...args], { ...this.options, env: { ...this.s3.env, ...env } });
  }

  async sync(name: "initial-sync" | "incremental-sync" | "reconcile"): Promise<SyncReport> {
    const { stdout, stderr } = await this.run([name, "--json"]);
    if (stdout === "") throw new Error(stderr);
    return JSON.parse(stdout) as SyncReport;
  }

  async status(): Promise<MirrorStatus> {
    const { stdout, stderr } = await this.run(["status", "--json"]);
    if (stdout === "") throw new Error(stderr);
    return JSON.parse(stdout) as MirrorStatus;
  }

  /** An event in its envelope. @param timeMs default: now. */
  event(type: string, data: Record<string, unknown>, timeMs = Date.now()): string {
    return JSON.stringify({
      ...{ specversion: "1.0", id: `e${++this.#events}`, source: "test", type: `drover.mirror.${type}` },
      ...{ time: new Date(timeMs).toISOString(), data },
    });
  }

  /** Puts events among those that wait. */
  async tell(...events: string[]): Promise<void> {
    const file = this.work.write({ "events.ndjson": `${events.join("\n")}\n` });
    const { code, stderr } = await this.run(["replay", file]);
    if (code !== 0) throw new Error(stderr);
  }

  /** Content by name at the destination. */
  tree(): Record<string, string> {
    return Object.fromEntries(
      filesBelow(this.out).map((path) => [path.slice(this.out.length + 1), readFileSync(path, "utf8")]),
    );
  }

  /** Content by key at the source. */
  source(): Record<string, string> {
    return Object.fromEntries(this.s3.keys.map((key) => [key, String(this.s3.stored(key)?.content)]));
  }

  csv(path: string | null): string[] {
    return path === null || !existsSync(path) ? [] : readFileSync(path, "utf8").trimEnd().split("\n");
  }
}

export const itMirrors = itWithFakeS3.extend<{ mirror: TestMirror }>({
  mirror: async ({ box, work, s3 }, use) => {
    await use(new TestMirror(box, work, s3));
  },
});
