import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { file, pausedAt } from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { filesBelow } from "../../harness/drover.js";
import { answer, drop, FaultyFileManager, slow, storesOther } from "../../harness/faulty-file-manager.js";
import { apache, fileManager, nginx, rclone, type TestFileServer } from "../../harness/file-servers.js";
import { Gate } from "../../harness/gate.js";
import { onlyRun } from "../../harness/runs.js";
import { it as base } from "../../harness/s3-fixtures.js";

const it = base.extend<{ manager: TestFileServer; faulty: FaultyFileManager }>({
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
});

/** Names that mean something else in a URL. */
const ODD = ["a b", "a+b", "100%", "%2B", "ü", "what?", "#1", "dir/a b/c;d"];

/** Files of a server by name, without its own records. */
function files({ directory }: TestFileServer): string[] {
  return filesBelow(directory)
    .map((path) => path.slice(directory.length + 1))
    .filter((name) => !name.startsWith(".drover-file-manager/"))
    .sort();
}

const outcomes = (items: { outcome: string }[]) => items.map(({ outcome }) => outcome).sort();

describe("drover sync --to filemanager+http://", () => {
  it("mirrors a tree with odd names and modes, again for nothing, and deletes", async ({
    box,
    work,
    manager,
  }) => {
    for (const name of ODD) work.write({ [`in/${name}`]: `of ${name}` });
    work.write({ "in/large": toBuffer(pattern(3 << 20)) });
    chmodSync(work.at("in/a b"), 0o640);
    const command = [`${work.at("in")}/`, "--pattern", "**", "--to", `${manager.root}/mirror`];
    const first = await box.sync([...command, "--delete"]);
    expect([first.code, first.stderr]).toEqual([0, expect.not.stringContaining("rror")]);
    expect(files(manager)).toEqual([...ODD, "large"].map((name) => `mirror/${name}`).sort());
    const at = (name: string) => join(manager.directory, "mirror", name);
    for (const name of ODD) expect(readFileSync(at(name), "utf8")).toBe(`of ${name}`);
    expect(statSync(at("a b")).mode & 0o777).toBe(0o640);
    expect(readFileSync(at("large")).equals(toBuffer(pattern(3 << 20)))).toBe(true);
    const again = await box.sync([...command, "--delete"]);
    expect(outcomes(again.items)).toEqual(Array(ODD.length + 1).fill("unchanged"));
    for (const name of ["a b", "#1"]) rmSync(work.at("in", name));
    const third = await box.sync([...command, "--delete"]);
    expect(outcomes(third.items).filter((outcome) => outcome === "deleted")).toHaveLength(2);
    expect(files(manager)).toHaveLength(ODD.length - 1);
    // What somebody else has changed there is found where that is asked for.
    writeFileSync(at("ü"), "somebody else's");
    const checked = await box.sync([...command, "--check-destination"]);
    expect(outcomes(checked.items).filter((outcome) => outcome === "copied")).toHaveLength(1);
    expect(readFileSync(at("ü"), "utf8")).toBe("of ü");
  });

  it("mirrors a bucket, and says beforehand what it would do", async ({ box, manager, s3 }) => {
    await s3.put("x/a+b", "one");
    await s3.put("x/deep/ü", "two");
    const command = [s3.url("x/"), "--to", manager.root];
    const dry = await box.run(["sync", ...command, "--dry-run"], { env: s3.env });
    expect([dry.code, dry.stderr, files(manager)]).toEqual([0, expect.anything(), []]);
    const { code, items } = await box.sync(command, { env: s3.env });
    expect([code, outcomes(items)]).toEqual([0, ["copied", "copied"]]);
    expect(items.map(({ destination }) => destination).sort()).toEqual([
      `${manager.root}/a%2Bb`,
      `${manager.root}/deep/%C3%BC`,
    ]);
    expect(files(manager)).toEqual(["a+b", "deep/ü"]);
    expect(outcomes((await box.sync(command, { env: s3.env })).items)).toEqual(["unchanged", "unchanged"]);
  });

  it("keeps what is overwritten and deleted", async ({ box, work, manager }) => {
    work.write({ "in/a": "old a", "in/b": "b" });
    const command = [`${work.at("in")}/`, "--to", `${manager.root}/now`, "--delete"];
    const keep = ["--max-delete", "100%", "--backup-dir", `${manager.root}/kept`];
    await box.sync([...command, ...keep]);
    work.write({ "in/a": "new a" });
    rmSync(work.at("in/b"));
    const { code, stderr } = await box.sync([...command, ...keep]);
    expect([code, stderr]).toEqual([0, expect.anything()]);
    expect(files(manager)).toEqual(["kept/a", "kept/b", "now/a"]);
    expect(readFileSync(join(manager.directory, "kept/a"), "utf8")).toBe("old a");
  });

  it("leaves nothing of a large file whose worker is killed, and resumes", async ({
    box,
    work,
    origin,
    manager,
  }) => {
    const gate = new Gate();
    const content = toBuffer(pattern(6 << 20));
    const url = origin.route("/large", pausedAt(content, 4 << 20, gate), file(content));
    const own = ["--state-dir", work.at("s")];
    const running = box.start(["sync", url, "--to", manager.root, ...own]);
    await gate.reached;
    running.kill("SIGKILL");
    await running.result;
    gate.open();
    expect(existsSync(join(manager.directory, "large"))).toBe(false);
    const resumed = await box.run(["resume", (await onlyRun(box, own)).run, ...own]);
    expect([resumed.code, files(manager)], resumed.stderr).toEqual([0, ["large"]]);
    expect(readFileSync(join(manager.directory, "large")).equals(content)).toBe(true);
  });

  it("refuses it as a source, a user in it, and what is none", async ({ box, work, manager, origin }) => {
    const cases: [string[], string][] = [
      [[manager.root, "--to", work.out], "cannot be a source"],
      [[work.at("in"), "--to", "filemanager+http://me:secret@127.0.0.1:1/"], "credentials come from"],
      [[work.at("in"), "--to", `filemanager+${origin.route("/none", file("x"))}`], "cannot write to"],
      [[work.at("in"), "--to", `webdav+${origin.route("/none/", file("x"))}`], "no WebDAV server"],
    ];
    work.write({ "in/a": "a" });
    for (const [command, why] of cases) {
      const { code, stderr } = await box.run(["sync", ...command]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(why)]);
      expect(stderr).not.toContain("secret");
    }
  });
});

describe("a file manager in trouble", () => {
  const quick = ["--backoff-factor", "1"];

  it("is asked again where it is slow, fails, or drops the connection", async ({
    box,
    work,
    faulty,
    manager,
  }) => {
    for (const fault of [slow(500), answer(500), drop]) {
      for (const size of [10, 2 << 20]) {
        work.write({ [`in/${size}`]: toBuffer(pattern(size, Math.trunc(performance.now()))) });
        faulty.next("PUT", fault);
      }
      const { code, items } = await box.sync([work.at("in"), "--to", faulty.root, ...quick]);
      expect([code, outcomes(items)]).toEqual([0, ["copied", "copied"]]);
      for (const size of [10, 2 << 20])
        expect(
          readFileSync(join(manager.directory, String(size))).equals(
            readFileSync(work.at("in", String(size))),
          ),
        ).toBe(true);
    }
    expect(files(manager)).toHaveLength(2);
  });

  it("is given the time that it asks for", async ({ box, work, faulty }) => {
    work.write({ "in/a": "a" });
    faulty.next("PUT", answer(429, { "retry-after": "2" }));
    const { code, durationMs } = await box.sync([work.at("in"), "--to", faulty.root, ...quick]);
    expect(code).toBe(0);
    expect(durationMs).toBeGreaterThan(2_000);
  });

  it("is believed that a file is too large for it", async ({ box, work, faulty }) => {
    work.write({ "in/a": "a" });
    faulty.next("PUT", answer(413));
    const { code, items } = await box.sync([work.at("in"), "--to", faulty.root, ...quick]);
    expect([code, items[0]?.attempts, items[0]?.error?.class]).toEqual([expect.any(Number), 1, "too-large"]);
    expect(code).not.toBe(0);
  });

  it("is not believed that it has what it lost, or that other bytes are those", async ({
    box,
    work,
    faulty,
    manager,
  }) => {
    work.write({ "in/lost": "lost", "in/other": "other" });
    faulty.next("PUT", answer(201), storesOther(manager.root));
    const { code, items } = await box.sync([work.at("in"), "--to", faulty.root, ...quick]);
    expect([code, items.map(({ attempts }) => attempts)]).toEqual([0, [2, 2]]);
    expect(["lost", "other"].map((name) => readFileSync(join(manager.directory, name), "utf8"))).toEqual([
      "lost",
      "other",
    ]);
    work.write({ "in/other": "again" });
    faulty.next("PUT", ...Array(5).fill(storesOther(manager.root)));
    const wrong = await box.sync([work.at("in"), "--to", faulty.root, ...quick]);
    const failed = wrong.items.find(({ outcome }) => outcome === "failed");
    expect(failed?.error?.class).toBe("checksum");
  });
});

describe("a file manager of FILE_MANAGER_API=reference", () => {
  it("gets the permissions of each file, then its bytes", async ({ box, work }) => {
    const calls: string[] = [];
    const stored = new Map<string, Buffer>();
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const url = new URL(request.url ?? "", "http://localhost");
        const body = Buffer.concat(chunks);
        if (url.pathname === "/updatePermissions") calls.push(`${url.pathname} ${body}`);
        else if (url.pathname === "/saveToDisk") {
          calls.push(`${url.pathname} ${url.searchParams.get("path")}`);
          stored.set(url.searchParams.get("path") ?? "", body);
        } else response.statusCode = 501;
        response.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const to = `filemanager+http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    work.write({ "in/a b": "small", "in/large": toBuffer(pattern(2 << 20)) });
    chmodSync(work.at("in/a b"), 0o640);
    chmodSync(work.at("in/large"), 0o600);
    const { code, items } = await box.sync([work.at("in"), "--to", to, "--max-workers", "1"], {
      env: { FILE_MANAGER_API: "reference" },
    });
    server.close();
    expect([code, items.map((item) => item.unconditional)]).toEqual([0, [true, true]]);
    expect(calls).toEqual([
      '/updatePermissions {"path":"a b","permissions":{"mode":"0640"}}',
      "/saveToDisk a b",
      '/updatePermissions {"path":"large","permissions":{"mode":"0600"}}',
      "/saveToDisk large",
    ]);
    expect(stored.get("large")?.equals(toBuffer(pattern(2 << 20)))).toBe(true);
  });
});

describe("its token", () => {
  it("opens it, and is in no output and no file", async ({ box, work }) => {
    const secret = "s3cr3t-of-the-file-manager";
    const root = work.at("files");
    const env = { FILE_MANAGER_TOKEN: secret };
    const server = box.start(["file-manager", "--root", root, "--port", "0"], { env });
    await server.waitFor("stdout", /file manager ready/);
    const { port } = JSON.parse(server.stdout.split("\n")[0] as string);
    const to = `filemanager+http://127.0.0.1:${port}`;
    work.write({ "in/a": "a" });
    const refused = await box.run(["sync", work.at("in"), "--to", to]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("FILE_MANAGER_TOKEN")]);
    const result = await box.sync([work.at("in"), "--to", to, "--verbose"], { env });
    expect(result.code).toBe(0);
    server.kill("SIGTERM");
    expect((await server.result).code).toBe(0);
    const told = result.stdout + result.stderr + refused.stderr + server.stdout + server.stderr;
    expect(told).not.toContain(secret);
    for (const { path, text } of box.stateFiles())
      expect([path, text.includes(secret)]).toEqual([path, false]);
  });
});

describe("drover sync --to webdav+http://", () => {
  for (const server of [apache, nginx, rclone])
    it.skipIf(server.absent !== undefined)(
      `mirrors a tree, and deletes: ${server.name}${server.absent ? ` (${server.absent})` : ""}`,
      async ({ box, work }) => {
        const dav = await server.start();
        try {
          for (const name of ODD) work.write({ [`in/${name}`]: `of ${name}` });
          work.write({ "in/large": toBuffer(pattern(3 << 20)) });
          const command = [`${work.at("in")}/`, "--pattern", "**", "--to", `${dav.root}/new/mirror`];
          const first = await box.sync([...command, "--delete"]);
          expect([first.code, files(dav)], first.stderr).toEqual([
            0,
            [...ODD, "large"].map((name) => `new/mirror/${name}`).sort(),
          ]);
          for (const item of first.items)
            expect([item.permissions_lost, item.unconditional]).toEqual([true, undefined]);
          const again = await box.sync([...command, "--delete", "--check-destination"]);
          expect(outcomes(again.items)).toEqual(Array(ODD.length + 1).fill("unchanged"));
          work.write({ "in/large": toBuffer(pattern(3 << 20, 7)), "in/ü": "another" });
          rmSync(work.at("in/#1"));
          const { code, items, stderr } = await box.sync([...command, "--delete"]);
          expect([code, outcomes(items).filter((outcome) => outcome !== "unchanged")], stderr).toEqual([
            0,
            ["copied", "copied", "deleted"],
          ]);
          const copied = items.filter(({ outcome }) => outcome === "copied");
          const unconditional = server === apache ? undefined : true;
          expect(copied.map((item) => item.unconditional)).toEqual([unconditional, unconditional]);
          expect(
            readFileSync(join(dav.directory, "new/mirror/large")).equals(toBuffer(pattern(3 << 20, 7))),
          ).toBe(true);
        } finally {
          await dav.stop();
        }
      },
    );
});
