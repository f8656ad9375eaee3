import { messageOf, TransferError } from "../../../errors.js";
import type { HttpAnswer } from "../../http/client.js";
import { s3CodeError } from "./errors.js";
import { childText, parseXml, type XmlElement } from "./xml.js";

/** An answer that is read whole may be this large: a page of 1,000 uploads or parts is far smaller. */
const MAX_ANSWER_BYTES = 8 << 20;

/**
 * Reads an answer that is XML to its end. S3 may begin an answer with status 200 and report an error in its body, so
 * the body decides.
 *
 * @returns its root element; undefined if the condition that the request was sent under does not hold (status 412).
 * @throws TransferError for an error in the body, and of class `protocol` for a body that is no complete XML or too
 *   long.
 */
export async function readXml(answer: HttpAnswer, bucket: string): Promise<XmlElement | undefined> {
  const { status, headers, body } = answer;
  if (status === 412) {
    body.discard(0);
    return undefined;
  }
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for (let read = await body.read(); read; read = await body.read()) {
    chunks.push(...read);
    for (const chunk of read) sizeBytes += chunk.length;
    if (sizeBytes <= MAX_ANSWER_BYTES) continue;
    body.abort(new Error("too long"));
    throw unintelligible("it is too long");
  }
  let root: XmlElement;
  try {
    root = parseXml(Buffer.concat(chunks).toString());
  } catch (error) {
    throw unintelligible(messageOf(error));
  }
  if (root.name !== "Error") return root;
  const code = childText(root, "Code") ?? "";
  if (code === "PreconditionFailed") return undefined;
  throw s3CodeError(code, headers, bucket);
}

/** The error for an answer that says success and makes no sense. */
export function unintelligible(why: string): TransferError {
  return new TransferError("protocol", `an answer of S3 cannot be understood: ${why}`, { verdict: "fail" });
}
