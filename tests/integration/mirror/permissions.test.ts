import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { FaultyFileManager } from "../../harness/faulty-file-manager.js";
import { fileManager, type TestFileServer } from "../../harness/file-servers.js";
import { it as base, MirrorInProcess } from "../../harness/mirror-in-process.js";

const it = base.extend<{ manager: TestFileServer; faulty: FaultyFileManager; managed: MirrorInProcess }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  manager: async ({}, use) => {
    const manager = await fileManager.start();
    await use(manager);
    await manager.stop();
  },
  faulty: async ({ manager }, use) => {
    const faulty = await FaultyFileManager.start(manager.root);
    await use(faulty);
    await faulty.stop();
  },
  managed: async ({ engine, s3, faulty }, use) => {
    const mirror = await MirrorInProcess.open(engine, s3, { root: faulty.root });
    await use(mirror);
    rmSync(mirror.path, { recursive: true, force: true });
  },
});

const GRANTS = [{ grantee: "group:staff", permission: "READ" }];
const ACL = `<?xml version="1.0" encoding="UTF-8"?><AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>owner-1</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>owner-1</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>`;

/** What a file manager has of a file beside its bytes. */
async function permissionsAt({ root }: TestFileServer, name: string): Promise<Record<string, unknown>> {
  const answer = await fetch(`${root.slice("filemanager+".length)}/${name}`, { method: "HEAD" });
  const text = (header: string) => {
    const value = answer.headers.get(header);
    return value === null ? undefined : decodeURIComponent(value);
  };
  return { mode: text("drover-mode"), owner: text("drover-owner"), grants: text("drover-grants") };
}

const writes = ({ requests }: FaultyFileManager) => requests.filter((each) => !/^(GET|HEAD) /.test(each));

describe("permissions at a file manager", { timeout: 60_000 }, () => {
  it("come with a new file, are changed by one PATCH, and stay when the content changes", async ({
    managed,
    manager,
    faulty,
    s3,
  }) => {
    s3.put("a", "1", { "x-amz-meta-mode": "100640" });
    s3.put("b", "1");
    await managed.tell(
      managed.event("create", { path: "a" }),
      managed.event("create", { key: "b", owner: "alice", grants: GRANTS }),
    );
    await managed.sync("initial");
    expect(await permissionsAt(manager, "a")).toMatchObject({ mode: "0640" });
    const ofB = { owner: "alice", grants: JSON.stringify(GRANTS) };
    expect(await permissionsAt(manager, "b")).toMatchObject(ofB);

    faulty.requests.length = 0;
    await managed.tell(
      managed.event("change_permission", { key: "a", mode: "0600", owner: "bob", grants: [] }),
    );
    expect(await managed.sync("incremental")).toMatchObject({
      status: "success",
      changes: { permissions: 1 },
      operations: { permissions: 1, not_kept: 0, copied: 0 },
    });
    expect(writes(faulty)).toEqual(["PATCH /files/a"]);
    expect(await permissionsAt(manager, "a")).toEqual({ mode: "0600", owner: "bob", grants: "[]" });

    // Nothing to do the second time; then the content changes.
    faulty.requests.length = 0;
    await managed.tell(managed.event("create", { key: "a" }), managed.event("create", { key: "b" }));
    await managed.sync("incremental");
    expect(writes(faulty)).toEqual([]);
    s3.put("a", "22");
    s3.put("b", "22");
    await managed.tell(managed.event("create", { key: "a" }), managed.event("create", { key: "b" }));
    expect(await managed.sync("incremental")).toMatchObject({ operations: { copied: 2 } });
    expect(await permissionsAt(manager, "a")).toEqual({ mode: "0600", owner: "bob", grants: "[]" });
    expect(await permissionsAt(manager, "b")).toMatchObject(ofB);
  });

  it("are those of the metadata where that alone changes", async ({ managed, manager, s3 }) => {
    s3.put("a", "1", { "x-amz-meta-mode": "100640" }, new Date(Date.now() - 60_000));
    await managed.sync("initial");
    s3.put("a", "1", { "x-amz-meta-mode": "100600" });
    await managed.tell(managed.event("create", { key: "a" }));
    expect(await managed.sync("incremental")).toMatchObject({ status: "success", operations: { copied: 0 } });
    expect(await permissionsAt(manager, "a")).toMatchObject({ mode: "0600" });
  });

  it("make a file that somebody has removed come again", async ({ managed, manager, s3 }) => {
    s3.put("a", "1");
    await managed.sync("initial");
    rmSync(join(manager.directory, "a"));
    await managed.tell(managed.event("change_permission", { key: "a", mode: "0600" }));
    expect(await managed.sync("incremental")).toMatchObject({ status: "success", operations: { copied: 1 } });
    expect(statSync(join(manager.directory, "a")).mode & 0o777).toBe(0o600);
  });

  it("are those of the access list where that is asked for, unless event or metadata say others", async ({
    engine,
    s3,
    manager,
  }) => {
    const mirror = await MirrorInProcess.open(engine, s3, { root: manager.root });
    mirror.context.config.request.permissions = "acl";
    mirror.context.whole.spec.permissions = "acl";
    s3.fault = ({ query }, answer) => {
      if (!query.has("acl")) return false;
      answer.end(ACL);
      return true;
    };
    s3.put("list", "1");
    s3.put("metadata", "1", { "x-amz-meta-mode": "100640" });
    s3.put("event", "1");
    await mirror.sync("initial");
    await mirror.tell(mirror.event("change_permission", { key: "event", owner: "carol" }));
    await mirror.sync("incremental");
    expect(await permissionsAt(manager, "list")).toMatchObject({
      owner: "owner-1",
      grants: JSON.stringify([
        { grantee: "owner-1", permission: "FULL_CONTROL" },
        { grantee: "http://acs.amazonaws.com/groups/global/AllUsers", permission: "READ" },
      ]),
    });
    expect(await permissionsAt(manager, "metadata")).toEqual({ mode: "0640" });
    expect(await permissionsAt(manager, "event")).toMatchObject({ owner: "carol" });
    rmSync(mirror.path, { recursive: true, force: true });
  });

  it("that do not exist are dead letters, and what it refuses fails alone", async ({
    managed,
    faulty,
    s3,
  }) => {
    s3.put("a", "1");
    s3.put("b", "1");
    await managed.sync("initial");
    const { event } = managed;
    const tell = (data: Record<string, unknown>) =>
      managed.tell(event.call(managed, "change_permission", data));
    await tell({ key: "a", mode: "99999" });
    await tell({ key: "a", mode: "01777" });
    await tell({ key: "a", grants: "everybody" });
    await tell({ key: "a", grants: [{ grantee: "nobody knows", permission: "FLY" }] });
    await tell({ key: "b", mode: "0600" });
    faulty.next("PATCH", (request, response) => {
      request.resume().on("end", () => response.writeHead(400).end());
    });
    const report = await managed.sync("incremental");
    expect(report).toMatchObject({
      status: "partial",
      events: { applied: 2, dead: 3 },
      operations_failed: 1,
    });
    expect(await managed.sync("incremental")).toMatchObject({ status: "success", pending: 0 });
  });
});

describe("permissions elsewhere", { timeout: 60_000 }, () => {
  it("are an object's metadata in S3, without a transfer; owners and grants are not kept there", async ({
    engine,
    s3,
  }) => {
    const mirror = await MirrorInProcess.open(engine, s3, { prefix: "in/", root: "s3://bucket/out" });
    s3.put("in/a", "1", { "x-amz-meta-mode": "100640", "x-amz-meta-of": "mine" });
    await mirror.sync("initial");
    await mirror.tell(mirror.event("change_permission", { key: "in/a", mode: "0600" }));
    expect(await mirror.sync("incremental")).toMatchObject({
      operations: { copied: 0, permissions: 1, not_kept: 0 },
    });
    expect(s3.stored("out/a")?.headers).toMatchObject({
      "x-amz-meta-mode": "100600",
      "x-amz-meta-of": "mine",
    });
    await mirror.tell(mirror.event("change_permission", { key: "in/a", owner: "alice" }));
    expect(await mirror.sync("incremental")).toMatchObject({ operations: { permissions: 0, not_kept: 1 } });
    s3.put("in/a", "2");
    await mirror.tell(mirror.event("create", { key: "in/a" }));
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success", operations: { copied: 1 } });
    expect(s3.stored("out/a")?.headers).toMatchObject({ "x-amz-meta-mode": "100600" });
    rmSync(mirror.path, { recursive: true, force: true });
  });

  it("may be an owner in numbers in a directory, where that is allowed", async ({ mirror, s3 }) => {
    s3.put("a", "1");
    await mirror.sync("initial");
    const isRoot = process.getuid?.() === 0;
    await mirror.tell(mirror.event("change_permission", { key: "a", owner: "12345:12345", mode: "0640" }));
    expect(await mirror.sync("incremental")).toMatchObject({
      operations: isRoot ? { permissions: 1, not_kept: 0 } : { permissions: 0, not_kept: 1 },
    });
    const { uid, mode } = statSync(join(mirror.out, "a"));
    expect(mode & 0o777).toBe(0o640);
    if (isRoot) expect(uid).toBe(12345);
  });
});
