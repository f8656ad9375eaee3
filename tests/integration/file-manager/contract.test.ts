import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openApiDocument } from "@drover/file-manager/openapi";
import { startFileManager } from "@drover/file-manager/server";
import { reprDigest } from "@drover/shared/storage/remote/answer";
import { Ajv2020 } from "ajv/dist/2020.js";
import { it as base, describe, expect } from "vitest";
import { sha256 } from "../../harness/content.js";
import { REPOSITORY } from "../../harness/drover.js";
import { fileManager, type TestFileServer } from "../../harness/file-servers.js";

interface Answer {
  status: number;
  headers: Headers;
  text: string;
  json: Record<string, unknown>;
}

type Ask = (
  method: string,
  path: string,
  options?: { headers?: Record<string, string>; body?: string },
) => Promise<Answer>;

const document = openApiDocument() as {
  paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema: object }> }> }>
  >;
  components: object;
};
const ajv = new Ajv2020({ strict: false });

/** Checks an answer against the document. */
function conforms(method: string, path: string, { status, headers, text }: Answer): void {
  const plain = path.split("?")[0] as string;
  const route = plain.startsWith("/files/") ? "/files/{path}" : plain;
  const operation = document.paths[route]?.[method.toLowerCase()];
  if (!operation) return; // it has no such request
  const response = operation.responses[String(status)];
  expect(response, `${method} ${path} answers ${status}, which the document does not have`).toBeDefined();
  if (method === "HEAD" || !response?.content) return;
  const type = (headers.get("content-type") ?? "").split(";")[0] as string;
  const content = response.content[type];
  expect(content, `${method} ${path} answers ${type}`).toBeDefined();
  if (type === "application/octet-stream") return;
  const schema = { ...content?.schema, components: document.components };
  expect([ajv.validate(schema, JSON.parse(text)), ajv.errorsText()]).toEqual([true, "No errors"]);
}

const it = base.extend<{ manager: TestFileServer; ask: Ask }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  manager: async ({}, use) => {
    const manager = await fileManager.start();
    await use(manager);
    await manager.stop();
  },
  ask: async ({ manager }, use) => {
    const origin = manager.root.replace("filemanager+", "").replace("/files", "");
    await use(async (method, path, { headers = {}, body } = {}) => {
      const response = await fetch(origin + path, {
        method,
        headers,
        ...(body === undefined ? {} : { body }),
      });
      const text = await response.text();
      const isJson = /json/.test(response.headers.get("content-type") ?? "");
      const json = isJson && text !== "" ? JSON.parse(text) : {};
      const answer = { status: response.status, headers: response.headers, text, json };
      conforms(method, path, answer);
      return answer;
    });
  },
});

const put = { body: "content", headers: { "repr-digest": reprDigest(sha256("content")) } };

describe("the contract of file managers", () => {
  it("is the document in docs", () => {
    const path = join(REPOSITORY, "docs/file-manager-openapi.json");
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(openApiDocument());
  });

  it("stores, tells, gives, moves and removes", async ({ ask }) => {
    expect((await ask("GET", "/health")).json).toMatchObject({ conditions: true });
    const first = await ask("PUT", "/files/dir/a%20b", put);
    expect([first.status, first.json]).toEqual([
      201,
      expect.objectContaining({ path: "dir/a b", size: 7, sha256: sha256("content") }),
    ]);
    const etag = first.json.etag as string;
    expect((await ask("PUT", "/files/dir/a%20b", put)).status).toBe(200);
    const head = await ask("HEAD", "/files/dir/a%20b");
    expect([head.headers.get("content-length"), head.headers.get("repr-digest")]).toEqual([
      "7",
      reprDigest(sha256("content")),
    ]);
    expect((await ask("GET", "/files/dir/a%20b")).text).toBe("content");
    const move = { headers: { "content-type": "application/json" }, body: '{"from":"dir/a b","to":"x/#"}' };
    const stale = { ...move, headers: { ...move.headers, "drover-from-match": etag } };
    expect((await ask("POST", "/move", stale)).status).toBe(412);
    expect((await ask("POST", "/move", move)).json).toMatchObject({ path: "x/#", sha256: sha256("content") });
    expect((await ask("POST", "/move", move)).status).toBe(404);
    expect((await ask("DELETE", "/files/x/%23")).status).toBe(204);
    expect((await ask("DELETE", "/files/x/%23")).status).toBe(404);
  });

  it("binds requests to versions and fences", async ({ ask }) => {
    const with_ = (headers: Record<string, string>) => ask("PUT", "/files/f", { ...put, headers });
    const { json } = await with_({ "if-none-match": "*", "drover-fence": "5" });
    expect((await with_({ "if-none-match": "*" })).status).toBe(412);
    expect((await with_({ "if-match": '"other"' })).status).toBe(412);
    expect((await with_({ "if-match": json.etag as string, "drover-fence": "4" })).status).toBe(412);
    expect((await with_({ "if-match": json.etag as string, "drover-fence": "5" })).status).toBe(200);
    expect((await ask("DELETE", "/files/f", { headers: { "drover-fence": "4" } })).status).toBe(412);
    expect((await ask("DELETE", "/files/f", { headers: { "drover-fence": "6" } })).status).toBe(204);
    expect((await with_({ "drover-fence": "5" })).status, "after it was removed under a later one").toBe(412);
  });

  it("refuses other bytes than were promised, and keeps what was there", async ({ ask }) => {
    await ask("PUT", "/files/f", put);
    const wrong = { body: "other", headers: { "repr-digest": reprDigest(sha256("content")) } };
    expect((await ask("PUT", "/files/f", wrong)).status).toBe(422);
    expect((await ask("GET", "/files/f")).text).toBe("content");
  });

  it("keeps permissions, also those that come before their file", async ({ ask }) => {
    const early = await ask("PATCH", "/files/f", { body: '{"mode":"0600","owner":"ü"}' });
    expect(early.status).toBe(202);
    const stored = await ask("PUT", "/files/f", put);
    expect(stored.json.permissions).toEqual({ mode: "0600", owner: "ü" });
    const grants = [{ grantee: "all", permission: "READ" }];
    const later = await ask("PATCH", "/files/f", { body: JSON.stringify({ mode: "0644", grants }) });
    expect(later.json).toMatchObject({
      etag: stored.json.etag,
      permissions: { mode: "0644", owner: "ü", grants },
    });
    expect((await ask("HEAD", "/files/f")).headers.get("drover-mode")).toBe("0644");
    expect((await ask("PATCH", "/files/f", { body: '{"mode":"999"}' })).status).toBe(400);
  });

  it("lists in the order of keys, a page at a time, without what is staged", async ({ ask, manager }) => {
    const names = ["A", "a-b", "a/b", "a0", "😀", "ﬀ"];
    for (const name of names)
      await ask("PUT", `/files/${name.split("/").map(encodeURIComponent).join("/")}`, put);
    await ask("PUT", "/files/a/.drover-0123456789abcdef", put);
    writeFileSync(join(manager.directory, "by-hand"), "x");
    const found: unknown[] = [];
    for (let after: string | null = ""; after !== null; ) {
      const { json } = await ask("GET", `/files?limit=2&after=${encodeURIComponent(after)}`);
      found.push(...(json.files as { path: string }[]).map(({ path }) => path));
      after = json.next as string | null;
    }
    expect(found).toEqual(["A", "a-b", "a/b", "a0", "by-hand", "ﬀ", "😀"]);
    const below = await ask("GET", "/files?prefix=a/");
    expect((below.json.files as { path: string }[]).map(({ path }) => path)).toEqual(["a/b"]);
    expect((await ask("GET", "/files?limit=0")).status).toBe(400);
  });

  it("never leaves its directory", async ({ ask, manager }) => {
    symlinkSync("/etc", join(manager.directory, "link"));
    symlinkSync("/etc/passwd", join(manager.directory, "file"));
    const paths = [
      "%2e%2e/x",
      "a/%2e%2e/%2e%2e/x",
      "a%2Fb",
      "a%00b",
      "%zz",
      "/x",
      "a//b",
      ".drover-file-manager/records.sqlite",
    ];
    for (const path of paths)
      for (const method of ["PUT", "DELETE", "HEAD", "GET"])
        expect([path, (await raw(manager, method, `/files/${path}`)) >= 400]).toEqual([path, true]);
    expect((await ask("PUT", "/files/link/x", put)).status).toBe(400);
    expect([
      (await ask("GET", "/files/link/passwd")).status,
      (await ask("GET", "/files/file")).status,
    ]).toEqual([400, 409]);
  });

  it("wants its token, and listens to other machines with one alone", async ({ manager }) => {
    const options = { root: manager.directory, port: 0, durable: false, log: () => {} };
    await expect(startFileManager({ ...options, host: "0.0.0.0", token: undefined })).rejects.toThrow(
      "without a token",
    );
    const server = await startFileManager({ ...options, host: "127.0.0.1", token: "right" });
    const status = async (authorization: string) =>
      (await fetch(`http://127.0.0.1:${server.port}/files`, { headers: { authorization } })).status;
    expect([await status("Bearer right"), await status("Bearer wrong"), await status("")]).toEqual([
      200, 401, 401,
    ]);
    await server.stop(1_000);
  });
});

/** Sends a path as it is, which fetch would tidy up. @returns the status. */
async function raw({ root }: TestFileServer, method: string, path: string): Promise<number> {
  const { request } = await import("node:http");
  const { port } = new URL(root.replace("filemanager+", ""));
  return await new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, method, path }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    sent.on("error", reject);
    sent.end(method === "PUT" ? "x" : undefined);
  });
}
