import type { S3Spec } from "@drover/shared/storage/s3/service/spec";
import { s3Storage } from "@drover/shared/storage/s3/storage";
import { describe, expect, test } from "vitest";

const service = (endpoint: string, profile?: string): S3Spec => ({
  endpoint,
  region: "r",
  pathStyle: false,
  anonymous: false,
  requesterPays: false,
  ...(profile === undefined ? {} : { profile }),
});
const ireland = service("https://s3.eu-west-1.amazonaws.com");

describe("an S3 destination", () => {
  test.for<[string, S3Spec | undefined, boolean]>([
    ["the same service", undefined, true],
    ["another region of AWS, where buckets have the same names", ireland, true],
    ["AWS as somebody else", service("https://s3.us-east-1.amazonaws.com", "other"), true],
    ["another service", service("http://minio:9000"), false],
  ])("is its own source at %s: %#", ([, s3Destination, expected]) => {
    const s3 = service("https://s3.us-east-1.amazonaws.com");
    const services = { s3, ...(s3Destination ? { s3Destination } : {}) };
    const { destination } = s3Storage;
    expect(destination?.isSame("s3://bucket/p/", "s3://bucket/p", services)).toBe(expected);
    expect(destination?.isShared(services)).toBe(expected);
  });

  test("is another one for somebody else at a service that may keep buckets apart", () => {
    const services = { s3: service("http://ceph"), s3Destination: service("http://ceph", "other") };
    expect(s3Storage.destination?.isSame("s3://bucket/p", "s3://bucket/p", services)).toBe(false);
  });
});
