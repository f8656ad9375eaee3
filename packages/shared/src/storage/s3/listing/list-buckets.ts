import { HttpClient } from "../../http/client.js";
import { readXml, unintelligible } from "../service/answer.js";
import { S3Client } from "../service/client.js";
import { credentialsOf } from "../service/credentials.js";
import type { S3Spec } from "../service/spec.js";
import { childText } from "../service/xml.js";

/** A bucket of a service. */
export interface Bucket {
  name: string;
  /** When it was made (Unix ms); undefined where the service does not tell. */
  createdMs: number | undefined;
}

/**
 * Yields the buckets that the credentials may list, in the order of their names, page by page.
 *
 * @param timeoutMs per page.
 * @throws TransferError if they cannot be listed completely.
 */
export async function* listBuckets(
  service: S3Spec,
  timeoutMs: number,
  outer: AbortSignal,
): AsyncGenerator<Bucket> {
  const http = new HttpClient({ timeoutMs, connections: 1, userAgent: undefined });
  const client = new S3Client(http, service, credentialsOf(service));
  try {
    for (let token: string | undefined; ; ) {
      const signal = AbortSignal.any([outer, AbortSignal.timeout(timeoutMs)]);
      const query: Record<string, string> = token === undefined ? {} : { "continuation-token": token };
      const answer = await client.service(query, signal);
      const xml = await readXml(answer, "");
      if (xml?.name !== "ListAllMyBucketsResult") throw unintelligible("it is no list of buckets");
      const list = xml.children.find(({ name }) => name === "Buckets")?.children ?? [];
      for (const bucket of list) {
        const name = childText(bucket, "Name");
        if (name === undefined) throw unintelligible("a bucket has no name");
        const createdMs = Date.parse(childText(bucket, "CreationDate") ?? "");
        yield { name, createdMs: Number.isNaN(createdMs) ? undefined : createdMs };
      }
      const next = childText(xml, "ContinuationToken");
      if (!next) return;
      if (next === token) throw unintelligible("the list of buckets does not end");
      token = next;
    }
  } finally {
    await http.close();
  }
}
