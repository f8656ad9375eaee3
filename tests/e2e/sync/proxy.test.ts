import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { selfSigned } from "../../harness/certificate.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { TestProxy } from "../../harness/proxy.js";
import { it } from "../../harness/s3-fixtures.js";

const PASSWORD = "let-me-through";
const once = ["--retries", "1", "--timeout", "5"];

let proxy: TestProxy;
let env: Record<string, string>;
beforeEach(async () => {
  proxy = await TestProxy.start();
  proxy.wants = `Basic ${Buffer.from(`me:${PASSWORD}`).toString("base64")}`;
  const url = proxy.url(`me:${PASSWORD}`);
  env = { HTTP_PROXY: url, HTTPS_PROXY: url };
});
afterEach(() => proxy.stop());

const named = (url: string, name = "origin.test") => url.replace("127.0.0.1", name);

describe("through the proxies of the environment", () => {
  it("sync reads http and https, with an authority of --ca-file", async ({ box, origin, work }) => {
    const certificate = await selfSigned(work.path, "DNS:origin.test");
    const secure = await FaultOrigin.start(certificate);
    const sources = [
      named(origin.route("/a", does.file("one"))),
      named(secure.route("/b", does.file("two"))),
    ];
    const args = [...sources, ...work.into, ...once];
    const failed = await box.sync(args, { env });
    expect(failed.items.find(({ source }) => source === sources[1])?.error).toMatchObject({
      class: "tls",
      message: expect.stringContaining("--ca-file"),
    });
    const { items } = await box.sync([...args, "--ca-file", certificate.certPath], { env });
    expect(items.map(({ outcome }) => outcome).sort()).toEqual(["copied", "unchanged"]);
    expect(readFileSync(work.to("b"), "utf8")).toBe("two");
    expect(origin.requests[0]?.headers["user-agent"]).toMatch(/^drover\/\d/);
    await secure.stop();
  });

  it("sync reads from and writes to S3, large objects by the AWS SDK too", async ({ box, fake, work }) => {
    fake.put("in/a.txt", "content");
    const service = ["--s3-endpoint", named(fake.endpoint, "s3.test"), "--s3-region", "us-east-1"];
    const s3 = { ...fake.env, AWS_ENDPOINT_URL_S3: "", ...env };
    const agent = ["--user-agent", "mine/1"];
    const down = await box.sync(["s3://bucket/in/", ...work.into, ...service, ...agent, ...once], {
      env: s3,
    });
    expect(down.items[0]).toMatchObject({ outcome: "copied" });
    const large = work.write({ "up/large.bin": Buffer.alloc(20 << 20, "x") });
    const up = await box.sync([large, "--to", "s3://bucket/out", ...service, ...agent, ...once], { env: s3 });
    expect(up.items[0]).toMatchObject({ outcome: "copied" });
    expect(proxy.requests.length).toBe(fake.requests.length);
    for (const { headers } of fake.requests) expect(headers["user-agent"]).toBe("mine/1");
  });

  it("the services of credentials are asked, too", async ({ box, fake, work }) => {
    fake.put("in/a.txt", "content");
    const sts = createServer((_request, answer) => {
      answer.writeHead(200, { "content-type": "text/xml" });
      answer.end(
        `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIDOFSTS</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
      );
    });
    await new Promise<void>((resolve) => sts.listen(0, "127.0.0.1", resolve));
    const { port } = sts.address() as AddressInfo;
    const down = await box.sync(["s3://bucket/in/", ...work.into, ...once], {
      env: {
        ...env,
        AWS_ENDPOINT_URL_S3: named(fake.endpoint, "s3.test"),
        AWS_ENDPOINT_URL_STS: `http://sts.test:${port}`,
        AWS_REGION: "us-east-1",
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/reader",
        AWS_WEB_IDENTITY_TOKEN_FILE: work.write({ token: "a token" }),
      },
    });
    expect(down.items).toMatchObject([{ outcome: "copied" }]);
    expect(proxy.requests.some(({ target }) => target.includes("sts.test"))).toBe(true);
    expect(fake.requests[0]?.headers.authorization).toContain("AKIDOFSTS");
    await new Promise((resolve) => sts.close(resolve));
  });

  it("fetch goes as well, and the password is nowhere", async ({ box, origin, work }) => {
    const url = named(origin.route("/a", does.file("one")));
    const fetched = await box.run(["fetch", "--source-url", url, "--destination", work.to("a")], { env });
    expect(fetched.code).toBe(0);
    proxy.wants = "something else";
    const refused = await box.run(
      ["fetch", "--source-url", url, "--destination", work.to("b"), "--max-retries", "1"],
      { env },
    );
    expect(refused.code).toBe(70);
    expect(refused.stderr).toContain(
      `the proxy ${proxy.url()} refuses (HTTP status 407): it does not accept the user and the password of its URL`,
    );
    const { stdout, stderr, items } = await box.sync([url, ...work.into, ...once, "--verbose"], { env });
    expect(items[0]?.error).toMatchObject({ class: "proxy" });
    const config = await box.run(["config", "--json"], { env });
    const said = [fetched, refused, { stdout, stderr }, config].map((each) => each.stdout + each.stderr);
    for (const text of [...said, ...box.stateFiles().map((each) => each.text)])
      expect(text).not.toContain(PASSWORD);
  });

  it("a proxy that is away opens no breaker of the host behind it", async ({ box, origin, work }) => {
    const url = named(origin.route("/a", does.file("one")));
    const gone = await TestProxy.start();
    const away = { HTTP_PROXY: gone.url() };
    await gone.stop();
    const { items } = await box.sync([url, ...work.into, ...once], { env: away });
    expect(items[0]?.error?.message).toBe(`the proxy ${away.HTTP_PROXY}: cannot connect (ECONNREFUSED)`);
    const fetch = ["fetch", "--source-url", url, "--destination", work.to("b"), "--max-retries", "1"];
    expect((await box.run(fetch, { env: away })).code).toBe(70);
    expect((await box.run(fetch, { env })).code).toBe(0);
    expect((await box.sync([url, ...work.into, ...once], { env })).items[0]?.outcome).toBe("copied");
  });

  it("a proxy that never answers delays no interrupt", async ({ box, work }) => {
    proxy.silent = true;
    const sync = box.start(["sync", "https://origin.test/a", ...work.into], { env });
    await proxy.asked();
    sync.interrupt();
    expect((await sync.result).code).toBe(130);
  });

  it("a worker of a fleet uses those of its own environment", async ({ box, fleet, origin, work }) => {
    const url = named(origin.route("/a", does.file("one")));
    fleet.env = env;
    const worker = await fleet.worker();
    const { items } = await box.sync([url, ...work.into, ...once, ...fleet.own]);
    expect(items[0]?.outcome).toBe("copied");
    expect(proxy.requests.length).toBe(1);
    expect(worker.output).not.toContain(PASSWORD);
  });
});

describe("--ca-file", () => {
  it("must be one", async ({ box, work }) => {
    const { code, stderr } = await box.run([
      "sync",
      "http://127.0.0.1:1/a",
      ...work.into,
      "--ca-file",
      "/etc/hostname",
    ]);
    expect(code).toBe(2);
    expect(stderr).toBe("drover: the CA file /etc/hostname holds no certificate in PEM format\n");
  });
});
