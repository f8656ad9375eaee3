import { createHash } from "node:crypto";
import { renameSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { crc32 } from "node:zlib";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { filesBelow, leftovers } from "../../harness/drover.js";
import { sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";
import { listRuns, onlyRun, statusOf } from "../../harness/runs.js";

const name = (n: number) => String(n).padStart(5, "0");
const here = (work: Work) => filesBelow(work.out).length;

describe("a listing that breaks off", () => {
  it("is never taken for a short one: what was listed is carried, resume lists on", async ({
    box,
    work,
    s3,
    origin,
  }) => {
    s3.pageKeys = 100;
    for (let n = 0; n < 1_000; n++) s3.put(`k/${name(n)}`, `${n}`);
    s3.fault = ({ query }, answer) => {
      const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
      if (!query.has("list-type") || after < "k/00490") return false;
      sendError(answer, 500, "InternalError");
      return true;
    };
    const url = origin.route("/other.txt", file("other"));
    const first = await box.run(
      [
        "sync",
        "s3://bucket/k/",
        url,
        "--retries",
        "2",
        "--max-workers",
        "32",
        "--durability",
        "rename",
        "--json",
        ...work.into,
      ],
      { env: s3.env },
    );
    expect(first.code).toBe(1);
    expect(first.stderr).toMatch(
      /^drover: cannot list s3:\/\/bucket\/k\/: .*InternalError.*drover resume (\S+) lists on\n$/,
    );
    const run = /resume (\S+)/.exec(first.stderr)?.[1] as string;
    const state = await statusOf(box, run);
    expect(state.state).toBe("interrupted");
    expect(state.copied).toBeGreaterThan(400);
    expect(state.copied).toBeLessThan(600);
    expect(filesBelow(work.out).some((path) => path.endsWith("other.txt"))).toBe(true);

    s3.fault = () => false;
    s3.requests.length = 0;
    const second = await box.run(["resume", run], { env: s3.env });
    expect([second.code, second.stderr]).toEqual([0, ""]);
    expect(await statusOf(box, run)).toMatchObject({ state: "done", files: 1_001, copied: 1_001 });
    expect(here(work)).toBe(1_001);
    const starts = s3.requests.filter(({ query }) => query.has("list-type") && !query.has("delimiter"));
    for (const { query } of starts) expect(query.get("start-after") ?? "k/1").not.toBe("");
    expect(s3.requests.filter(({ key }) => key === "k/00001")).toEqual([]);
  });

  it("is not taken for an empty one where a page of nothing comes first", async ({ box, work, s3 }) => {
    s3.put("p/a/one", "1");
    s3.put("p/two", "2");
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type") || query.has("continuation-token")) return false;
      const token = "<NextContinuationToken>!</NextContinuationToken>"; // comes before all keys
      answer.end(`<ListBucketResult><IsTruncated>true</IsTruncated>${token}</ListBucketResult>`);
      return true;
    };
    const sources = ["s3://bucket/p/a", "s3://bucket/p/two"];
    const { code, items } = await box.sync([...sources, ...work.into], { env: s3.env });
    expect([code, items.map(({ destination }) => basename(destination)).sort()]).toEqual([0, ["one", "two"]]);
  });

  it("goes on where a killed producer was", async ({ box, work, s3 }) => {
    s3.pageKeys = 100;
    for (let n = 0; n < 2_000; n++) s3.put(`k/${name(n)}`, `${n}`);
    const gate = new Gate();
    s3.fault = ({ query }) => {
      const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
      if (!query.has("list-type") || after < "k/01000") return false;
      void gate.pass();
      return true; // never answered
    };
    const started = box.start(
      ["sync", "s3://bucket/k/", "--max-workers", "32", "--durability", "rename", ...work.into],
      {
        env: s3.env,
      },
    );
    await gate.reached;
    await expect.poll(() => here(work), { timeout: 30_000 }).toBeGreaterThan(300);
    started.kill("SIGKILL");
    await started.result;
    s3.fault = () => false;
    s3.requests.length = 0;
    const [run] = await listRuns(box);
    const { code } = await box.run(["resume", run?.run as string], { env: s3.env });
    expect(code).toBe(0);
    expect(here(work)).toBe(2_000);
    const listed = s3.requests.filter(({ query }) => query.has("list-type"));
    expect(listed[0]?.query.get("start-after")).toMatch(/^k\/0\d{4}$/);
  });
});

describe("an object", () => {
  it("that is replaced while it is fetched in pieces is never mixed", async ({ box, work, s3 }) => {
    const size = 80 << 20;
    const two = Buffer.alloc(size, 2);
    s3.put("large", Buffer.alloc(size, 1));
    let pieces = 0;
    s3.fault = ({ headers }) => {
      if (headers.range !== undefined && ++pieces === 1) s3.put("large", two);
      return false;
    };
    const { items, code } = await box.sync(["s3://bucket/large", ...work.into], { env: s3.env });
    expect(pieces).toBeGreaterThan(0);
    for (const { headers } of s3.requests)
      if (headers.range !== undefined) expect(headers["if-match"]).toMatch(/^"[0-9a-f]{32}"$/);
    expect([code, items[0]?.checksum]).toEqual([0, sha256(two)]);
  });

  it("keeps a time before 1970", async ({ box, work, s3 }) => {
    s3.put("k", "old", { "x-amz-meta-mtime": "-86400.5" });
    const { items } = await box.sync(["s3://bucket/k", ...work.into], { env: s3.env });
    expect(statSync(items[0]?.destination as string).mtimeMs).toBe(-86_400_500);
  });

  it("that comes in two goes is held against its ETag whole", async ({ box, work, s3 }) => {
    const content = Buffer.alloc(20 << 20, "some");
    s3.put("k", content);
    let cut = false;
    s3.fault = (request, answer) => {
      if (cut || request.query.has("list-type")) return false;
      cut = true;
      answer.writeHead(200, { etag: s3.stored("k")?.etag, "content-length": content.length });
      answer.write(content.subarray(0, 15 << 20), () => answer.destroy());
      return true;
    };
    const { items } = await box.sync(["s3://bucket/k", ...work.into], { env: s3.env });
    expect(s3.requests.some(({ headers }) => headers.range !== undefined)).toBe(true);
    expect(items[0]).toMatchObject({ checksum: sha256(content), verified_by: "etag", attempts: 2 });
  });

  it("whose bytes are not those of its ETag is not published", async ({ box, work, s3 }) => {
    s3.put("k", "content", { etag: '"00000000000000000000000000000000"' });
    const { items, code } = await box.sync(["s3://bucket/k", ...work.into], { env: s3.env });
    expect(code).toBe(3);
    expect(items[0]?.error).toMatchObject({ class: "checksum", message: expect.stringMatching(/etag/) });
    expect(here(work)).toBe(0);
  });

  it("of which only a CRC is known is held against that", async ({ box, work, s3 }) => {
    const large = "123456789".repeat(200_000);
    const base64 = Buffer.alloc(4);
    base64.writeUInt32BE(crc32(large));
    const objects: [string, string, string, string][] = [
      ["small64", "123456789", "crc64nvme", "rosUhgp5mIg="], // the check values of these CRCs
      ["small32c", "123456789", "crc32c", "4waSgw=="],
      ["small32", "123456789", "crc32", "y/Q5Jg=="],
      ["large32", large, "crc32", base64.toString("base64")],
      ["bad64", "123456780", "crc64nvme", "rosUhgp5mIg="],
      ["large-bad64", large, "crc64nvme", "rosUhgp5mIg="],
    ];
    for (const [key, content, algorithm, checksum] of objects)
      s3.put(`k/${key}`, content, { etag: '"abc-2"', [`x-amz-checksum-${algorithm}`]: checksum });
    const { items } = await box.sync(["s3://bucket/k/", "--retries", "1", ...work.into], { env: s3.env });
    const good = items.filter(({ outcome }) => outcome === "copied");
    expect(good.map((item) => [basename(item.destination), item.verified_by]).sort()).toEqual(
      ["large32", "small32", "small32c", "small64"].map((name) => [name, "x-amz-checksum"]),
    );
    const bad = items.filter(({ error }) => error?.class === "checksum");
    expect(bad.map((item) => basename(item.source)).sort()).toEqual(["bad64", "large-bad64"]);
  });

  it("that is larger or gone by its turn fails or comes whole, and leaves nothing", async ({
    box,
    work,
    s3,
  }) => {
    s3.put("k/gone", "x");
    s3.put("k/grown", "short");
    s3.fault = ({ query, key }) => {
      if (query.has("list-type")) return false;
      if (key === "k/gone") s3.remove(key);
      else s3.put(key, "longer than listed");
      return false;
    };
    const { items, code } = await box.sync(["s3://bucket/k/", ...work.into], { env: s3.env });
    expect(code).toBe(1);
    expect(items.find((item) => item.source.endsWith("grown"))).toMatchObject({
      outcome: "copied",
      bytes: 18,
    });
    expect(items.find((item) => item.source.endsWith("gone"))?.error).toMatchObject({ class: "not-found" });
    expect([here(work), leftovers(work.out)]).toEqual([1, []]);
  });

  it("comes late rather than never from a service that is asked too much", async ({ box, work, s3 }) => {
    s3.put("k/1", "x");
    let nth = 0;
    s3.fault = (_request, answer) => {
      if (nth++ % 2 === 1) return false;
      sendError(answer, 503, "SlowDown");
      return true;
    };
    const { items, code } = await box.sync(["s3://bucket/k/", ...work.into], { env: s3.env });
    expect([code, items[0]?.attempts]).toEqual([0, 2]);
  });

  it("that tells a listing to come much later is waited for, and says so", async ({ box, work, s3 }) => {
    s3.put("k/1", "x");
    s3.fault = (_request, answer) => {
      sendError(answer, 503, "SlowDown", { "retry-after": "600" });
      return true;
    };
    const run = box.start(["sync", "s3://bucket/k/", ...work.into, "--json"], { env: s3.env });
    await run.waitFor("stderr", /warning: the listing of s3:\/\/bucket\/k\/ waits 600 s: .*503/);
    run.kill("SIGINT");
    expect((await run.result).code).toBe(130);
  });

  it("of any bucket is blocked by the one breaker of its service", async ({ box, work, s3 }) => {
    s3.fault = ({ query }, answer) => {
      if (query.has("list-type")) return false;
      sendError(answer, 500, "InternalError");
      return true;
    };
    for (let n = 0; n < 8; n++) s3.put(`k/${n}`, "x");
    const args = ["s3://bucket/k/", "--retries", "2", "--breaker-wait", "0", ...work.into];
    const { items, code } = await box.sync(args, { env: s3.env });
    expect(code).toBe(3);
    const blocked = items.filter((item) => item.outcome === "blocked");
    expect(blocked.length).toBeGreaterThan(0);
    expect(blocked[0]?.error?.message).toContain(new URL(s3.endpoint).host);
  });
});

describe("a checksum that the service keeps", () => {
  it.for([
    ["is not asked of another service than AWS", [], {}, "", false],
    ["goes with an upload where it is wanted", ["--s3-checksums", "when-supported"], {}, "", true],
    ["is wanted by AWS's variable", [], { AWS_REQUEST_CHECKSUM_CALCULATION: "WHEN_SUPPORTED" }, "", true],
    ["or by a profile", [], {}, "request_checksum_calculation = when_supported", true],
    [
      "which a flag overrides",
      ["--s3-checksums", "when-required"],
      {},
      "request_checksum_calculation = when_supported",
      false,
    ],
  ] as const)("%s", async ([, flags, more, profile, sent], { box, work, s3 }) => {
    const from = work.write({ "f.txt": "text" });
    const config = join(work.path, "config");
    writeFileSync(config, `[default]\n${profile}\n`);
    const env = { ...s3.env, AWS_CONFIG_FILE: config, ...more };
    const to = ["--artifact-root", "s3://bucket/out"];
    const up = await box.sync([from, ...to, ...flags], { env });
    expect(up.code).toBe(0);
    const checksum = createHash("sha256").update("text").digest("base64");
    const put = s3.requests.find(({ method, key }) => method === "PUT" && key === "out/f.txt");
    expect(put?.headers["x-amz-checksum-sha256"]).toBe(sent ? checksum : undefined);
    expect(put?.headers["content-md5"] === undefined).toBe(sent);
    const { items } = await box.sync(["s3://bucket/out/f.txt", ...work.into], { env });
    expect(items).toMatchObject([{ verified_by: sent ? "x-amz-checksum" : "etag" }]);
  });
});

describe("a checksum mode that AWS does not know", () => {
  it("in its variable is refused where S3 is used, and is no matter elsewhere", async ({ box, work, s3 }) => {
    const env = { ...s3.env, AWS_REQUEST_CHECKSUM_CALCULATION: "bogus" };
    const from = work.write({ "f.txt": "text" });
    expect((await box.run(["sync", from, ...work.into], { env })).code).toBe(0);
    const refused = await box.run(["sync", from, "--artifact-root", "s3://bucket/out"], { env });
    expect([refused.code, refused.stdout]).toEqual([2, ""]);
    expect(refused.stderr).toMatch(/^drover: AWS_REQUEST_CHECKSUM_CALCULATION must be .*, not "bogus"\n$/);
    expect(s3.requests).toEqual([]);
  });

  it("in a profile is refused with the profile and its file", async ({ box, work, s3 }) => {
    const config = work.write({ config: "[default]\nrequest_checksum_calculation = whenever\n" });
    const env = { ...s3.env, AWS_CONFIG_FILE: config };
    const { code, stderr } = await box.run(["sync", "s3://bucket/k/", ...work.into], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^drover: request_checksum_calculation of profile default in .*config must be .*"whenever"\n$/,
    );
  });
});

describe("credentials", () => {
  it("come from a profile, with its region and endpoint, and are seen nowhere", async ({ box, work, s3 }) => {
    s3.put("k/1", "x");
    const config = join(work.path, "config");
    const keys = join(work.path, "credentials");
    writeFileSync(
      config,
      `[profile mine]\nregion = eu-south-7\nservices = here\n[services here]\ns3 =\n  endpoint_url = ${s3.endpoint}\n`,
    );
    writeFileSync(keys, "[mine]\naws_access_key_id = AKIDMINE\naws_secret_access_key = SECRETCANARY\n");
    const env = {
      AWS_CONFIG_FILE: config,
      AWS_SHARED_CREDENTIALS_FILE: keys,
      AWS_EC2_METADATA_DISABLED: "true",
    };
    const command = ["s3://bucket/k/", "--s3-profile", "mine", "--verbose", ...work.into];
    const { code, stdout, stderr } = await box.sync(command, { env });
    expect(code).toBe(0);
    expect(s3.requests.at(-1)?.headers.authorization).toMatch(/Credential=AKIDMINE\/\d+\/eu-south-7\/s3/);
    const seen = [stdout, stderr, ...box.stateFiles().map(({ text }) => text)].join("\n");
    expect(seen).not.toMatch(/SECRETCANARY/);
    const missing = await box.run(["sync", "s3://bucket/k/", "--s3-profile", "other", ...work.into], { env });
    expect(missing.code).toBe(2);
    expect(missing.stderr).toMatch(/^drover: no profile other in .*\n$/);
  });

  it("that expire are read again from their file, and no file fails for it", async ({ box, work, s3 }) => {
    for (let n = 0; n < 20; n++) s3.put(`k/${n}`, "x");
    const keys = join(work.path, "credentials");
    const write = (id: string) => {
      writeFileSync(`${keys}.new`, `[default]\naws_access_key_id = ${id}\naws_secret_access_key = S\n`);
      renameSync(`${keys}.new`, keys); // whole at any moment, as whatever renews keys does it
    };
    write("AKIDOLD");
    s3.fault = ({ key, headers }, answer) => {
      if (key === "" || !headers.authorization?.includes("AKIDOLD")) return false;
      write("AKIDNEW");
      sendError(answer, 400, "ExpiredToken");
      return true;
    };
    const own = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    const env = { ...s3.env, ...own, AWS_SHARED_CREDENTIALS_FILE: keys };
    const { code, items } = await box.sync(["s3://bucket/k/", "--retries", "1", ...work.into], { env });
    expect([code, items.length]).toEqual([0, 20]);
    expect(s3.requests.at(-1)?.headers.authorization).toMatch(/AKIDNEW/);
  });

  it("that a process gives are asked for again, also where an answer has no body to name the reason", async ({
    box,
    work,
    s3,
  }) => {
    const answers = (id: string) =>
      JSON.stringify({
        Version: 1,
        AccessKeyId: id,
        SecretAccessKey: "S",
        Expiration: "2099-01-01T00:00:00Z",
      });
    const keys = work.write({ keys: answers("AKIDOLD") });
    const config = work.write({ config: `[default]\ncredential_process = cat ${keys}\n` });
    const source = work.write({ "in/large": Buffer.alloc(17 << 20, "x") });
    s3.fault = ({ method, key, headers }, answer) => {
      if (key !== "p/large" || !headers.authorization?.includes("AKIDOLD")) return false;
      work.write({ keys: answers("AKIDNEW") });
      if (method === "HEAD") answer.writeHead(400).end();
      else sendError(answer, 400, "ExpiredToken");
      return true;
    };
    const own = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    const env = { ...s3.env, ...own, AWS_CONFIG_FILE: config, AWS_SESSION_TOKEN: undefined };
    const into = ["--artifact-root", "s3://bucket/p"];
    const { code, items } = await box.sync([source, "--retries", "1", ...into], { env });
    expect(items).toMatchObject([{ outcome: "copied" }]);
    expect(code).toBe(0);
    expect(s3.requests.at(-1)?.headers.authorization).toMatch(/AKIDNEW/);
  });

  it.for([
    ["ExpiredToken", 400, "GET"],
    ["InvalidAccessKeyId", 403, "GET"],
    ["ExpiredToken", 400, "HEAD"],
    ["InvalidTokenId", 403, "HEAD"],
  ] as const)(
    "that are dead are said to be so, and new ones go on: %s (%i) of a %s",
    async ([name, status, method], { box, work, s3 }) => {
      let dead = true;
      s3.put("k/1", "x");
      s3.put("k/2", "y");
      s3.fault = (request, answer) => {
        if (!dead || request.key === "" || !/^(k|p)\//.test(request.key)) return false;
        if (request.method === "HEAD") answer.writeHead(status).end();
        else sendError(answer, status, name);
        return true;
      };
      const large = work.write({ "in/large": Buffer.alloc(17 << 20, "x") });
      const [args, files] =
        method === "HEAD"
          ? [[large, "--artifact-root", "s3://bucket/p"], 1]
          : [["s3://bucket/k/", ...work.into], 2];
      const own = ["--state-dir", work.at("state")];
      const first = await box.sync([...args, ...own], { env: s3.env });
      expect(first.code).toBe(3);
      expect(first.items.map(({ attempts, error }) => [attempts, error?.class])).toEqual(
        Array.from({ length: files }, () => [1, "credentials"]),
      );
      for (const { error } of first.items)
        expect(error?.message).toMatch(
          new RegExp(`the credentials are not accepted \\(${name}, HTTP status`),
        );
      dead = false;
      const { run } = await onlyRun(box, own);
      const again = await box.run(["retry", run, ...own], { env: s3.env });
      expect(again.stdout).toMatch(`${files}/${files} successful`);
      expect(again.code).toBe(0);
    },
  );

  it("of one service come from variables of their own, and go to no other", async ({ box, work, s3 }) => {
    s3.put("k/1", "x");
    const env = {
      ...{ AWS_ACCESS_KEY_ID: "AKIDOTHER", AWS_SECRET_ACCESS_KEY: "S", AWS_EC2_METADATA_DISABLED: "true" },
      ...{ CUSTOMER_S3_ENDPOINT: `${s3.endpoint}/`, CUSTOMER_S3_BUCKET: "bucket" },
      ...{ CUSTOMER_S3_ACCESS_KEY: "AKIDCUSTOMER", CUSTOMER_S3_SECRET_KEY: "S" },
    };
    const { code } = await box.sync(["s3:///k/", ...work.into], { env });
    expect(code).toBe(0);
    expect(s3.requests.every(({ headers }) => /AKIDCUSTOMER/.test(headers.authorization ?? ""))).toBe(true);
    const elsewhere = s3.endpoint.replace("127.0.0.1", "localhost");
    const asked = s3.requests.length;
    await box.sync(["s3:///k/", "--s3-endpoint", elsewhere, ...work.into], { env });
    expect(s3.requests.length).toBeGreaterThan(asked);
    expect(s3.requests.at(-1)?.headers.authorization).toMatch(/AKIDOTHER/);
    const unnamed = await box.run(["sync", "s3:///k/", ...work.into], {
      env: { ...env, CUSTOMER_S3_BUCKET: undefined },
    });
    expect([unnamed.code, unnamed.stderr]).toEqual([2, expect.stringMatching(/names no bucket/)]);
  });

  it("that are not there are said to be missing, in one line", async ({ box, work, s3 }) => {
    const env = { ...s3.env, AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    const { code, stderr } = await box.run(["sync", "s3://bucket/k/", ...work.into], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^drover: cannot list .*: no AWS credentials .*--s3-anonymous.*\n$/);
  });

  it("are not needed for what everybody may read", async ({ box, work, s3 }) => {
    s3.put("k/1", "x");
    const { code } = await box.sync([
      "s3://bucket/k/1",
      "--s3-anonymous",
      "--s3-endpoint",
      s3.endpoint,
      ...work.into,
    ]);
    expect(code).toBe(0);
    for (const { headers } of s3.requests) expect(headers.authorization).toBeUndefined();
  });

  it.for([
    [["--s3-anonymous", "--s3-profile", "x"], /exclude each other/],
    [["--s3-endpoint", "ftp://x"], /--s3-endpoint must be an http/],
    [["--s3-region", "no such"], /--s3-region must be/],
  ] as const)("and settings that cannot be right stop it: %j", async ([args, message], { box, work }) => {
    const { code, stderr } = await box.run(["sync", "s3://bucket/k/", ...args, ...work.into]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
