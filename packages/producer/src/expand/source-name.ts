import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import { baseName, parseS3, type S3Name, s3Text } from "@drover/shared/storage/s3/name";

/** A source as it was written, understood. */
export type SourceName = { is: "url"; url: string } | { is: "path"; path: string } | ({ is: "s3" } & S3Name);

/** @throws SettingsError for `s3:/bucket`, which would be a directory called `s3:`; never showing what it holds. */
export function refuseOneSlash(text: string): void {
  const scheme = /^(s3|https?):\/(?!\/)/i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return;
  const example = scheme === "s3" ? "bucket/key" : "host/path";
  throw new SettingsError(
    `${scheme}:/ has one slash too few: write ${scheme}://${example}, or ./${scheme}:/… for a path`,
  );
}

/**
 * Understands one source.
 *
 * @param directory what a relative path is relative to.
 * @throws SettingsError for an invalid URL or a scheme that Drover does not read.
 */
export function parseSource(text: string, directory: string): SourceName {
  if (text === "") throw new SettingsError("an empty source: name a URL, a file or a directory");
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  refuseOneSlash(text);
  if (scheme === undefined) return { is: "path", path: resolve(directory, text) };
  if (scheme === "file") {
    try {
      return { is: "path", path: fileURLToPath(text) };
    } catch {
      throw new SettingsError(`invalid file URL ${text}: write file:///absolute/path`);
    }
  }
  if (scheme === "s3") return { is: "s3", ...parseS3(text) };
  if (scheme !== "http" && scheme !== "https") {
    throw new SettingsError(
      `unsupported scheme ${scheme}:// in ${redactUrl(text)}: use http, https, s3, file or a path`,
    );
  }
  try {
    const url = new URL(text);
    url.hash = "";
    return { is: "url", url: url.href };
  } catch {
    throw new SettingsError(`invalid URL ${redactUrl(text)}`);
  }
}

/** A source as one string: the URL, `s3://bucket/key`, or the absolute path. */
export function sourceText(source: SourceName): string {
  if (source.is === "s3") return s3Text(source);
  return source.is === "url" ? source.url : source.path;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // not percent-encoding after all
  }
}

/**
 * Destination of a single source, relative to the root. It is checked by whoever uses it: what was decoded here may
 * hold anything.
 *
 * @param layout `name`: the decoded last segment of a URL (`index` where there is none) or of a key, or a file's
 *   basename; `url`: host and path of a URL, bucket and key of an object.
 */
export function destinationOf(source: SourceName, layout: "name" | "url"): string {
  if (source.is === "path") return basename(source.path);
  if (source.is === "s3") return layout === "name" ? baseName(source.key) : `${source.bucket}/${source.key}`;
  const url = new URL(source.url);
  const segments = url.pathname.split("/").slice(1);
  const last = segments.at(-1) === "" ? "index" : decode(segments.at(-1) as string);
  if (layout === "name") return last;
  const host = url.port === "" ? url.hostname : `${url.hostname}:${url.port}`;
  return [host, ...segments.slice(0, -1).map(decode), last].join("/");
}
