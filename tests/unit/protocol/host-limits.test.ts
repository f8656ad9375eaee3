import { SettingsError } from "@drover/shared/errors";
import { parseHostLimit } from "@drover/shared/protocol/host-limits";
import { describe, expect, it } from "vitest";

describe("a host's limit", () => {
  it.for([
    ["example.com=conn:8", ["example.com:443", "example.com:80"], { files: 8 }],
    ["Example.com:8080=rps:0.5", ["example.com:8080"], { requestsPerSecond: 0.5 }],
    ["[::1]:80=bw:20MB", ["[::1]:80"], { bytesPerSecond: 20e6 }],
    ["h:1=bw:1TB", ["h:1"], { bytesPerSecond: 1e12 }],
    [
      "*=conn:16,rps:100,bw:1.5MiB/s",
      ["*"],
      { files: 16, requestsPerSecond: 100, bytesPerSecond: 1.5 * 2 ** 20 },
    ],
    ["example.com=none", ["example.com:443", "example.com:80"], {}],
  ] as const)("is read: %s", ([text, hosts, limit]) => {
    expect(parseHostLimit(text)).toEqual({ hosts, limit });
  });

  it.for([
    "",
    "=conn:1",
    "h",
    "h=",
    "h=conn",
    "h=conn:0",
    "h=conn:1.5",
    "h=rps:-1",
    "h=bw:fast",
    "h=x:1",
    "a b=conn:1",
    "http://h=conn:1",
  ])("is refused: %j", (text) => {
    expect(() => parseHostLimit(text)).toThrow(SettingsError);
  });
});
