import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import type { TestS3 } from "../../harness/s3.js";
import { it } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false" };
const envOf = (s3: TestS3, more: Record<string, string> = {}) => ({
  ...s3.env,
  S3_BUCKET_NAME: s3.bucket,
  LOCAL_DOWNLOAD_DIR: "files",
  ...QUIET,
  ...more,
});

describe("drover serve", () => {
  it("says what it is and that all is well", async ({ serve, s3, work }) => {
    const service = await serve([], envOf(s3));
    expect((await service.ask("/")).body).toMatchObject({ service: "Drover", status: "running" });
    expect((await service.ask("/ping")).body.message).toBe("pong");
    expect((await service.ask("/readyz")).status).toBe(200);
    for (const path of ["/sync/health", "/api/v1/health"]) {
      const { status, body } = await service.ask(path);
      expect([status, body]).toMatchObject([
        200,
        {
          status: "healthy",
          s3_connection: true,
          directory_writable: true,
          download_directory: work.at("files"),
        },
      ]);
    }
    for (const path of ["/sync/config", "/api/v1/config"]) {
      const { body } = await service.ask(path);
      expect(body).toMatchObject({ s3_bucket_name: s3.bucket, retry_attempts: 3, max_file_size_mb: 1000 });
      expect(JSON.stringify(body)).not.toContain("CANARY");
    }
    const { body } = await service.ask("/api/v1/stats");
    expect(body).toMatchObject({ runs: 0, workers: 1 });
  });

  it("copies the bucket, or the keys with a prefix, each to its own key", async ({ serve, s3, work }) => {
    await s3.putAll({
      "projects/my-project/document.pdf": "doc",
      "projects/my-project2/x": "x",
      "projects/other/y": "y",
      "a[1]/b": "b",
      top: "t",
    });
    const service = await serve([], envOf(s3));
    const part = await service.ask("/sync/trigger?prefix=projects/my-project", { method: "POST" });
    expect([part.status, part.body]).toMatchObject([
      200,
      {
        status: "success",
        processed_files: 2,
        successful_operations: 2,
        failed_operations: 0,
        truncated: false,
      },
    ]);
    expect(part.body.message).toMatch(/^Synced 2 of 2 files in [\d.]+ seconds$/);
    expect(part.body.sync_details).toContainEqual({
      operation: "download",
      file_key: "projects/my-project/document.pdf",
      status: "success",
      message: expect.stringMatching(/^Downloaded successfully in [\d.]+ seconds$/),
    });
    expect(readFileSync(work.at("files/projects/my-project/document.pdf"), "utf8")).toBe("doc");
    expect(existsSync(work.at("files/projects/other"))).toBe(false);
    const odd = await service.ask(`/sync/trigger?prefix=${encodeURIComponent("a[1]/")}`, { method: "POST" });
    expect(odd.body).toMatchObject({ status: "success", processed_files: 1 });
    const background = await service.ask("/sync/trigger?background=true", { method: "POST" });
    expect(background.status).toBe(202);
    const { run_id: run } = background.body;
    const { body: ended } = await service.ask(`/api/v1/runs/${run}?wait=30`);
    expect(ended).toMatchObject({ state: "done", files: 5, copied: 2, unchanged: 3 });
  });

  it("lists at S3 what begins with the prefix, and nothing beside it", async ({ serve, fake, work }) => {
    for (const key of ["a/b", "a/b[1]/c", "a/b[1]d", "a/b1/e", "a/c", "b"]) fake.put(key, key);
    const service = await serve([], { ...fake.env, ...QUIET, S3_BUCKET_NAME: "bucket" });
    fake.requests.length = 0;
    const { body } = await service.ask(`/sync/trigger?prefix=${encodeURIComponent("a/b[")}`, {
      method: "POST",
    });
    expect(body).toMatchObject({ status: "success", processed_files: 2 });
    for (const key of ["a/b[1]/c", "a/b[1]d"])
      expect(readFileSync(work.at("downloaded_files", key), "utf8")).toBe(key);
    const listings = fake.requests.filter(({ query }) => query.has("list-type"));
    expect(listings.length).toBeGreaterThan(0);
    for (const { query } of listings) expect(query.get("prefix")).toMatch(/^a\/b\[/);
    const { body: none } = await service.ask("/sync/trigger?prefix=nothing", { method: "POST" });
    expect(none).toMatchObject({ status: "success", processed_files: 0 });
  });

  it("always holds an object against its length and the digest that S3 gives", async ({
    serve,
    fake,
    work,
  }) => {
    fake.put("right", "content");
    fake.put("wrong", "content", { "x-amz-checksum-sha256": Buffer.alloc(32).toString("base64") });
    for (const VERIFY_FILE_INTEGRITY of ["true", "false"]) {
      const env = { ...fake.env, ...QUIET, S3_BUCKET_NAME: "bucket", RETRY_ATTEMPTS: "1" };
      const service = await serve([], { ...env, VERIFY_FILE_INTEGRITY });
      expect((await service.ask("/sync/config")).body.verify_file_integrity).toBe(
        VERIFY_FILE_INTEGRITY === "true",
      );
      const { body } = await service.ask("/sync/trigger", { method: "POST" });
      expect(body).toMatchObject({ status: "partial", failed_operations: 1 });
      const { body: files } = await service.ask(`/api/v1/runs/${body.run_id}/files?outcome=failed`);
      expect(files.files).toMatchObject([{ source: "s3://bucket/wrong", error: { class: "checksum" } }]);
      expect(existsSync(work.at("downloaded_files/wrong"))).toBe(false);
      await service.stop();
    }
  });

  it("lists the bucket and the download directory in pages", async ({ serve, s3, work }) => {
    await s3.putAll({ "p/a": "1", "p/b": "22", "p/c": "333", q: "4" });
    work.write({
      "files/p/a": "1",
      "files/p/z": "26",
      "files/r": "r",
      "files/.drover-AAAAAAAAAAAAAAAA": "staging",
    });
    const service = await serve([], envOf(s3));
    const keys: string[] = [];
    let cursor = "";
    do {
      const { body } = await service.ask(
        `/sync/files?source=s3&prefix=p/&limit=2&cursor=${encodeURIComponent(cursor)}`,
      );
      keys.push(...body.files.map((each: { key: string; size: number }) => `${each.key} ${each.size}`));
      cursor = body.next ?? "";
    } while (cursor !== "");
    expect(keys).toEqual(["p/a 1", "p/b 2", "p/c 3"]);
    const { body: local } = await service.ask("/sync/files?source=local");
    expect(local.files.map(({ key }: { key: string }) => key)).toEqual(["p/a", "p/z", "r"]);
    const { body: second } = await service.ask("/sync/files?source=local&limit=1&cursor=p/a");
    expect(second).toMatchObject({ files: [{ key: "p/z" }], next: "p/z" });
    expect((await service.ask("/sync/files?source=ftp")).status).toBe(400);
  });

  it("gives the files of the download directory, and nothing else", async ({ serve, s3, work }) => {
    work.write({
      "files/a b/ü+%.txt": "0123456789",
      "files/.drover-AAAAAAAAAAAAAAAA": "staging",
      secret: "s",
      "files/.hidden": "h",
    });
    symlinkSync(work.at("secret"), work.at("files/link"));
    mkdirSync(work.at("files/dir"), { recursive: true });
    const service = await serve([], envOf(s3));
    const path = `/sync/download/${["a b", "ü+%.txt"].map(encodeURIComponent).join("/")}`;
    const whole = await service.ask(path);
    expect([whole.status, whole.text]).toEqual([200, "0123456789"]);
    const etag = whole.headers.get("etag") as string;
    expect((await service.ask(path, { headers: { range: "bytes=2-4" } })).text).toBe("234");
    expect((await service.ask(path, { headers: { range: "bytes=99-" } })).status).toBe(416);
    expect(
      (await service.ask(path, { headers: { "if-none-match": etag, "cache-control": "max-age=0" } })).status,
    ).toBe(304);
    expect((await service.ask("/sync/download/.hidden")).text).toBe("h");
    for (const bad of [
      ...["nothing", "dir", "link", ".drover-AAAAAAAAAAAAAAAA", "..%2fsecret", "dir/..%2f..%2fsecret"],
      ...["%2fetc%2fpasswd", "a%00b", "..%5csecret", `${"x".repeat(300)}`],
    ]) {
      const { status, text } = await service.ask(`/sync/download/${bad}`);
      expect([status, text.includes('"status":404')], bad).toEqual([404, true]);
    }
    expect((await service.ask("/sync/download/%ff")).status).toBe(400);
  });

  it("refuses files of other types and sizes", async ({ serve, s3, work }) => {
    await s3.putAll({ "a.csv": "a", "b.exe": "b", "c.txt": "c", "big.csv": "x".repeat(2_000) });
    const service = await serve(
      [],
      envOf(s3, { ALLOWED_FILE_TYPES: "csv,.txt", REFUSED_FILE_TYPES: "c.*", MAX_FILE_SIZE_MB: "0.001" }),
    );
    const { body } = await service.ask("/sync/trigger", { method: "POST" });
    expect(body).toMatchObject({ status: "partial", processed_files: 2, failed_operations: 1 });
    expect(body.sync_details[0]).toMatchObject({ file_key: "big.csv", status: "error" });
    const { body: files } = await service.ask(`/api/v1/runs/${body.run_id}/files?outcome=failed`);
    expect(files.files).toMatchObject([{ attempts: 1, error: { class: "too-large" } }]);
    expect([existsSync(work.at("files/a.csv")), existsSync(work.at("files/b.exe"))]).toEqual([true, false]);
  });

  it("reads everything again where it is not to skip what is there", async ({ serve, fake }) => {
    fake.put("a", "1");
    const read = () => fake.requests.filter(({ method, key }) => method === "GET" && key === "a").length;
    const env = { ...QUIET, ...fake.env, S3_BUCKET_NAME: "bucket" };
    const skips = await serve([], env);
    for (let time = 0; time < 2; time++) await skips.ask("/sync/trigger", { method: "POST" });
    expect(read()).toBe(1);
    const reads = await serve([], { ...env, SKIP_EXISTING_FILES: "false" });
    const { body } = await reads.ask("/sync/trigger", { method: "POST" });
    expect(body).toMatchObject({ status: "success", successful_operations: 1 });
    expect(read()).toBe(2);
  });

  it("copies the bucket at an interval, first at the start", async ({ serve, s3, work }) => {
    await s3.put("a", "1");
    const service = await serve(
      [],
      envOf(s3, { ENABLE_PERIODIC_SYNC: "true", SYNC_INTERVAL_HOURS: "0.0006" }),
    );
    await until("the first sync", () => existsSync(work.at("files/a")));
    await s3.put("b", "2");
    await until("the next sync", () => existsSync(work.at("files/b")));
    const { body } = await service.ask("/api/v1/runs?label=periodic-sync");
    expect(body.runs.length).toBeGreaterThanOrEqual(2);
    const ended = await until("a report", () =>
      service
        .logged("periodic sync ended")
        .find(({ repaired, run }) => repaired === 1 && run !== body.runs.at(-1).id),
    );
    expect(ended.convergence_lag_s).toBeGreaterThanOrEqual(0);
    expect(ended.convergence_lag_s).toBeLessThan(60);
    const { body: stats } = await service.ask("/sync/stats");
    expect(stats.last_periodic_sync).toMatchObject({ repaired: expect.any(Number), run: expect.any(String) });
  });

  it("copies the bucket at the times of a cron expression", async ({ serve, s3, work }) => {
    await s3.put("a", "1");
    const service = await serve([], envOf(s3, { ENABLE_PERIODIC_SYNC: "true", SYNC_CRON: "*/2 * * * * *" }));
    expect((await service.ask("/sync/config")).body).toMatchObject({
      sync_cron: "*/2 * * * * *",
      sync_time_zone: "UTC",
    });
    await until("the sync", () => existsSync(work.at("files/a")));
  });

  it("reads .env, tells what is wrong with a variable, and logs to a file too", async ({
    serve,
    box,
    work,
    s3,
  }) => {
    writeFileSync(
      work.at(".env"),
      `S3_BUCKET_NAME=${s3.bucket}\nLOG_LEVEL=WARNING\nLOG_FILE=own.log\nRETRY_ATTEMPTS=7\n`,
    );
    const service = await serve([], { ...s3.env, ...QUIET, LOG_LEVEL: "INFO" });
    const { body } = await service.ask("/sync/config");
    expect(body).toMatchObject({ s3_bucket_name: s3.bucket, log_level: "info", retry_attempts: 7 });
    await until("the log", () => readFileSync(work.at("own.log"), "utf8").includes('"url":"/sync/config"'));
    const [line] = service.logged("answer").filter(({ url }) => url === "/sync/config");
    expect(line).toMatchObject({ method: "GET", status: 200, level: "info", request_id: expect.any(String) });
    for (const [name, value] of [
      ["RETRY_ATTEMPTS", "0"],
      ["API_PORT", "x"],
      ["LOG_LEVEL", "LOUD"],
      ["SYNC_INTERVAL_HOURS", "soon"],
      ["SYNC_CRON", "now and then"],
      ["SYNC_TIME_ZONE", "Elsewhere/Nowhere"],
      ["SYNC_WINDOW", "22-6"],
      ["SYNC_WINDOW", "06:00-06:00"],
      ["SYNC_WINDOW", "22:00-24:00"],
      ["ENABLE_PERIODIC_SYNC", "maybe"],
      ["API_TOKEN", "short"],
    ] as const) {
      const { code, stderr } = await box.run(["serve"], { cwd: work.path, env: { [name]: value } });
      expect([code, stderr], name).toEqual([2, expect.stringContaining(name)]);
    }
    const unwritable = await serve([], {
      ...s3.env,
      ...QUIET,
      LOG_LEVEL: "INFO",
      LOG_FILE: "/proc/nothing/x.log",
    });
    expect(unwritable.logged("the log file cannot be written: this is the only log")).toHaveLength(1);
  });
});
