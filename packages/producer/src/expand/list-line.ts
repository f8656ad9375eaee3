import { TransferError } from "@drover/shared/errors";
import type { Permissions } from "@drover/shared/permissions";

/** A source as a list names it. */
export interface ListedSource {
  /** URL, `s3://` or path, as written. */
  source: string;
  /** Name at the destination; undefined for the default. */
  destination: string | undefined;
  /** Expected SHA-256 in lower case. */
  sha256: string | undefined;
  /** What is asked of the copy. Default: nothing. */
  asks?: Asked;
}

/** What is asked of the copy of one file. */
export interface Asked {
  /** Its permissions. Default: those of the source, where it has any. */
  permissions?: Permissions | undefined;
  /** Where the file was before a rename: its source then, and its name at the destination. */
  from?: { source: string; destination: string } | undefined;
}

/** A line of `sha256sum`; the backslash says that the name is escaped, the star that the file was read as binary. */
const SUM_LINE = /^(\\?)([0-9a-f]{64}) [ *](.+)$/is;

/**
 * Parses one line of a list without a header: `source [TAB destination [TAB sha256]]`, or a line of `sha256sum`.
 *
 * @param text without blanks at its start.
 * @param baseUrl URL that names of `sha256sum` are below; without it they are paths.
 * @throws TransferError, permanent, for a line that means nothing.
 */
export function parseLine(text: string, baseUrl: string | undefined): ListedSource {
  const sum = SUM_LINE.exec(text);
  if (sum) {
    const [, escaped, sha256 = "", name = ""] = sum;
    return summedFile(escaped === "" ? name : unescaped(name), sha256.toLowerCase(), baseUrl);
  }
  const [source = "", destination = "", sha256 = ""] = text.split("\t");
  if (/^(sha256:.*|[0-9a-f]{64})$/i.test(destination))
    throw refusal(
      "column 2 is the destination, and this one looks like a SHA-256: put that in column 3, behind an empty column 2 " +
        "(a file of such a name is ./NAME)",
    );
  return listedSource(source, destination, sha256);
}

/**
 * @param destination "" for the default; a `./` at its start means nothing.
 * @param sha256 64 hexadecimal digits, with or without `sha256:` before them, or "".
 * @throws TransferError class `checksum` for another checksum.
 */
export function listedSource(source: string, destination: string, sha256: string): ListedSource {
  const digest = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(sha256)?.[1];
  if (sha256 !== "" && digest === undefined)
    throw new TransferError("checksum", "its checksum is no SHA-256 (64 hexadecimal digits)", {
      permanent: true,
    });
  return {
    source,
    destination: destination === "" ? undefined : withoutDot(destination),
    sha256: digest?.toLowerCase(),
  };
}

/** An item of a list that means nothing. */
export function refusal(why: string): TransferError {
  return new TransferError("unsupported", why, { permanent: true });
}

/** The file is written by its relative name; one with another name by its last component, as any other path. */
function summedFile(name: string, sha256: string, baseUrl: string | undefined): ListedSource {
  const path = withoutDot(name);
  if (baseUrl !== undefined) return { source: urlBelow(baseUrl, path), destination: path, sha256 };
  const isBelow = !path.startsWith("/") && !path.includes("://") && !path.split("/").includes("..");
  return { source: name, destination: isBelow ? path : undefined, sha256 };
}

/** @throws TransferError for a name that would lead elsewhere. */
function urlBelow(baseUrl: string, path: string): string {
  if (path.startsWith("/") || path.split("/").some((component) => /^\.{1,2}$/.test(component)))
    throw new TransferError("path", `${JSON.stringify(path)} is not below --base-url`, { permanent: true });
  const url = new URL(baseUrl);
  url.pathname = url.pathname.replace(/\/?$/, `/${path.split("/").map(encodeURIComponent).join("/")}`);
  return url.href;
}

function withoutDot(name: string): string {
  return name.replace(/^(\.\/+)+(?=.)/s, "");
}

/** @throws TransferError for what `sha256sum` does not write. */
function unescaped(name: string): string {
  return name.replace(/\\(.?)/gs, (_, character: string) => {
    const meant = { n: "\n", r: "\r", "\\": "\\" }[character];
    if (meant === undefined) throw refusal(`\\${character} is no escape of sha256sum`);
    return meant;
  });
}
