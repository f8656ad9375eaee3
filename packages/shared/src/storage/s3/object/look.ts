import { TransferError } from "../../../errors.js";
import type { Access, Grant } from "../../../permissions.js";
import type { Headers, HttpAnswer } from "../../http/client.js";
import { changedWhileRead } from "../../http/range.js";
import { readXml, unintelligible } from "../service/answer.js";
import type { S3Client } from "../service/client.js";
import { childText, type XmlElement } from "../service/xml.js";
import type { S3Name } from "./name.js";

/**
 * Asks for size, version and metadata of an object. An answer to HEAD has no body, so that a 404 does not tell what is missing:
 * a GET asks for that.
 *
 * @throws NoSuchObjectError if there is none, TransferError.
 */
export async function headObject(
  client: S3Client,
  { bucket, key }: S3Name,
  headers: Headers,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  try {
    const answer = await client.request({ method: "HEAD", bucket, key, headers }, signal);
    answer.body.discard(0);
    return answer;
  } catch (error) {
    if (!(error instanceof TransferError) || error.class !== "not-found") throw error;
    const found = await client.get(bucket, key, {}, { range: "bytes=0-0" }, signal);
    found.body.abort(error);
    throw changedWhileRead(); // it came into being meanwhile
  }
}

/** Reads the access list of an object. @throws TransferError */
export async function accessOf(
  client: S3Client,
  { bucket, key }: S3Name,
  signal: AbortSignal,
): Promise<Access> {
  const answer = await client.get(bucket, key, { acl: "" }, {}, signal);
  const xml = await readXml(answer, bucket);
  if (xml?.name !== "AccessControlPolicy") throw unintelligible("it is no access list");
  const owner = xml.children.find(({ name }) => name === "Owner");
  const list = xml.children.find(({ name }) => name === "AccessControlList");
  const id = owner && childText(owner, "ID");
  return { ...(id ? { owner: id } : {}), grants: (list?.children ?? []).map(grantOf) };
}

function grantOf(grant: XmlElement): Grant {
  const grantee = grant.children.find(({ name }) => name === "Grantee");
  const names = ["ID", "URI", "EmailAddress"].map((name) => grantee && childText(grantee, name));
  return { grantee: names.find(Boolean) ?? "", permission: childText(grant, "Permission") ?? "" };
}
