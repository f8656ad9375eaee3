import { parseRedisUrl, showAddress } from "@drover/shared/redis/address";
import { describe, expect, test } from "vitest";

const NOBODY = { username: undefined, password: undefined };

describe("the URL of a Redis", () => {
  test.for<[string, object]>([
    ["redis://host", { kind: "single", nodes: [{ host: "host", port: 6379 }], tls: false, db: 0 }],
    ["REDIS://host:1/", { kind: "single", nodes: [{ host: "host", port: 1 }], credentials: NOBODY }],
    ["rediss://host:6380/12", { tls: true, nodes: [{ host: "host", port: 6380 }], db: 12 }],
    ["redis://[::1]:6380", { nodes: [{ host: "::1", port: 6380 }] }],
    ["redis://user:pass@host", { credentials: { username: "user", password: "pass" } }],
    ["redis://user@host", { credentials: { username: "user", password: undefined } }],
    ["redis://:p%40%2F%3A%25@host", { credentials: { username: undefined, password: "p@/:%" } }],
    ["redis://user:a:b@c@host", { credentials: { username: "user", password: "a:b@c" } }],
    [
      "redis+sentinel://u:p@a,b:1,[::1]/my%20master",
      {
        kind: "sentinel",
        nodes: [
          { host: "a", port: 26_379 },
          { host: "b", port: 1 },
          { host: "::1", port: 26_379 },
        ],
        tls: false,
        db: 0,
        master: "my master",
        credentials: { username: "u", password: "p" },
        sentinelCredentials: NOBODY,
      },
    ],
    [
      "rediss+sentinel://a/m/3?sentinel-user=u&sentinel-password=p+%26",
      { tls: true, db: 3, sentinelCredentials: { username: "u", password: "p+&" } },
    ],
    [
      "redis+cluster://u:p@a:1,b",
      {
        kind: "cluster",
        nodes: [
          { host: "a", port: 1 },
          { host: "b", port: 6379 },
        ],
        tls: false,
        credentials: { username: "u", password: "p" },
      },
    ],
    ["rediss+cluster://a/", { kind: "cluster", tls: true }],
  ])("%s is parsed", ([url, target]) => {
    expect(parseRedisUrl(url)).toMatchObject(target);
  });

  test.for([
    "",
    "CANARY",
    "host:6379",
    "http://CANARY@host",
    "redis:host",
    "redis://",
    "redis://:CANARY@",
    "redis://host:0",
    "redis://host:65536",
    "redis://host:port",
    "redis://CANARY:CANARY/CANARY@host",
    "redis://user:CANARY?x@host",
    "redis://user:CANARY#x@host",
    "redis://user:CANARY%zz@host",
    "redis://a,b",
    "redis://host/name",
    "redis://host/0/1",
    "redis://host?password=CANARY",
    "redis://::1",
    "redis+sentinel://host",
    "redis+sentinel://host/",
    "redis+sentinel://host/m/x",
    "redis+sentinel://host/m/0/1",
    "redis+sentinel://host/m?password=CANARY",
    "redis+sentinel:///m",
    "redis+sentinel://a,,b/m",
    "redis+cluster://host/1",
    "redis+cluster://host?tls=1",
    "redis+other://host",
    "redis+cluster+sentinel://host",
  ])("is refused as %j, without repeating any of it", (url) => {
    expect(() => parseRedisUrl(url)).toThrow(/redis|a URL/);
    expect(() => parseRedisUrl(url)).not.toThrow(/CANARY/);
  });

  test("is shown without its passwords", () => {
    const url = "rediss+sentinel://user:CANARY@a:1,b:2/m?sentinel-user=u&sentinel-password=CANARY";
    expect(showAddress({ url })).toBe(
      "rediss+sentinel://***@a:1,b:2/m?sentinel-user=u&sentinel-password=***",
    );
    expect(showAddress({ socketPath: "/run/r.sock" })).toBe("/run/r.sock");
  });
});
