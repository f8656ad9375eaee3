import { createHash, createHmac } from "node:crypto";
import { encodeKey, encodeQuery, Signer, UNSIGNED } from "@drover/shared/storage/s3/service/sigv4";
import { extendedEncodeURIComponent } from "@smithy/core/protocols";
import { SignatureV4 } from "@smithy/signature-v4";
import { describe, expect, test } from "vitest";
import { Rng } from "../../chaos/rng.js";

/** The hash that the AWS SDK's signer wants: SHA-256, or HMAC where it is given a key. */
class Sha256 {
  readonly #hash: { update(data: Uint8Array): unknown; digest(): Buffer };

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    const key = typeof secret === "string" ? secret : secret && new Uint8Array(secret as ArrayBuffer);
    this.#hash = key === undefined ? createHash("sha256") : createHmac("sha256", key);
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {}
}

const CHARACTERS = [
  ..."aZ09-_.~ !\"#$%&'()*+,/:;<=>?@[\\]^`{|}\n\t\u0001\u007f\u00e9\u00fc\u20ac\u0301",
  "\u{1f411}",
  "//",
  "/./",
  "/../",
  "%2B",
  "%",
  "  ",
];
const PRINTABLE = CHARACTERS.filter((text) => /^[ -~\t]+$/.test(text));
/** The SDK signs these, too. It signs neither Date nor what proxies may change. */
const HEADERS = ["range", "content-md5", "content-type", "if-match", "x-amz-copy-source", "x-amz-acl"];

/** A request with a key, parameters and headers that could be taken for something else. */
function drawRequest(rng: Rng) {
  const text = (most: number, from = CHARACTERS) =>
    Array.from({ length: rng.int(0, most) }, () => rng.pick(from)).join("");
  const names = [
    ...HEADERS,
    `x-amz-meta-${rng.int(0, 99)}`,
    `x-amz-meta-a${rng.pick(["", "-b", "_b", ".b"])}`,
  ];
  const headers: Record<string, string> = { host: `${rng.pick(["bucket.", ""])}s3.test:${rng.int(1, 9)}` };
  for (const name of rng.some(names, 0.4)) headers[name] = text(12, PRINTABLE);
  const query: Record<string, string> = {};
  for (const name of rng.some(
    ["uploads", "uploadId", "prefix", "partNumber", "Prefix", "a b", "a", "a-b"],
    0.4,
  ))
    query[name] = text(12);
  if (rng.chance(0.1)) query[text(6)] = text(6);
  const bodyHash = rng.pick([undefined, UNSIGNED, createHash("sha256").update(text(20)).digest("hex")]);
  return {
    identity: {
      accessKeyId: `AKID${rng.next()}`,
      secretAccessKey: text(40, PRINTABLE),
      ...(rng.chance(0.5) ? { sessionToken: `${text(60, PRINTABLE).trim()}=` } : {}),
    },
    region: rng.pick(["us-east-1", "eu-central-1", "cn-north-1", "default", "x"]),
    now: new Date(rng.int(0, 4_102_444_800) * 1000 + rng.int(0, 999)),
    method: rng.pick(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    key: text(20),
    query,
    headers,
    bodyHash,
  };
}

describe("a signature of ours", () => {
  test.for(Array.from({ length: 8 }, (_, seed) => seed))(
    "is that of the AWS SDK for 500 drawn requests (seed %i)",
    async (seed) => {
      const rng = new Rng("sigv4", seed);
      for (let round = 0; round < 500; round++) {
        const { identity, region, now, method, key, query, headers, bodyHash } = drawRequest(rng);
        const ours = new Signer(region).sign(
          identity,
          {
            method,
            path: `/${encodeKey(key)}`,
            query: encodeQuery(query),
            headers,
            ...(bodyHash === undefined ? {} : { bodyHash }),
          },
          now,
        );
        const sdk = new SignatureV4({
          service: "s3",
          region,
          credentials: identity,
          sha256: Sha256,
          uriEscapePath: false,
        });
        const theirs = await sdk.sign(
          {
            method,
            protocol: "https:",
            hostname: "s3.test",
            path: `/${key.split("/").map(extendedEncodeURIComponent).join("/")}`,
            query,
            headers: { ...headers, ...(bodyHash === undefined ? {} : { "x-amz-content-sha256": bodyHash }) },
          },
          { signingDate: now },
        );
        expect({ ...headers, ...ours }, `seed ${seed}, round ${round}`).toEqual(theirs.headers);
      }
    },
  );
});
