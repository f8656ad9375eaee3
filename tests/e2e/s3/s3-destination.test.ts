import { chmodSync, existsSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { file, status } from "../../harness/behaviours.js";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import { filesBelow } from "../../harness/drover.js";
import { FakeS3, sendError } from "../../harness/fake-s3.js";
import { TestFleet } from "../../harness/fleet.js";
import { latestRun, listRuns } from "../../harness/runs.js";
import { it, real } from "../../harness/s3-fixtures.js";

const names = (directory: string) => filesBelow(directory).map((path) => path.slice(directory.length + 1));

describe("drover sync --artifact-root s3://", () => {
  it("takes files there, and gives them back with their times and modes", async ({
    box,
    work,
    origin,
    s3,
  }) => {
    work.write({ "in/a.csv": "a", "in/deep/ü +%?#.txt": "b", "in/empty": "" });
    utimesSync(work.at("in/a.csv"), 1_577_934_245, 1_577_934_245.5);
    chmodSync(work.at("in/a.csv"), 0o640);
    const url = origin.route("/five.txt", file("5"));
    const there = ["--artifact-root", s3.url("to/x")];
    const { code, items } = await box.sync([work.at("in"), url, "--pattern", "**", ...there], {
      env: s3.env,
    });
    expect(code).toBe(0);
    expect(items.map((item) => [item.outcome, item.destination]).sort()).toEqual(
      ["a.csv", "deep/ü +%25?#.txt", "empty", "five.txt"]
        .map((name) => ["copied", s3.url(`to/x/${name}`)])
        .sort(),
    );
    const again = await box.sync([work.at("in"), url, "--pattern", "**", ...there], { env: s3.env });
    expect(again.items.map((item) => item.outcome)).toEqual(Array(4).fill("unchanged"));
    await box.sync([s3.url("to/x/"), "--pattern", "**", ...work.into], { env: s3.env });
    expect(names(work.out)).toEqual(["a.csv", "deep/ü +%?#.txt", "empty", "five.txt"]);
    const back = statSync(work.to("a.csv"));
    expect([back.mode & 0o777, back.mtimeMs]).toEqual([0o640, 1_577_934_245_500]);
    expect(readFileSync(work.to("deep/ü +%?#.txt"), "utf8")).toBe("b");
  });

  it("keeps the types of files: what their source says, else what their names tell", async ({
    box,
    work,
    origin,
    s3,
  }) => {
    work.write({ "in/page.html": "<p>", "in/deep.html/data": "?", "in/large.json": "1".repeat(600_000) });
    const url = origin.route("/table", file("5", { headers: { "content-type": "text/csv; charset=utf-8" } }));
    const command = [work.at("in"), url, "--artifact-root", s3.url("to")];
    expect((await box.sync(command, { env: s3.env })).code).toBe(0);
    const types = ["page.html", "deep.html/data", "large.json", "table"].map(
      async (name) => (await s3.head(`to/${name}`)).type,
    );
    expect(await Promise.all(types)).toEqual([
      ...["text/html", "application/octet-stream", "application/json", "text/csv; charset=utf-8"],
    ]);
  });

  it("sees a change that leaves size and time as they were, or older", async ({ box, work, s3 }) => {
    work.write({ "in/a": "one", "in/b": "one" });
    const command = [work.at("in"), "--artifact-root", s3.url("to")];
    await box.sync(command, { env: s3.env });
    work.write({ "in/a": "two" });
    utimesSync(work.at("in/a"), 1_500_000_000, 1_500_000_000);
    const { items } = await box.sync(command, { env: s3.env });
    expect(items.map((item) => item.outcome).sort()).toEqual(["copied", "unchanged"]);
    expect(await s3.get("to/a")).toBe("two");
  });

  it("brings a mode and a time that change alone", async ({ box, work, s3 }) => {
    work.write({ "in/a": "one", ...(real ? { "in/large": toBuffer(pattern(20 << 20)) } : {}) });
    const command = [work.at("in"), "--artifact-root", s3.url("to")];
    await box.sync(command, { env: s3.env });
    const files = names(work.at("in"));
    for (const name of files) {
      chmodSync(work.at("in", name), 0o600);
      utimesSync(work.at("in", name), 1_500_000_000, 1_500_000_000.25);
    }
    const { items } = await box.sync(command, { env: s3.env });
    expect(items.map(({ outcome }) => outcome)).toEqual(files.map(() => "copied"));
    for (const name of files)
      expect((await s3.head(`to/${name}`)).metadata).toMatchObject({
        mode: "100600",
        mtime: "1500000000.25",
      });
    const again = await box.sync([...command, "--check-destination"], { env: s3.env });
    expect(again.items.map(({ outcome }) => outcome)).toEqual(files.map(() => "unchanged"));
  });

  it("sees what happened behind its back where it is asked to look", async ({ box, work, s3 }) => {
    work.write({ "in/changed": "one", "in/gone": "two", "in/same": "three" });
    const command = [work.at("in"), "--artifact-root", s3.url("to")];
    await box.sync(command, { env: s3.env });
    await s3.put("to/changed", "another's");
    await s3.remove("to/gone");
    const trusting = await box.sync(command, { env: s3.env });
    expect(trusting.items.map((item) => item.outcome)).toEqual(Array(3).fill("unchanged"));
    const { items } = await box.sync([...command, "--check-destination"], { env: s3.env });
    expect(items.map((item) => [item.destination, item.outcome]).sort()).toEqual([
      [s3.url("to/changed"), "copied"],
      [s3.url("to/gone"), "copied"],
      [s3.url("to/same"), "unchanged"],
    ]);
    expect([await s3.get("to/changed"), await s3.get("to/gone")]).toEqual(["one", "two"]);
  });

  it("leaves --script-name out unless it is given", async ({ box, work, s3 }) => {
    work.write({ "in/a": "one" });
    await box.sync([work.at("in"), "--artifact-root", `${s3.url("to")}/`], { env: s3.env });
    await box.sync([work.at("in"), "--artifact-root", s3.url(""), "--script-name", "name"], { env: s3.env });
    expect(await s3.list()).toEqual(["name/a", "to/a"]);
  });

  it("says what it would do, without asking the service", async ({ box, work }) => {
    work.write({ "in/a": "one" });
    const env = { AWS_ENDPOINT_URL_S3: "http://127.0.0.1:1" };
    const { code, stdout } = await box.run(
      ["sync", work.at("in"), "--artifact-root", "s3://bucket/to", "--dry-run"],
      { env },
    );
    expect(code).toBe(0);
    expect(stdout).toContain(`would copy ${work.at("in/a")} -> s3://bucket/to/a (`);
  });

  it("copies from bucket to bucket without reading", async ({ box, s3 }) => {
    await s3.putAll({ "from/a": "a", "from/deep/b": "b" });
    const command = [s3.url("from/"), "--pattern", "**", "--artifact-root", s3.url("to")];
    const { code, items } = await box.sync(command, { env: s3.env });
    expect([code, items.map((item) => item.outcome)]).toEqual([0, ["copied", "copied"]]);
    expect(await s3.list()).toEqual(["from/a", "from/deep/b", "to/a", "to/deep/b"]);
    const again = await box.sync(command, { env: s3.env });
    expect(again.items.map((item) => [item.outcome, item.verified_by])).toEqual([
      ["unchanged", "catalog"],
      ["unchanged", "catalog"],
    ]);
  });

  it("takes nothing of a destination for a source that lies around it", async ({ box, s3 }) => {
    await s3.putAll({ a: "a", z: "z", "copy/old": "old" });
    await box.sync([s3.url(""), "--pattern", "**", "--artifact-root", s3.url("copy")], { env: s3.env });
    expect(await s3.list()).toEqual(["a", "copy/a", "copy/old", "copy/z", "z"]);
    const same = await box.run(["sync", s3.url("copy/"), "--artifact-root", s3.url("copy")], { env: s3.env });
    expect([same.code, same.stderr]).toEqual([2, expect.stringMatching(/is the destination itself/)]);
  });

  it("keeps keys that no directory could hold, and refuses what leads astray", async ({ box, fake }) => {
    const good = [
      "a b",
      "100%",
      "%2B",
      "q?x=1#y",
      "🐑",
      "tab\there",
      "a//b",
      "/lead",
      "C:\\x",
      "x".repeat(300),
      "a",
      "a/b",
    ];
    const bad = ["../x", "a/../../b", "./x", "end/."];
    for (const name of [...good, ...bad]) fake.put(`k/${name}`, name);
    const { code, items } = await box.sync(
      ["s3://bucket/k/", "--pattern", "**", "--include", "**", "--artifact-root", "s3://bucket/to"],
      { env: fake.env },
    );
    expect(code).toBe(1);
    const there = fake.keys.filter((key) => key.startsWith("to/")).map((key) => key.slice(3));
    expect(there).toEqual([...good].sort());
    for (const name of good) expect(fake.stored(`to/${name}`)?.content.toString()).toBe(name);
    expect(items.filter((item) => item.outcome === "failed").map((item) => item.error?.class)).toEqual(
      bad.map(() => "path"),
    );
  });

  it("streams from one service to another", async ({ box, work, fake, s3 }) => {
    const kept = { "content-type": "text/x-a", "content-encoding": "zstd", "cache-control": "no-store" };
    const own = { "x-amz-meta-owner": "me", "x-amz-meta-mtime": "1577934245.5", "x-amz-meta-mode": "100600" };
    fake.put("k/a", "content", { ...kept, ...own, "x-amz-meta-drover-sha256": "f".repeat(64) });
    const config = work.at("config");
    const { accessKeyId, secretAccessKey, endpoint } = s3.service;
    writeFileSync(
      config,
      `[profile there]\nendpoint_url = ${endpoint}\nregion = us-east-1\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`,
    );
    const env = { ...fake.env, AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: work.at("none") };
    const command = ["s3://bucket/k/", "--artifact-root", s3.url("to"), "--s3-dest-profile", "there"];
    const { code, items } = await box.sync(command, { env });
    expect([code, items[0]?.checksum]).toEqual([0, sha256("content")]);
    expect(await s3.get("to/a")).toBe("content");
    expect(await s3.head("to/a")).toEqual({
      type: "text/x-a",
      encoding: "zstd",
      cacheControl: "no-store",
      metadata: {
        owner: "me",
        mtime: "1577934245.5",
        mode: "100600",
        "drover-sha256": sha256("content"),
      },
    });
    await box.sync([s3.url("to/"), ...work.into], { env: s3.env });
    const { mode, mtimeMs } = statSync(work.to("a"));
    expect([mode & 0o777, mtimeMs]).toEqual([0o600, 1_577_934_245_500]);
  });

  it("says once that there is no such bucket, or that its keys are refused, before anything begins", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "in/a": "one", "in/b": "two" });
    const to = (root: string) => box.run(["sync", work.at("in"), "--artifact-root", root], { env: fake.env });
    const missing = await to("s3://nothere/to");
    expect([missing.code, missing.stdout]).toEqual([2, ""]);
    expect(missing.stderr).toMatch(
      /^drover: cannot write to s3:\/\/nothere\/to: no such bucket: nothere .*\n$/,
    );
    fake.fault = (_request, answer) => {
      sendError(answer, 403, "InvalidAccessKeyId");
      return true;
    };
    const refused = await to("s3://bucket/to");
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/credentials are not accepted/),
    ]);
    const root = ["--root", "s3://bucket/to", "--redis", "redis://127.0.0.1:1"];
    const worker = await box.run(["worker", ...root], { env: fake.env });
    expect([worker.code, worker.stderr]).toEqual([2, expect.stringMatching(/credentials are not accepted/)]);
  });

  it("says which files could not be written and why, and takes up exactly these", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "in/a": "one", "in/b": "two" });
    fake.fault = ({ method, key }, answer) => {
      if (method !== "PUT" || key !== "to/b") return false;
      answer.writeHead(403).end("<Error><Code>AccessDenied</Code></Error>");
      return true;
    };
    const { code, items } = await box.sync([work.at("in"), "--artifact-root", "s3://bucket/to"], {
      env: fake.env,
    });
    expect(code).toBe(1);
    expect(items.find((item) => item.outcome === "failed")).toMatchObject({
      destination: "s3://bucket/to/b",
      error: {
        class: "forbidden",
        message: expect.stringMatching(/^cannot write to s3:\/\/bucket\/to: access denied/),
      },
    });
    fake.fault = () => false;
    const { run } = await latestRun(box);
    const retried = await box.run(["retry", run, "--json"], { env: fake.env });
    expect(JSON.parse(retried.stdout).map((item: { destination: string }) => item.destination)).toEqual([
      "s3://bucket/to/b",
    ]);
    expect(fake.keys).toEqual(["to/a", "to/b"]);
  });

  it("does not block a source's host for what its own service does", async ({ box, origin, fake }) => {
    const urls = Array.from({ length: 8 }, (_, at) => origin.route(`/${at}`, file(String(at))));
    fake.fault = ({ method }, answer) => {
      if (method !== "PUT") return false;
      answer.writeHead(500).end("<Error><Code>InternalError</Code></Error>");
      return true;
    };
    const { items } = await box.sync([...urls, "--artifact-root", "s3://bucket/to", "--retries", "1"], {
      env: fake.env,
    });
    expect(items.map((item) => [item.outcome, item.error?.class])).toEqual(
      urls.map(() => ["failed", "server"]),
    );
    // But a local source has no other host than that of its destination.
    const missing = origin.route("/missing", status(404));
    const after = await box.sync([missing, "--artifact-root", "s3://bucket/to"], { env: fake.env });
    expect(after.items[0]?.error?.class).toBe("not-found");
  });

  it.for(["upload", "part:2", "commit", "committed"])(
    "goes on after a kill at %s, and leaves no upload behind",
    { timeout: 60_000 },
    async (point, { box, work, fake }) => {
      const content = toBuffer(pattern(40 << 20));
      writeFileSync(work.at("big"), content);
      const command = ["sync", work.at("big"), "--artifact-root", "s3://bucket/to"];
      const killed = await box.run(command, { env: { ...fake.env, DROVER_FAULT: point } });
      expect(killed.signal).toBe("SIGKILL");
      expect(fake.keys).toEqual(point === "committed" ? ["to/big"] : []);
      const sent = () =>
        fake.requests.filter(
          ({ method, key, query }) => method === "PUT" && key === "to/big" && query.has("partNumber"),
        );
      const { run } = await latestRun(box);
      const resumed = await box.run(["resume", run, "--json"], { env: fake.env });
      expect(resumed.code).toBe(0);
      expect(fake.stored("to/big")?.content.equals(content)).toBe(true);
      expect(fake.writes.uploads.size).toBe(0);
      // What was there was not sent again; what was on its way at the kill may have been.
      const begun = fake.requests.filter(({ key, query }) => key === "to/big" && query.has("uploads")).length;
      expect([begun, sent().length <= 6]).toEqual([point === "upload" ? 2 : 1, true]);
    },
  );

  it("leaves nothing of its own behind when it is killed while it tries the service", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "in/a": "a" });
    const own = ["--state-dir", work.at("s")];
    const command = ["sync", work.at("in"), "--artifact-root", "s3://bucket/to", ...own];
    const killed = await box.run(command, { env: { ...fake.env, DROVER_FAULT: "probe" } });
    expect([killed.signal, fake.keys]).toEqual(["SIGKILL", [expect.stringMatching(/^to\/\.drover-/)]]);
    // It is no file of anybody's.
    const elsewhere = await box.sync(["s3://bucket/to/", ...work.into], { env: fake.env });
    expect([elsewhere.code, elsewhere.items]).toEqual([0, []]);
    const [run] = await listRuns(box, own);
    const resumed = await box.run(["resume", run?.run ?? "", ...own], { env: fake.env });
    expect([resumed.code, fake.keys]).toEqual([0, ["to/a"]]);
  });

  it.skipIf(!real)(
    "goes on after a kill where a real service has the parts",
    { timeout: 120_000 },
    async ({ box, work, s3 }) => {
      const content = toBuffer(pattern(80 << 20));
      writeFileSync(work.at("big"), content);
      const command = ["sync", work.at("big"), "--artifact-root", s3.url("to")];
      await box.run(command, { env: { ...s3.env, DROVER_FAULT: "part:3" } });
      expect(await s3.uploads()).toHaveLength(1);
      const { run } = await latestRun(box);
      const resumed = await box.run(["resume", run, "--json"], { env: s3.env });
      expect(resumed.code).toBe(0);
      expect(await s3.uploads()).toEqual([]);
      await box.sync([s3.url("to/big"), ...work.into], { env: s3.env });
      expect(readFileSync(work.to("big")).equals(content)).toBe(true);
    },
  );

  it.skipIf(!real)(
    "publishes under conditions where a real service takes them",
    async ({ box, work, s3 }) => {
      work.write({ "in/a": "one" });
      const command = [work.at("in"), "--artifact-root", s3.url("to")];
      const first = await box.sync(command, { env: s3.env });
      expect(first.items[0]).not.toHaveProperty("unconditional");
      await s3.put("to/a", "another's");
      work.write({ "in/a": "two" });
      const { items } = await box.sync(command, { env: s3.env });
      expect(items[0]).toMatchObject({ outcome: "copied" });
      expect(items[0]).not.toHaveProperty("unconditional");
      expect(await s3.get("to/a")).toBe("two");
    },
  );

  it("keeps what it deletes below another prefix, as it was", async ({ box, work, s3 }) => {
    const large = toBuffer(pattern(20 << 20));
    work.write({ "in/a": "one", "in/page.html": "<p>", "in/deep/ü +%?#": "two" });
    if (real) work.write({ "in/large.csv": large });
    const gone = ["deep/ü +%?#", ...(real ? ["large.csv"] : []), "page.html"];
    for (const name of gone) utimesSync(work.at("in", name), 1_500_000_000, 1_500_000_000.25);
    const command = [work.at("in"), "--pattern", "**", "--artifact-root", s3.url("to")];
    expect((await box.sync(command, { env: s3.env })).code).toBe(0);
    const heads = (prefix: string) => Promise.all(gone.map((name) => s3.head(`${prefix}/${name}`)));
    const before = await heads("to");
    for (const name of gone) rmSync(work.at("in", name));
    const backup = ["--delete", "--max-delete", "100%", "--backup-dir", s3.url("keep/1")];
    const { code, items } = await box.sync([...command, ...backup], { env: s3.env });
    expect([code, items.filter(({ outcome }) => outcome === "deleted").length]).toEqual([0, gone.length]);
    expect(await s3.list()).toEqual([...gone.map((name) => `keep/1/${name}`), "to/a"]);
    expect(await heads("keep/1")).toEqual(before);

    await box.sync([s3.url("keep/1/"), "--pattern", "**", ...work.into], { env: s3.env });
    expect(names(work.out).sort()).toEqual([...gone].sort());
    expect(statSync(work.to("page.html")).mtimeMs).toBe(1_500_000_000_250);
    if (real) expect(readFileSync(work.to("large.csv")).equals(large)).toBe(true);
  });

  it("is carried by workers whose roots it is below, at their own service, and by no others", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "in/a": "one" });
    const other = await FakeS3.start();
    const fleet = await TestFleet.start(box, ["s3://bucket/to"]);
    try {
      fleet.env = fake.env;
      await fleet.worker();
      const sync = (root: string, env = fake.env) =>
        box.run(["sync", work.at("in"), "--artifact-root", root, "--json", ...fleet.own], { env });
      expect((await sync("s3://bucket/to/deep")).code).toBe(0);
      expect(fake.keys).toEqual(["to/deep/a"]);
      const outside = await sync("s3://bucket/to2");
      expect([outside.code, outside.stderr]).toEqual([
        2,
        expect.stringMatching(/no worker writes to s3:\/\/bucket\/to2/),
      ]);
      const elsewhere = await sync("s3://bucket/to", { ...fake.env, AWS_ENDPOINT_URL_S3: other.endpoint });
      expect(JSON.parse(elsewhere.stdout)[0]).toMatchObject({ outcome: "failed", error: { class: "path" } });
      expect(other.requests).toEqual([]);
    } finally {
      await fleet.stop();
      await other.stop();
    }
    expect(existsSync(work.at("s3:"))).toBe(false);
  });
});
