import { createHash, randomBytes } from "node:crypto";
import { hasPartsOf } from "@drover/shared/storage/s3/object/parts-etag";
import { expect } from "vitest";
import { it } from "../../harness/fixtures.js";

const MIB = 1 << 20;

function etagOf(bytes: Buffer, partBytes: number): string {
  const whole = createHash("md5");
  let parts = 0;
  for (let at = 0; at < bytes.length; at += partBytes, parts++)
    whole.update(
      createHash("md5")
        .update(bytes.subarray(at, at + partBytes))
        .digest(),
    );
  return `"${whole.digest("hex")}-${parts}"`;
}

it("knows the bytes of an object by the ETag of its parts", async ({ work }) => {
  const bytes = randomBytes(21 * MIB + 7);
  work.write({ file: bytes });
  const path = work.at("file");
  for (const mib of [5, 8, 15, 16, 64, 22]) // 22: a single part
    expect([
      mib,
      await hasPartsOf(path, bytes.length, `${bytes.length}:${etagOf(bytes, mib * MIB)}`),
    ]).toEqual([mib, true]);
  const other = Buffer.from(bytes);
  other[20 * MIB] = (other[20 * MIB] as number) ^ 1;
  expect(await hasPartsOf(path, bytes.length, etagOf(other, 8 * MIB))).toBe(false);
  // An MD5 of the whole, and parts of a size that nobody uses.
  expect(await hasPartsOf(path, bytes.length, `"${createHash("md5").update(bytes).digest("hex")}"`)).toBe(
    false,
  );
  expect(await hasPartsOf(path, bytes.length, etagOf(bytes, 5 * MIB + 1))).toBe(false);
});
