import { HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hashOf } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";

const BODY = "the whole file";

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

const { signal } = new AbortController();

/** Opens a file, and then its rest with the given response. */
async function openRest(answer: ReturnType<typeof does.file>) {
  const source = new HttpSource(client, origin.route("/file", does.file(BODY)), {});
  const opened = await source.open("", signal);
  if (opened.is === "body") while (await opened.body.read());
  origin.route("/file", answer);
  return await source.openRange(opened.entry, { startByte: 4 }, signal);
}

describe("the rest of a file", () => {
  const base64 = (algorithm: string, body: string) => hashOf(algorithm, body).toString("base64");
  test.for<[Record<string, string>, string | undefined]>([
    [{ "content-md5": base64("md5", BODY.slice(4)) }, undefined],
    [{ "content-digest": `sha-256=:${base64("sha256", BODY.slice(4))}:` }, undefined],
    [{ "repr-digest": `sha-256=:${base64("sha256", BODY)}:` }, "repr-digest"],
    [{ digest: `sha-256=${base64("sha256", BODY)}` }, "digest"],
  ])("has a digest of the whole file or none: %j", async ([headers, by]) => {
    const { entry } = await openRest(does.file(BODY, { headers }));
    expect(entry.digest?.by).toBe(by);
  });

  test("is refused if it is encoded in transit", async () => {
    const head = [
      "HTTP/1.1 206 Partial Content",
      `ETag: ${does.etagOf(BODY)}`,
      `Content-Range: bytes 4-${BODY.length - 1}/${BODY.length}`,
      "Transfer-Encoding: gzip, chunked",
    ];
    const answer = Buffer.from(`${head.join("\r\n")}\r\n\r\n0\r\n\r\n`);
    await expect(openRest(does.garbage(answer))).rejects.toMatchObject({
      class: "encoding",
      permanent: true,
    });
  });
});
