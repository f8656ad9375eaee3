import { childText, parseXml, type XmlElement } from "../service/xml.js";
import { type ListedObjects, readContents } from "./contents.js";

/** What a listing says of an object. */
export interface ListedObject {
  key: string;
  sizeBytes: number;
  /** With its quotes; "" where the service gives none. */
  etag: string;
  mtimeMs: number;
  /** Absent where the service gives none. */
  storageClass?: string;
  /** The key is no UTF-8: what is here of it is good for a message only. */
  unreadable?: true;
}

/** One answer to ListObjectsV2. */
export interface ListedPage {
  objects: ListedObjects;
  /** Indices of the objects whose key is no UTF-8. */
  unreadable: Set<number>;
  /** Common prefixes, where a delimiter was asked for. */
  prefixes: string[];
  /** Token of the next page; undefined on the last one. */
  next: string | undefined;
}

/** The first `count` objects of a page, one by one. */
export function objectsOf({ objects, unreadable }: ListedPage, count: number): ListedObject[] {
  const { keys, sizesBytes, mtimesMs, etags, storageClasses } = objects;
  const all: ListedObject[] = [];
  for (let at = 0; at < count; at++) {
    const object: ListedObject = {
      key: keys[at] as string,
      sizeBytes: sizesBytes[at] as number,
      etag: etags[at] as string,
      mtimeMs: mtimesMs[at] as number,
    };
    const storageClass = storageClasses[at];
    if (storageClass) object.storageClass = storageClass;
    if (unreadable.has(at)) object.unreadable = true;
    all.push(object);
  }
  return all;
}

/**
 * Reads an answer to ListObjectsV2 strictly: whatever is missing or does not add up could be files that are not seen.
 *
 * @throws Error saying what is wrong.
 */
export function parsePage(bytes: Buffer): ListedPage {
  const plain = readContents(bytes);
  const root = parseXml(plain?.rest ?? bytes.toString());
  if (root.name !== "ListBucketResult") throw new Error(`a <${root.name}> instead of a listing`);
  const objects = plain?.objects ?? contentsOf(root);
  const encoded = childText(root, "EncodingType") === "url";
  const unreadable = new Set<number>();
  if (encoded) objects.keys = decodeAll(objects.keys, unreadable);
  const prefixes: string[] = [];
  for (const child of root.children) {
    if (child.name !== "CommonPrefixes") continue;
    const prefix = childText(child, "Prefix");
    if (prefix === undefined) throw new Error("a <CommonPrefixes> without <Prefix>");
    prefixes.push((encoded ? decode(prefix) : prefix) ?? "");
  }
  const truncated = childText(root, "IsTruncated");
  if (truncated !== "true" && truncated !== "false") throw new Error(`IsTruncated is ${truncated}`);
  const next = childText(root, "NextContinuationToken");
  if (truncated === "true" && !next) throw new Error("there is more, but no token to ask for it");
  const count = childText(root, "KeyCount");
  const found = objects.keys.length + prefixes.length;
  if (count !== undefined && Number(count) !== found)
    throw new Error(`${found} keys where ${count} are announced`);
  return { objects, unreadable, prefixes, next: truncated === "true" ? next : undefined };
}

function contentsOf(root: XmlElement): ListedObjects {
  const objects: ListedObjects = { keys: [], sizesBytes: [], mtimesMs: [], etags: [], storageClasses: [] };
  for (const child of root.children) {
    if (child.name !== "Contents") continue;
    const key = childText(child, "Key");
    if (key === undefined) throw new Error("a <Contents> without <Key>");
    const size = childText(child, "Size") ?? "";
    if (!/^\d+$/.test(size)) throw new Error("an object without a size");
    const mtimeMs = Date.parse(childText(child, "LastModified") ?? "");
    if (Number.isNaN(mtimeMs)) throw new Error("an object without a modification time");
    objects.keys.push(key);
    objects.sizesBytes.push(Number(size));
    objects.mtimesMs.push(mtimeMs);
    objects.etags.push(childText(child, "ETag") ?? "");
    objects.storageClasses.push(childText(child, "StorageClass") ?? "");
  }
  return objects;
}

/** Decodes keys all at once where that can be, since that costs a tenth. */
function decodeAll(keys: string[], unreadable: Set<number>): string[] {
  const joined = keys.join("\n");
  if (!/[%+]/.test(joined)) return keys;
  const decoded = decode(joined)?.split("\n");
  if (decoded?.length === keys.length) return decoded;
  return keys.map((key, at) => {
    const readable = decode(key);
    if (readable === undefined) unreadable.add(at);
    return readable ?? key;
  });
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    return undefined;
  }
}
