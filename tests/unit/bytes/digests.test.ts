import { HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hashOf } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";

const BODY = "the file";
const digest = (algorithm: string) => hashOf(algorithm, BODY).toString("base64");
const SHA256 = digest("sha256");
const SHA512 = digest("sha512");
const MD5 = digest("md5");

let origin: FaultOrigin;
let client: HttpClient;
beforeAll(async () => {
  origin = await FaultOrigin.start();
  client = new HttpClient({ timeoutMs: 5_000, connections: 4 });
});
afterAll(async () => {
  await client.close();
  await origin.stop();
});

async function digestOf(headers: Record<string, string>) {
  const url = origin.route("/file", does.file(BODY, { headers }));
  const opened = await new HttpSource(client, url, {}).open("", new AbortController().signal);
  if (opened.is === "body") while (await opened.body.read());
  return opened.entry.digest;
}

describe("the digest that a source declares for a file", () => {
  test.for<[Record<string, string>, [string, string, string] | undefined]>([
    [{ "repr-digest": `sha-256=:${SHA256}:` }, ["repr-digest", "sha256", SHA256]],
    [{ "repr-digest": `sha-512=:${SHA512}:` }, ["repr-digest", "sha512", SHA512]],
    [{ "repr-digest": `sha-512=:${SHA512}:, sha-256=:${SHA256}:` }, ["repr-digest", "sha256", SHA256]],
    [{ "repr-digest": `md5=:${MD5}:,sha-256=:${SHA256}:` }, ["repr-digest", "sha256", SHA256]],
    [{ "repr-digest": `SHA-256=:${SHA256}:` }, ["repr-digest", "sha256", SHA256]],
    [{ "content-digest": `sha-256=:${SHA256}:` }, ["content-digest", "sha256", SHA256]],
    [
      { "repr-digest": `sha-256=:${SHA256}:`, "content-digest": `sha-512=:${SHA512}:` },
      ["repr-digest", "sha256", SHA256],
    ],
    [{ digest: `SHA-256=${SHA256}` }, ["digest", "sha256", SHA256]],
    [{ digest: `sha-256=${SHA256},md5=${MD5}` }, ["digest", "sha256", SHA256]],
    [{ digest: `MD5=${MD5}` }, ["digest", "md5", MD5]],
    [{ digest: `unixsum=30637, SHA-512=${SHA512}` }, ["digest", "sha512", SHA512]],
    [{ "content-md5": MD5 }, ["content-md5", "md5", MD5]],
    [{ "content-md5": MD5, digest: `sha-256=${SHA256}` }, ["digest", "sha256", SHA256]],
    // Unknown algorithms count as absent: no file is refused because of an unknown header.
    [{}, undefined],
    [{ "repr-digest": "" }, undefined],
    [{ "repr-digest": `sha-256=${SHA256}` }, undefined],
    [{ "repr-digest": `unixsum=:AAAA:` }, undefined],
    [{ "repr-digest": `not-sha-256=:${SHA256}:` }, undefined],
    [{ digest: `id-sha-256=${SHA256}` }, undefined],
    [{ "content-md5": "nonsense" }, undefined],
    [{ etag: `"${hashOf("md5", BODY).toString("hex")}"` }, undefined],
  ])("is read from the headers %j", async ([headers, expected]) => {
    const found = await digestOf(headers);
    expect(found && [found.by, found.algorithm, found.base64]).toEqual(expected);
  });
});
