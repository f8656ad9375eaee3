import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { sendError } from "../../harness/fake-s3.js";
import { until } from "../../harness/gate.js";
import { it, type TestService } from "../../harness/service.js";

/** A sync every two seconds or so. */
const OFTEN = { SYNC_INTERVAL_HOURS: "0.0006" };
const yaml = (...routes: object[]) => JSON.stringify({ events: { routes } });

/** Ends of periodic syncs so far, as the log has them. */
const ends = (service: TestService) => service.logged("periodic sync ended");

/** Waits for the end of a sync that began after this call. */
async function nextSync(service: TestService): Promise<Record<string, unknown>> {
  const before = ends(service).length;
  return await until("another sync", () => ends(service)[before + 1]);
}

const last = async (service: TestService) => (await service.ask("/sync/stats")).body.last_periodic_sync;

describe("the periodic sync of a route", () => {
  it("brings what no notification told of, and removes what Drover brought and whose object is gone", async ({
    serve,
    s3,
    work,
  }) => {
    const [to, kept] = [work.at("data/in"), work.at("data/kept")];
    const route = { bucket: s3.bucket, prefix: "in/", destination: to, delete: true, "backup-dir": kept };
    writeFileSync(work.at("drover.yaml"), yaml(route));
    work.write({ "data/in/own": "never brought by Drover" });
    await s3.putAll({ "in/sub/a": "a", "in/b": "b", "in/c": "c", "other/o": "o" });
    const service = await serve(["--root", work.at("data")], { ...s3.env, ...OFTEN });
    await until("the first sync", () => ends(service)[0]);
    expect(readFileSync(work.at("data/in/sub/a"), "utf8")).toBe("a");
    await s3.remove("in/sub/a");
    await s3.remove("in/c");
    writeFileSync(work.at("data/in/c"), "changed by somebody else");
    const end = await until("the removal", () => ends(service).find(({ removed }) => removed === 1));
    expect(end).toMatchObject({ repaired: 1, bucket: s3.bucket, destination: to });
    expect(existsSync(work.at("data/in/sub/a"))).toBe(false);
    expect(readFileSync(work.at("data/kept/sub/a"), "utf8")).toBe("a");
    await nextSync(service);
    expect(
      readdirSync(to)
        .filter((name) => name !== "sub")
        .sort(),
    ).toEqual(["b", "c", "own"]);
    expect(readFileSync(work.at("data/in/c"), "utf8")).toBe("changed by somebody else");
    expect(await last(service)).toMatchObject({ removed: 0, not_removed: null });
  });

  it("removes no more than the route allows, and says so", async ({ serve, s3, work }) => {
    const route = { bucket: s3.bucket, destination: work.at("data"), delete: true, "max-delete": 1 };
    mkdirSync(work.at("data"));
    writeFileSync(work.at("drover.yaml"), yaml(route));
    await s3.putAll({ a: "a", b: "b", c: "c" });
    const service = await serve(["--root", work.at("data")], { ...s3.env, ...OFTEN });
    await until("the first sync", () => ends(service)[0]);
    await s3.remove("a");
    await s3.remove("b");
    const told = await until("a refusal", async () => {
      const stats = await last(service);
      return stats.not_removed !== null && stats;
    });
    expect(told).toMatchObject({
      removed: 0,
      not_removed: "2 files would be removed, and max-delete of the route allows 1",
    });
    expect(service.logged("nothing is removed")[0]).toMatchObject({ level: "error" });
    expect(readdirSync(work.at("data")).sort()).toEqual(["a", "b", "c"]);
  });

  it("removes nothing without `delete`, nor for the bucket of the settings alone", async ({
    serve,
    s3,
    work,
  }) => {
    mkdirSync(work.at("data"));
    writeFileSync(work.at("drover.yaml"), yaml({ bucket: s3.bucket, destination: work.at("data") }));
    await s3.putAll({ a: "a", b: "b" });
    const env = { ...s3.env, ...OFTEN, S3_BUCKET_NAME: s3.bucket, LOCAL_DOWNLOAD_DIR: "files" };
    const service = await serve(["--root", work.at("data")], env);
    await until("the first syncs", () => ends(service)[1]);
    await s3.remove("a");
    await nextSync(service);
    await nextSync(service);
    for (const directory of ["data", "files"])
      expect(readdirSync(work.at(directory)).sort()).toEqual(["a", "b"]);
    expect(await last(service)).toMatchObject({ removed: 0, not_removed: null });
  });

  it("is one where a route has bucket and directory of the settings, and deletes as it says", async ({
    serve,
    s3,
    work,
  }) => {
    const route = { bucket: s3.bucket, destination: work.at("files"), delete: true };
    writeFileSync(work.at("drover.yaml"), yaml(route));
    await s3.putAll({ "dir/a": "a", b: "b" });
    const env = { ...s3.env, S3_BUCKET_NAME: s3.bucket, LOCAL_DOWNLOAD_DIR: "files", ...OFTEN };
    const brings = await serve([], { ...env, ENABLE_PERIODIC_SYNC: "false" });
    // What a request has brought is known as well, also where it asked for a part.
    await brings.ask("/sync/trigger?prefix=dir/", { method: "POST" });
    await brings.stop();
    await s3.remove("dir/a");
    const service = await serve([], env);
    await until("the first sync", () => ends(service)[0]);
    expect(ends(service)[0]).toMatchObject({ repaired: 2, removed: 1 });
    expect(existsSync(work.at("files/dir/a"))).toBe(false);
    expect(ends(service)).toHaveLength(1);
  });

  it("removes nothing for a listing that is empty, fails, or has left an object out", async ({
    serve,
    fake,
    work,
  }) => {
    mkdirSync(work.at("data"));
    writeFileSync(
      work.at("drover.yaml"),
      yaml({ bucket: "bucket", destination: work.at("data"), delete: true }),
    );
    fake.put("k", "content");
    fake.put("l", "content");
    const service = await serve(["--root", work.at("data")], { ...fake.env, ...OFTEN, RETRY_ATTEMPTS: "1" });
    await until("the first sync", () => ends(service)[0]);
    const { modified } = fake.stored("k") as { modified: Date };
    const isListing = ({ key }: { key: string }) => key === "";
    // Whoever asks for the object itself gets it.
    let looks = 0;
    fake.before = (request) => {
      if (isListing(request)) fake.remove("k");
      else if (request.key === "k") {
        looks++;
        fake.put("k", "content", {}, modified);
      }
      return undefined;
    };
    await until("a look at the object", () => looks > 0);
    expect(await nextSync(service)).toMatchObject({ removed: 0 });
    fake.before = () => undefined;
    fake.put("k", "content", {}, modified);

    const refusal = async (why: string) =>
      await until(why, async () => ((await last(service)).not_removed ?? "").includes(why));
    fake.fault = (request, answer) => {
      if (isListing(request)) sendError(answer, 403, "AccessDenied");
      return isListing(request);
    };
    await refusal("not all objects could be listed");
    fake.fault = () => false;
    fake.remove("k");
    fake.remove("l");
    await refusal("nothing was found in s3://bucket/");
    expect(readdirSync(work.at("data")).sort()).toEqual(["k", "l"]);
  });
});
