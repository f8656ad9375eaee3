import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileManagerServer } from "@drover/shared/storage/filemanager/server";
import { HttpClient } from "@drover/shared/storage/http/client";
import type { FileServer, ServerNature } from "@drover/shared/storage/remote/server";
import { WebDavServer } from "@drover/shared/storage/webdav/server";
import { describe, expect, test } from "vitest";
import { sha256 } from "../../harness/content.js";
import {
  apache,
  type FileServerKind,
  fileManager,
  nginx,
  rclone,
  type TestFileServer,
} from "../../harness/file-servers.js";

type Make = (http: HttpClient, root: string) => FileServer;

const dav: Make = (http, root) => new WebDavServer(http, root);
const DAV = { stages: true, moveIsConditional: false, keepsPermissions: false };

/** Every server, and what is known of it: the table of docs/file-managers.md. */
const SERVERS: [FileServerKind, Make, ServerNature][] = [
  [
    fileManager,
    (http, root) => new FileManagerServer(http, root),
    {
      ...{ stages: true, putIsWhole: true, putIsConditional: true, moveReplacesWhole: true },
      ...{ moveIsConditional: true, removeIsConditional: true, keepsPermissions: true },
    },
  ],
  [
    apache,
    dav,
    { ...DAV, putIsWhole: true, putIsConditional: true, moveReplacesWhole: false, removeIsConditional: true },
  ],
  [
    nginx,
    dav,
    {
      ...DAV,
      putIsWhole: true,
      putIsConditional: false,
      moveReplacesWhole: true,
      removeIsConditional: false,
    },
  ],
  [
    rclone,
    dav,
    {
      ...DAV,
      putIsWhole: false,
      putIsConditional: false,
      moveReplacesWhole: false,
      removeIsConditional: false,
    },
  ],
];

const NAMED = SERVERS.map(([kind, make, nature]) => ({ name: kind.name, kind, make, nature }));

describe.for(NAMED)("$name", ({ kind, make, nature }) => {
  const it = test.extend<{ place: TestFileServer; server: FileServer }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    place: async ({}, use) => {
      const place = await kind.start();
      await use(place);
      await place.stop();
    },
    server: async ({ place }, use) => {
      const http = new HttpClient({ timeoutMs: 10_000, connections: 4 });
      await use(make(http, `${place.root}/to`));
      await http.close();
    },
  });
  const { signal } = new AbortController();
  const free = { base: { is: "absent" } } as const;
  const any = { base: undefined };
  const put = (
    server: FileServer,
    name: string,
    text: string,
    bound = any as Parameters<FileServer["put"]>[2],
  ) => {
    const body = Buffer.from(text);
    return server.put(name, { body, sizeBytes: body.length, sha256: sha256(text) }, bound, signal);
  };
  const names = async (server: FileServer) => {
    const found: string[] = [];
    for await (const files of server.list(signal)) found.push(...files.map(({ name }) => name));
    return found;
  };

  it.skipIf(kind.absent !== undefined)("is known", async ({ server, place }) => {
    expect(await server.nature()).toEqual(nature);
    expect(await names(server)).toEqual([]);
    expect(await server.refusal(signal)).toBeUndefined();
    expect(existsSync(join(place.directory, "to")) ? await names(server) : []).toEqual([]);
  });

  it.skipIf(kind.absent !== undefined)(
    "stores, moves and removes, each as often as it is asked to",
    async ({ server }) => {
      for (let times = 0; times < 2; times++) {
        expect(await put(server, "dir/a b", "content")).toMatchObject({ is: "done", head: { sizeBytes: 7 } });
        const head = await server.head("dir/a b", signal);
        expect(head).toMatchObject({ sizeBytes: 7 });
        expect(await server.move("dir/a b", "dir/ü#?%", free, signal)).toMatchObject({ is: "done" });
        expect(await server.move("dir/a b", "dir/ü#?%", any, signal)).toEqual({ is: "gone" });
        await put(server, "dir/a b", "another");
        expect(await server.move("dir/a b", "dir/ü#?%", free, signal)).toEqual({ is: "refused" });
        expect(await server.move("dir/a b", "dir/ü#?%", any, signal)).toMatchObject({ is: "done" });
        expect(await names(server)).toEqual(["dir/ü#?%"]);
        const bytes: Uint8Array[] = [];
        for await (const chunk of (await server.read("dir/ü#?%", signal)) ?? []) bytes.push(chunk);
        expect(Buffer.concat(bytes).toString()).toBe("another");
        expect(await server.remove("dir/ü#?%", any, signal)).toBe("removed");
        expect(await server.remove("dir/ü#?%", any, signal)).toBe("removed");
        expect(await server.head("dir/ü#?%", signal)).toBeUndefined();
        expect(await server.read("dir/ü#?%", signal)).toBeUndefined();
      }
    },
  );

  it.skipIf(kind.absent !== undefined)(
    "keeps permissions, or says that it does not",
    async ({ server, place }) => {
      await put(server, "f", "content");
      const set = await server.setPermissions("f", { mode: 0o600 }, signal);
      expect(set.is).toBe(nature.keepsPermissions ? "set" : "unsupported");
      if (!nature.keepsPermissions) return;
      expect(statSync(join(place.directory, "to/f")).mode & 0o777).toBe(0o600);
      expect(await server.head("f", signal)).toMatchObject({ mode: 0o600, sha256: sha256("content") });
      const there = await server.head("f", signal);
      expect(set).toEqual({ is: "set", etag: there?.etag });
      expect(await server.setPermissions("not there yet", { mode: 0o600 }, signal)).toEqual({ is: "absent" });
      const base = { is: "version", etag: '"other"' } as const;
      expect(await put(server, "f", "x", { base })).toEqual({ is: "refused" });
      expect(await server.remove("f", { base }, signal)).toBe("refused");
      await put(server, "g", "content");
      expect(await server.move("g", "f", { base }, signal)).toEqual({ is: "refused" });
    },
  );
});
