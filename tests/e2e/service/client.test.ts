import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { DroverClient, ServiceError, type ServiceFile } from "@drover/service/client/client";
import { describe, expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false" };
const TOKEN = "a-token-of-the-test";

describe("the client", () => {
  it("enqueues, follows and waits, as the document's program does", async ({ serve, work }) => {
    work.write({ "in/a.csv": "a", "in/b.csv": "b" });
    const service = await serve(["--root", work.path, "--host", "127.0.0.1"], { ...QUIET, API_TOKEN: TOKEN });
    const document = readFileSync(join(REPOSITORY, "docs/library.md"), "utf8");
    const [, program = ""] = /^```js file=client\.mjs\n(.*?)^```$/ms.exec(document) ?? [];
    const drover = work.at("program/node_modules/drover");
    mkdirSync(drover, { recursive: true });
    writeFileSync(join(drover, "package.json"), JSON.stringify({ type: "module", exports: "./index.js" }));
    mkdirSync(work.at("program/node_modules/@drover"));
    for (const name of ["shared", "producer", "service"])
      symlinkSync(join(REPOSITORY, "packages", name), work.at("program/node_modules/@drover", name));
    writeFileSync(join(drover, "index.js"), 'export * from "@drover/service/client/client";');
    writeFileSync(work.at("program/client.mjs"), program);
    const run = async (token: string) =>
      await promisify(execFile)(
        process.execPath,
        ["client.mjs", work.at("in"), work.at("out"), service.url],
        {
          cwd: work.at("program"),
          env: { PATH: process.env.PATH, DROVER_TOKEN: token },
        },
      );
    const { stdout } = await run(TOKEN);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => line.trim());
    expect(lines.slice(0, 2).sort()).toEqual(["copied a.csv", "copied b.csv"]);
    expect(JSON.parse(lines[2] as string)).toEqual({ state: "done", files: 2, copied: 2 });
    await expect(run("wrong")).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("status 401"),
    });
  });

  it("misses nothing and hears nothing twice over a connection that breaks", async ({ serve, work }) => {
    work.write(Object.fromEntries(Array.from({ length: 400 }, (_, at) => [`in/f${at}`, String(at)])));
    const service = await serve(["--root", work.path], QUIET);
    const proxy = await BreakingProxy.start(Number(new URL(service.url).port), 20_000);
    const client = new DroverClient({ url: proxy.url });
    const { id } = await client.enqueue({ sources: [`${work.at("in")}/`], to: work.at("out") });
    const told: ServiceFile[] = [];
    for await (const file of client.follow(id)) told.push(file);
    expect(proxy.broken).toBeGreaterThan(1);
    expect(told).toHaveLength(400);
    expect(new Set(told.map(({ destination }) => destination)).size).toBe(400);
    expect(await client.wait(id)).toMatchObject({ state: "done", copied: 400 });
    await proxy.stop();
  });

  it("says what the service refuses, and tries again where it cannot be reached", async ({ serve, work }) => {
    const service = await serve(["--root", work.path], QUIET);
    const client = new DroverClient({ url: service.url });
    const refused = client.enqueue({ sources: ["/etc/passwd"], to: work.at("out") });
    await expect(refused).rejects.toBeInstanceOf(ServiceError);
    await expect(refused).rejects.toMatchObject({ status: 403, requestId: expect.any(String) });
    await expect(client.run("nonesuch")).rejects.toMatchObject({ status: 404 });
    let sent = 0;
    const flaky = new DroverClient({
      url: service.url,
      fetch: async (...request) => {
        if (++sent < 3) throw new TypeError("fetch failed");
        return await fetch(...request);
      },
    });
    work.write({ "in/a": "a" });
    const { id } = await flaky.enqueue({ sources: [work.at("in/a")], to: work.at("out") });
    expect(sent).toBe(3);
    await until("the end", async () => (await client.run(id)).state === "done");
  });
});

/** Passes connections on to a port, and breaks each one after so many bytes of answers. */
class BreakingProxy {
  broken = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server;

  private constructor(port: number, bytes: number) {
    this.#server = createServer((here) => {
      const there = new (here.constructor as typeof Socket)();
      there.connect(port, "127.0.0.1");
      let passed = 0;
      for (const socket of [here, there]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          here.destroy();
          there.destroy();
        });
      }
      here.pipe(there);
      there.on("data", (chunk: Buffer) => {
        here.write(chunk);
        passed += chunk.length;
        if (passed < bytes) return;
        this.broken++;
        here.destroy();
      });
    });
  }

  static async start(port: number, bytes: number): Promise<BreakingProxy> {
    const proxy = new BreakingProxy(port, bytes);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
