import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { awsRecord } from "../../unit/events/bodies.js";
import { startService } from "./service.js";

const run = promisify(execFile);

let directory: string;
let bundle: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-lambda-"));
  bundle = join(directory, "lambda");
  await run(join(REPOSITORY, "scripts/build-lambda.sh"), [bundle]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("the bundle", () => {
  it("is one file that imports nothing but Node", async () => {
    expect(await readdir(bundle)).toEqual(["index.mjs"]);
    const source = await readFile(join(bundle, "index.mjs"), "utf8");
    const imported = [...source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']/g)].map(
      ([, name]) => name,
    );
    expect(imported.length).toBeGreaterThan(0);
    expect(imported.filter((name) => !name?.startsWith("node:"))).toEqual([]);
  });

  it("is called as Lambda calls it, with settings from the environment", async () => {
    const service = await startService(() => 200);
    try {
      const event = { Records: [awsRecord("k")] };
      const program = `
        const { handler } = await import(process.argv[1]);
        const context = { awsRequestId: "c6af9ac6", getRemainingTimeInMillis: () => 10_000 };
        await handler(JSON.parse(process.argv[2]), context, () => {});`;
      const { stdout } = await run(
        process.execPath,
        ["--input-type=module", "-e", program, join(bundle, "index.mjs"), JSON.stringify(event)],
        { cwd: directory, env: { API_ENDPOINT: service.endpoint } },
      );
      expect(JSON.parse(stdout)).toMatchObject({
        level: "info",
        message: "delivered",
        requestId: "c6af9ac6",
      });
      expect(service.received.map(({ body }) => JSON.parse(body))).toEqual([event]);
    } finally {
      await service.close();
    }
  });
});
