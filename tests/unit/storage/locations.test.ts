import { SettingsError } from "@drover/shared/errors";
import { parseLocation } from "@drover/shared/storage/registry";
import { describe, expect, test } from "vitest";

describe("a source", () => {
  test.for<[string, string]>([
    ["http://Host/a b", "http://host/a%20b"],
    ["HTTPS://host:443/x#part", "https://host/x"],
    ["http://host", "http://host/"],
    ["http://host/a%2Fb?x=1&y", "http://host/a%2Fb?x=1&y"],
    ["http://127.1/x", "http://127.0.0.1/x"],
    ["a/b.csv", "/base/a/b.csv"],
    ["./a/../b", "/base/b"],
    ["/abs/x", "/abs/x"],
    ["file:///abs/a%20b", "/abs/a b"],
    ["C:thing", "/base/C:thing"],
    ["./s3:/there", "/base/s3:/there"],
    ["./http:/there", "/base/http:/there"],
    ["100%", "/base/100%"],
  ])("%s is %s", ([text, expected]) => {
    expect(parseLocation(text, { directory: "/base" }).text).toBe(expected);
  });

  test.for([
    "",
    "ftp://host/x",
    "s3://",
    "s3://b",
    "s3:///key",
    "s3:/bucket/key",
    "s3://buck et/key",
    "s3://arn:aws:s3:eu-west-1:1:accesspoint/x",
    "s3://bucket/%ff",
    "http://",
    "http://[::1",
    "file://host/x",
    "file:///a%2Fb",
  ])("%j is refused", (text) => {
    expect(() => parseLocation(text, { directory: "/base" })).toThrow(SettingsError);
  });

  test.for([
    "ftp://user:CANARY@host/x",
    "s3://key:CANARY@bucket/x",
    "s3:/key:CANARY@bucket/x",
    "http:/user:CANARY@host/x",
    "HTTPS:/user:CANARY@host/x",
    "http://user:CANARY@[bad/x",
    "http://u:CANARY@host:99999/x?token=CANARY",
  ])("%s is refused without showing its secret", (text) => {
    const refused = () => parseLocation(text, { directory: "/base" });
    expect(refused).toThrow(SettingsError);
    expect(refused).not.toThrow(/CANARY/);
  });
});

describe("the file name of a source", () => {
  test.for<[string, string, string]>([
    ["http://host/a/b.csv", "b.csv", "host/a/b.csv"],
    ["http://host/a/b.csv?x=1#y", "b.csv", "host/a/b.csv"],
    ["http://host", "index", "host/index"],
    ["http://host/a/", "index", "host/a/index"],
    ["http://host:8080/a", "a", "host:8080/a"],
    ["https://host:443/a", "a", "host/a"],
    ["http://host/a%20b", "a b", "host/a b"],
    ["http://host/a+b", "a+b", "host/a+b"],
    ["http://host/100%25", "100%", "host/100%"],
    ["http://host/%252B", "%2B", "host/%2B"],
    ["http://host/%C3%BC", "ü", "host/ü"],
    ["http://host/%ff", "%ff", "host/%ff"],
    ["http://host/文件", "文件", "host/文件"],
    ["http://host/a//b", "b", "host/a//b"],
    ["/data/x/y.csv", "y.csv", "y.csv"],
    ["file:///data/%25.csv", "%.csv", "%.csv"],
  ])("%s is %s or %s", ([text, byName, byUrl]) => {
    const source = parseLocation(text, { directory: "/" });
    expect(source.storage.fileName(source.text, "name")).toBe(byName);
    expect(source.storage.fileName(source.text, "url")).toBe(byUrl);
  });

  test.for<[string, string]>([
    // Decoded once and not checked here: safeRelative refuses the result.
    ["http://host/..%2f..%2fx", "../../x"],
    ["http://host/%2fetc%2fx", "/etc/x"],
    ["http://host/nul%00", "nul\0"],
  ])("%s is %j, which safeRelative checks", ([text, expected]) => {
    const source = parseLocation(text, { directory: "/" });
    expect(source.storage.fileName(source.text, "name")).toBe(expected);
  });
});
