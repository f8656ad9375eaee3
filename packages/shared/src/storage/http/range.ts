import { TransferError } from "../../errors.js";
import type { VersionRef } from "../source.js";
import type { HttpAnswer } from "./client.js";

/** Drops the body of a response. */
export function discard(answer: HttpAnswer): void {
  const length = answer.headers["content-length"];
  answer.body.discard(length === undefined || answer.status === 304 ? undefined : Number(length));
}

export function changedWhileRead(): TransferError {
  return new TransferError("changed", "the file changed at the source while it was read", { verdict: "ok" });
}

/**
 * Checks that a 206 is the requested range of the opened version.
 *
 * @returns size of the whole file in bytes.
 * @throws TransferError class `protocol`, or `changed` for another version; the body is dropped.
 */
export function rangeOf(answer: HttpAnswer, version: VersionRef, startByte: number): number | undefined {
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.headers["content-range"] ?? "");
  const bad = (what: string) => {
    discard(answer);
    return new TransferError("protocol", `the server answered with ${what}`, { verdict: "ok" });
  };
  if (!range) throw bad("no usable Content-Range");
  if (Number(range[1]) !== startByte) throw bad(`the wrong range (${answer.headers["content-range"]})`);
  const total = range[3] === "*" ? version.sizeBytes : Number(range[3]);
  if (total !== version.sizeBytes || answer.headers.etag !== version.strongEtag) {
    discard(answer);
    throw changedWhileRead();
  }
  return total;
}
