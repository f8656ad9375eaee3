import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { mirrorConfigOf, mirrorConfigsOf } from "../../../packages/cli/src/settings/mirror-settings.js";
import { resolveSettings } from "../../../packages/cli/src/settings/settings.js";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync("/tmp/dvs-");
  vi.stubEnv("XDG_CONFIG_HOME", directory);
  for (const name of ["CUSTOMER_S3_BUCKET", "CUSTOMER_S3_ENDPOINT", "FILE_MANAGER_API_URL", "MOCK_API_URL"])
    vi.stubEnv(name, "");
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

const configOf = async (content: object, name?: string, flags: Record<string, string> = {}) => {
  const file = join(directory, "drover.yaml");
  writeFileSync(file, JSON.stringify(content));
  return mirrorConfigOf(name, await resolveSettings(flags, file));
};

describe("the settings of a mirror", () => {
  it("come from its section, and have defaults", async () => {
    const config = await configOf({
      mirrors: { m: { source: "s3://bkt/some/prefix", destination: "/srv/m" } },
    });
    expect(config).toMatchObject({
      ...{ name: "m", bucket: "bkt", prefix: "some/prefix/", root: "/srv/m", intervalMs: 300_000 },
      ...{ reconcileMs: 86_400_000, most: { percent: 50 }, reportUrls: [], database: undefined },
    });
  });

  it("come from the variables for the mirror default", async () => {
    vi.stubEnv("CUSTOMER_S3_BUCKET", "customer");
    vi.stubEnv("CUSTOMER_S3_ENDPOINT", "http://minio:9000");
    vi.stubEnv("SYNC_INTERVAL", "60");
    vi.stubEnv("RECONCILE_INTERVAL", "2h");
    vi.stubEnv("DATABASE_PATH", "/data/sync.db");
    vi.stubEnv("DATA_DIR", "/data");
    vi.stubEnv("REPORT_URL", "http://one/");
    vi.stubEnv("REPORT_URLS", "http://two/, http://one/");
    vi.stubEnv("TARGET_S3_BUCKET", "target");
    vi.stubEnv("TARGET_S3_ENDPOINT", "http://minio:9001");
    const config = await configOf({}, undefined, { "artifact-root": "/srv/out" });
    expect(config).toMatchObject({
      ...{ name: "default", bucket: "customer", prefix: "", root: "/srv/out", intervalMs: 60_000 },
      ...{ reconcileMs: 7_200_000, database: "/data/sync.db", dataDir: "/data" },
      ...{
        reportUrls: ["http://one/", "http://two/"],
        backup: "s3://target",
        backupEndpoint: "http://minio:9001",
      },
    });
    expect(config.request.s3).toMatchObject({ endpoint: "http://minio:9000" });
    expect(mirrorConfigsOf(await resolveSettings({ "artifact-root": "/x" }, undefined))).toMatchObject([
      { name: "default" },
    ]);
  });

  it.each([
    ["no source", { mirrors: { m: { destination: "/x" } } }, "m", "mirrors.m.source"],
    ["no destination", { mirrors: { m: { source: "s3://bkt/" } } }, "m", "mirrors.m.destination"],
    ["another source", { mirrors: { m: { source: "http://bkt/", destination: "/x" } } }, "m", "s3://"],
    ["an unknown setting", { mirrors: { m: { sauce: 1 } } }, "m", "mirrors.m"],
    ["a name that none can have", { mirrors: { "a b": {} } }, undefined, "name of a mirror"],
    ["a mirror that is not there", { mirrors: { m: {} } }, "n", "there is no mirror n"],
    [
      "a time that is none",
      { mirrors: { m: { source: "s3://bkt/", destination: "/x", interval: "soon" } } },
      "m",
      "interval",
    ],
    [
      "a secret that is none",
      { mirrors: { m: { source: "s3://bkt/", destination: "/x", "report-secret": "x" } } },
      "m",
      "whsec_",
    ],
    ["no mirror at all", {}, undefined, "CUSTOMER_S3_BUCKET"],
  ])("are refused with %s", async (_, content, name, message) => {
    await expect(configOf(content, name)).rejects.toThrow(message);
  });
});
