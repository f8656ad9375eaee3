import { childText, parseXml, type XmlElement } from "@drover/shared/storage/s3/xml";

/** What a listing says of an object. */
export interface ListedObject {
  key: string;
  sizeBytes: number;
  /** With its quotes; "" where the service gives none. */
  etag: string;
  mtimeMs: number;
  /** The key is no UTF-8: what is here of it is good for a message only. */
  unreadable?: true;
}

/** One answer to ListObjectsV2. */
export interface ListedPage {
  objects: ListedObject[];
  /** Common prefixes, where a delimiter was asked for. */
  prefixes: string[];
  /** Token of the next page; undefined on the last one. */
  next: string | undefined;
}

/**
 * Reads an answer to ListObjectsV2 strictly: whatever is missing or does not add up could be files that are not seen.
 *
 * @throws Error saying what is wrong.
 */
export function parsePage(xml: string): ListedPage {
  const root = parseXml(xml);
  if (root.name !== "ListBucketResult") throw new Error(`a <${root.name}> instead of a listing`);
  const encoded = childText(root, "EncodingType") === "url";
  const text = (element: XmlElement, name: string) => {
    const found = childText(element, name);
    if (found === undefined) throw new Error(`a <${element.name}> without <${name}>`);
    return found;
  };
  const name = (element: XmlElement, tag: string) =>
    encoded ? decode(text(element, tag)) : text(element, tag);
  const objects: ListedObject[] = [];
  const prefixes: string[] = [];
  for (const child of root.children) {
    if (child.name === "CommonPrefixes") prefixes.push(name(child, "Prefix") ?? "");
    if (child.name !== "Contents") continue;
    const size = text(child, "Size");
    const mtimeMs = Date.parse(text(child, "LastModified"));
    if (!/^\d+$/.test(size)) throw new Error("an object without a size");
    if (Number.isNaN(mtimeMs)) throw new Error("an object without a modification time");
    const key = name(child, "Key");
    objects.push({
      key: key ?? text(child, "Key"),
      sizeBytes: Number(size),
      etag: childText(child, "ETag") ?? "",
      mtimeMs,
      ...(key === undefined ? { unreadable: true } : {}),
    });
  }
  const truncated = text(root, "IsTruncated");
  if (truncated !== "true" && truncated !== "false") throw new Error(`IsTruncated is ${truncated}`);
  const next = childText(root, "NextContinuationToken");
  if (truncated === "true" && !next) throw new Error("there is more, but no token to ask for it");
  const count = childText(root, "KeyCount");
  if (count !== undefined && Number(count) !== objects.length + prefixes.length)
    throw new Error(`${objects.length + prefixes.length} keys where ${count} are announced`);
  return { objects, prefixes, next: truncated === "true" ? next : undefined };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    return undefined;
  }
}
