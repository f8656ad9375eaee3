import { createHash } from "node:crypto";
import { TransferError } from "@drover/shared/errors";
import type { SourceDigest, SourceEntry } from "@drover/shared/storage/source";
import {
  decodeResumeRecord,
  encodeResumeRecord,
  type ResumeRecord,
} from "@drover/worker/attempt/resume-record";
import { verify } from "@drover/worker/bytes/verify";
import { describe, expect, test } from "vitest";

const hex = (algorithm: string) => createHash(algorithm).update("file").digest("hex");
const SHA = hex("sha256");
const OTHER = "0".repeat(64);

function entry(over: Partial<SourceEntry> = {}): SourceEntry {
  return {
    sizeBytes: 4,
    version: "",
    strongEtag: "",
    mtimeMs: undefined,
    framed: true,
    ranges: false,
    encoding: "",
    digest: undefined,
    ...over,
  };
}

function given(
  by: SourceDigest["by"],
  algorithm: SourceDigest["algorithm"],
  right = true,
): Partial<SourceEntry> {
  const base64 = right
    ? createHash(algorithm).update("file").digest("base64")
    : Buffer.alloc(20).toString("base64");
  return { digest: { by, algorithm, base64 } };
}

describe("the verification of a staged file", () => {
  test.for<[string, Partial<SourceEntry>, string | undefined, string]>([
    ["the person's checksum", given("digest", "md5"), SHA, "sha256"],
    ["the person's checksum alone", { framed: false }, SHA, "sha256"],
    ["Repr-Digest", given("repr-digest", "sha256"), undefined, "repr-digest"],
    ["Content-Digest", given("content-digest", "sha512"), undefined, "content-digest"],
    ["Digest", given("digest", "sha256"), undefined, "digest"],
    ["Content-MD5", given("content-md5", "md5"), undefined, "content-md5"],
    ["its length or its chunks", {}, undefined, "length"],
    ["nothing: the connection just ended", { framed: false }, undefined, "unverified"],
  ])("reports the strongest check that it passed: %s", ([, over, expected, by]) => {
    const source = entry(over);
    const evidence = { sizeBytes: 4, sha256: SHA, sourceDigest: hex(source.digest?.algorithm ?? "sha256") };
    expect(verify(evidence, source, 4, expected)).toBe(by);
  });

  test.for<[string, Partial<SourceEntry>, number, string | undefined, string]>([
    ["too short", {}, 5, undefined, "truncated"],
    ["too long", {}, 3, undefined, "truncated"],
    ["too short, though the checksum is right", {}, 5, SHA, "truncated"],
    ["not what the person's checksum says", {}, 4, OTHER, "checksum"],
    [
      "not what the person's checksum says, though the server's is right",
      given("digest", "md5"),
      4,
      OTHER,
      "checksum",
    ],
    ["not what the server's digest says", given("repr-digest", "sha256", false), 4, undefined, "checksum"],
    [
      "not what the server's digest says, though the person's is right",
      given("content-md5", "md5", false),
      4,
      SHA,
      "checksum",
    ],
  ])("refuses a file that is %s", ([, over, length, expected, cls]) => {
    const source = entry(over);
    const evidence = { sizeBytes: 4, sha256: SHA, sourceDigest: hex(source.digest?.algorithm ?? "sha256") };
    const refused = () => verify(evidence, source, length, expected);
    expect(refused).toThrow(TransferError);
    expect(refused).toThrow(expect.objectContaining({ class: cls, permanent: false }));
  });

  test("refuses a file whose declared digest was not computed", () => {
    const evidence = { sizeBytes: 4, sha256: SHA, sourceDigest: undefined };
    expect(() => verify(evidence, entry(given("digest", "md5")), 4, undefined)).toThrow(TransferError);
  });

  test("accepts a file of unknown length", () => {
    const evidence = { sizeBytes: 4, sha256: SHA, sourceDigest: undefined };
    expect(verify(evidence, entry({ sizeBytes: undefined }), undefined, undefined)).toBe("length");
  });
});

describe("a resume record", () => {
  const record: ResumeRecord = {
    fence: "1763600000000000",
    version: 'e"ä"',
    strongEtag: '"ä"',
    sizeBytes: 2 ** 40,
    contiguousBytes: 2 ** 33,
    spans: [{ startByte: 2 ** 34, endByte: 2 ** 35 }],
    mismatches: 1,
    oneStream: false,
    receivedBytes: 2 ** 33,
  };

  test("is decoded as it was encoded", () => {
    const upload = { id: "u", metadata: "m" };
    for (const oneStream of [false, true]) {
      for (const each of [
        { ...record, oneStream },
        { ...record, oneStream, upload },
      ])
        expect(decodeResumeRecord(encodeResumeRecord(each))).toEqual(each);
    }
    expect(
      decodeResumeRecord(encodeResumeRecord({ ...record, sizeBytes: undefined }))?.sizeBytes,
    ).toBeUndefined();
    expect(decodeResumeRecord("")).toBeUndefined();
  });

  test("from before the last boot trusts no bytes but keeps the count of mismatches", () => {
    const fields = JSON.parse(encodeResumeRecord(record)) as unknown[];
    const note = JSON.stringify(fields.with(7, "another boot"));
    expect(decodeResumeRecord(note)).toMatchObject({
      fence: record.fence,
      contiguousBytes: 0,
      spans: [],
      mismatches: 1,
    });
  });
});
