import { TransferError } from "../../errors.js";
import { plainEtag } from "../remote/answer.js";
import { childText, parseXml, type XmlElement } from "../s3/service/xml.js";

/** The properties that are asked for. */
export const PROPFIND_BODY = Buffer.from(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/>' +
    "<getetag/><getlastmodified/></prop></propfind>",
);

/** A resource in the answer to a PROPFIND. */
export interface DavResource {
  /** Decoded segments of its path, from the root of the server. */
  segments: string[];
  isDirectory: boolean;
  sizeBytes: number;
  etag: string;
}

/**
 * Reads the answer to a PROPFIND.
 *
 * @throws TransferError class `protocol` if it is not one.
 */
export function resourcesOf(xml: string): DavResource[] {
  let root: XmlElement;
  try {
    root = parseXml(xml);
  } catch (error) {
    throw notDav((error as Error).message);
  }
  if (root.name !== "multistatus") throw notDav(`it begins with <${root.name}>`);
  return root.children.filter(({ name }) => name === "response").flatMap(resourceOf);
}

function resourceOf(response: XmlElement): DavResource[] {
  const href = childText(response, "href");
  if (href === undefined) throw notDav("a resource has no href");
  const properties = new Map<string, XmlElement>();
  for (const propstat of response.children) {
    if (propstat.name !== "propstat" || !/ 200 /.test(`${childText(propstat, "status")} `)) continue;
    for (const property of propstat.children.find(({ name }) => name === "prop")?.children ?? [])
      properties.set(property.name, property);
  }
  const isDirectory =
    properties.get("resourcetype")?.children.some(({ name }) => name === "collection") ?? false;
  const sizeBytes = Number(properties.get("getcontentlength")?.text ?? (isDirectory ? "0" : "NaN"));
  if (!Number.isSafeInteger(sizeBytes)) {
    if (properties.size === 0) return []; // it is gone, or may not be looked at
    throw notDav("a file has no length");
  }
  const modifiedMs = Date.parse(properties.get("getlastmodified")?.text ?? "");
  const etag = plainEtag(properties.get("getetag")?.text.trim() ?? "") || stampOf(sizeBytes, modifiedMs);
  return [{ segments: segmentsOf(href), isDirectory, sizeBytes, etag }];
}

/** What stands for the ETag where a server lists none. It is as nginx makes its own. */
function stampOf(sizeBytes: number, modifiedMs: number): string {
  const seconds = Number.isNaN(modifiedMs) ? 0 : Math.floor(modifiedMs / 1000);
  return `"${seconds.toString(16)}-${sizeBytes.toString(16)}"`;
}

function segmentsOf(href: string): string[] {
  const path = href.trim().replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, "");
  try {
    return path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    throw notDav(`it names a resource that is not valid UTF-8 (${path})`);
  }
}

function notDav(why: string): TransferError {
  return new TransferError("protocol", `the answer to PROPFIND is not one of WebDAV: ${why}`, {
    permanent: true,
    verdict: "ok",
  });
}
