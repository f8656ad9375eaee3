import type { FileFacts } from "../../../leave.js";
import { knownDigests } from "../../source.js";
import type { ObjectHead } from "../bucket.js";
import { digestsOf } from "../source.js";
import { readMetadata } from "./metadata.js";

/** What is known of an object: its time is that of the file that it holds, where its uploader noted it. */
export function objectFacts({ headers, sizeBytes }: Pick<ObjectHead, "headers" | "sizeBytes">): FileFacts {
  const modified = Date.parse(headers["last-modified"] ?? "");
  return {
    sizeBytes,
    mtimeMs: readMetadata(headers).mtimeMs ?? (Number.isNaN(modified) ? undefined : modified),
    ...knownDigests([...digestsOf(headers)]),
  };
}
