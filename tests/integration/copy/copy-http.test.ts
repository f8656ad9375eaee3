import { mkdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { it } from "../helpers/file-worker.js";
import { OLD, settledError, withOld } from "../helpers/http.js";

describe("a file", () => {
  it.for<[string, number]>([
    ["of no bytes", 0],
    ["of one byte", 1],
    ["of 10 KB", 10_000],
    ["just small enough for one write", 512 << 10],
    ["just too large for it", (512 << 10) + 1],
    ["of 5 MiB and a bit", (5 << 20) + 3],
  ])("%s arrives complete", async ([, size], { fileWorker, origin, space, redis, keys }) => {
    const content = pattern(size);
    const url = origin.route("/file", does.file(content));
    const outcome = await fileWorker.through("dir/file", url);
    expect(outcome).toMatchObject({
      outcome: "copied",
      bytes: size,
      checksum: sha256(content),
      verifiedBy: "length",
      attempts: 1,
      name: "dir/file",
      destination: space.to("dir/file"),
    });
    expect(await sha256OfFile(space.to("dir/file"))).toBe(sha256(content));
    expect(space.files()).toEqual(["dir/file"]);
    expect(await fileWorker.counts()).toMatchObject({ files: 1, settled: 1, copied: 1 });
    expect(await redis.keys(`${keys.namespace}:lease:*`)).toEqual([]);
    expect(await redis.keys(keys.flight("*"))).toEqual([]);
  });

  it("gets the time of its source, and is not copied for an equal time", async ({
    fileWorker,
    make,
    origin,
    space,
  }) => {
    const lastModified = new Date("2076-01-02T03:04:05Z");
    const url = origin.route("/file", does.file("text", { lastModified, etag: null }));
    expect((await fileWorker.through("file", url)).outcome).toBe("copied");
    expect(statSync(space.to("file")).mtimeMs).toBe(lastModified.getTime());
    const again = await (await make()).through("file", url);
    expect(again).toMatchObject({ outcome: "unchanged", checksum: sha256("text"), bytes: 4 });
  });

  it("that is unchanged is requested with its ETag and not sent again", async ({
    fileWorker,
    make,
    origin,
    space,
  }) => {
    const url = origin.route("/file", does.file("text"));
    await fileWorker.through("file", url);
    const before = statSync(space.to("file"), { bigint: true });
    const again = await (await make()).through("file", url);
    expect(again).toMatchObject({
      outcome: "unchanged",
      verifiedBy: "not-modified",
      checksum: sha256("text"),
    });
    expect(origin.requests[1]?.headers["if-none-match"]).toBe(does.etagOf("text"));
    expect(statSync(space.to("file"), { bigint: true })).toMatchObject({
      mtimeNs: before.mtimeNs,
      ino: before.ino,
    });
  });

  it("of the same size and an older time, with other content, is copied", async ({
    fileWorker,
    make,
    origin,
    space,
  }) => {
    const first = does.file("text", { etag: null, lastModified: new Date(1_700_000_000_000) });
    const second = does.file("TEXT", { etag: null, lastModified: new Date(1_600_000_000_000) });
    const url = origin.route("/file", first, second);
    await fileWorker.through("file", url);
    expect((await (await make()).through("file", url)).outcome).toBe("copied");
    expect(space.read("file")).toBe("TEXT");
  });

  it("that has the same bytes at the destination is not touched", async ({ fileWorker, origin, space }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("file"), "text");
    utimesSync(space.to("file"), 1_000, 1_000);
    const url = origin.route("/file", does.chunked("text"));
    expect((await fileWorker.through("file", url)).outcome).toBe("unchanged");
    expect(statSync(space.to("file")).mtimeMs).toBe(1_000_000);
    expect(space.files()).toEqual(["file"]);
  });

  it("that was changed at the destination is copied again", async ({ fileWorker, make, origin, space }) => {
    const url = origin.route("/file", does.file("text"));
    await fileWorker.through("file", url);
    writeFileSync(space.to("file"), "TEXT");
    expect((await (await make()).through("file", url)).outcome).toBe("copied");
    expect(space.read("file")).toBe("text");
  });

  it("that has the given checksum is not requested", async ({ fileWorker, origin, space }) => {
    withOld(space);
    const url = origin.route("/file", does.file("never"));
    const outcome = await fileWorker.through("file", url, { sha256: sha256(OLD) });
    expect(outcome).toMatchObject({ outcome: "unchanged", verifiedBy: "sha256", checksum: sha256(OLD) });
    expect(origin.requests).toEqual([]);
  });

  it("at the destination is not attributed to another source", async ({
    fileWorker,
    make,
    origin,
    space,
  }) => {
    const etag = '"same"';
    const one = origin.route("/one", does.file("one", { etag }));
    const two = origin.route("/two", does.file("two", { etag }));
    await fileWorker.through("file", one);
    expect((await (await make()).through("file", two)).outcome).toBe("copied");
    expect(space.read("file")).toBe("two");
  });

  it("that does not exist is not created", async ({ fileWorker, origin, space }) => {
    const error = await settledError(fileWorker, "file", origin.url("/none"));
    expect(error).toMatchObject({ class: "not-found", attempts: 1 });
    expect(space.files()).toEqual([]);
  });
});

describe("a redirect", () => {
  const it2 = it.extend<{ second: FaultOrigin }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    second: async ({}, use) => {
      const second = await FaultOrigin.start();
      await use(second);
      await second.stop();
    },
  });
  const secrets = {
    authorization: "Bearer CANARY",
    cookie: "CANARY",
    "x-api-key": "CANARY",
    "user-agent": "me",
  };

  it2.for([301, 302, 303, 307, 308])(
    "with status %i is followed, and keeps the headers within their origin",
    async (code, { make, origin, second, space }) => {
      const fileWorker = await make({ headers: secrets });
      const last = second.route("/last", does.file("text"));
      origin.route("/next", does.redirect(last, code));
      const url = origin.route("/first", does.redirect("next?x=1", code));
      expect((await fileWorker.through("file", url)).outcome).toBe("copied");
      expect(space.read("file")).toBe("text");
      expect(origin.requestsTo("/next")[0]?.headers).toMatchObject(secrets);
      const there = second.requestsTo("/last")[0];
      expect(JSON.stringify(there?.headers)).not.toContain("CANARY");
      expect(there?.headers["user-agent"]).toBe("me");
    },
  );

  it("to an unencoded name is read as UTF-8", async ({ fileWorker, origin, space }) => {
    const location = Buffer.from("/ü b.csv").toString("latin1"); // its bytes as a header holds them
    const url = origin.route("/first", does.redirect(location));
    origin.route("/%C3%BC%20b.csv", does.file("text"));
    expect((await fileWorker.through("file", url)).outcome).toBe("copied");
    expect(space.read("file")).toBe("text");
  });

  it2("does not restore the headers when it returns to their origin", async ({ make, origin, second }) => {
    const fileWorker = await make({ headers: secrets });
    const home = origin.route("/home", does.file("text"));
    const away = second.route("/away", does.redirect(home));
    const url = origin.route("/first", does.redirect(away));
    await fileWorker.through("file", url);
    expect(JSON.stringify(origin.requestsTo("/home")[0]?.headers)).not.toContain("CANARY");
  });

  it2(
    "never carries the user of the URL elsewhere, nor accepts one in its target",
    async ({ make, origin, second }) => {
      const fileWorker = await make();
      second.route("/last", does.file("text"));
      origin.route("/first", does.redirect(`http://user:CANARY2@${second.host}/last`));
      await fileWorker.through("file", `http://user:CANARY@${origin.host}/first`);
      expect(origin.requests[0]?.headers.authorization).toMatch(/^Basic /);
      expect(second.requests[0]?.headers.authorization).toBeUndefined();
    },
  );

  it.for<[string, string]>([
    ["to itself", "/first"],
    ["to a file", "file:///etc/passwd"],
    ["to another scheme", "ftp://127.0.0.1/x"],
    ["to nonsense", "http://[bad/"],
  ])("%s is refused permanently", async ([, to], { fileWorker, origin, space }) => {
    const url = origin.route("/first", does.redirect(to));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "redirect", attempts: 1 });
    expect(space.files()).toEqual([]);
  });

  it("that loops, or continues for too long, is refused", async ({ fileWorker, origin }) => {
    origin.route("/b", does.redirect("/a"));
    const circle = origin.route("/a", does.redirect("/b"));
    expect(await settledError(fileWorker, "circle", circle)).toMatchObject({ class: "redirect" });
    const on = origin.route("/n*", ({ request, response }) => {
      response.writeHead(302, { location: `/n${Number(request.url?.slice(2)) + 1}` }).end();
    });
    expect(await settledError(fileWorker, "on", on.replace("*", "1"))).toMatchObject({ class: "redirect" });
    expect(origin.requests.length).toBeLessThan(20);
  });

  it.for([
    "http://10.0.0.1/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/x",
    "http://2852039166/x",
    "http://0/x",
    "http://[::ffff:a9fe:a9fe]/x",
    "http://[64:ff9b::a9fe:a9fe]/x",
  ])("to %s is refused permanently and without a connection", async (to, { fileWorker, origin }) => {
    const url = origin.route("/first", does.redirect(to));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "address", attempts: 1 });
  });

  it2(
    "is followed with the conditions, so that the last hop answers them",
    async ({ fileWorker, make, origin, second }) => {
      const last = second.route("/last", does.file("text"));
      const url = origin.route("/first", does.redirect(last));
      await fileWorker.through("file", url);
      const again = await (await make()).through("file", url);
      expect(again).toMatchObject({ outcome: "unchanged", verifiedBy: "not-modified" });
    },
  );
});
