import { SettingsError } from "../errors.js";
import { shortHash } from "../ids.js";
import { redactUrl } from "../redact.js";
import type { RunSpec } from "../run.js";
import { fileManagerStorage } from "./filemanager/storage.js";
import { httpStorage } from "./http/storage.js";
import { localStorage } from "./local/storage.js";
import { s3Storage } from "./s3/storage.js";
import type { DestinationStorage, ParseContext, Services, Storage } from "./storage.js";
import type { Tree } from "./tree.js";
import { webDavStorage } from "./webdav/storage.js";

/** All storages; a new one is added here. The last one handles plain paths, which have no scheme. */
export const STORAGES: readonly Storage[] = [
  httpStorage,
  s3Storage,
  fileManagerStorage,
  webDavStorage,
  localStorage,
];

const PATHS = STORAGES.at(-1) as Storage;
const BY_SCHEME = new Map(STORAGES.flatMap((storage) => storage.schemes.map((each) => [each, storage])));

/** A parsed location. */
export interface Location {
  storage: Storage;
  /** Canonical, including its secrets. */
  text: string;
}

/** The storage of a location or a root. */
export function storageOf(location: string): Storage {
  const end = location.charCodeAt(0) === SLASH ? -1 : location.indexOf("://");
  if (end <= 0) return PATHS;
  const scheme = location.slice(0, end);
  return BY_SCHEME.get(scheme) ?? BY_SCHEME.get(scheme.toLowerCase()) ?? PATHS;
}

const SLASH = 47;

/**
 * Parses a source as written by a user.
 *
 * @throws SettingsError for text that is not a location, or has an unsupported scheme.
 */
export function parseLocation(text: string, context: ParseContext): Location {
  if (text === "") throw new SettingsError("an empty source: name a URL, a file or a directory");
  refuseOneSlash(text);
  const storage = supportedStorageOf(text);
  return { storage, text: storage.parse(text, context) };
}

/** The storage of a location or a root as written by a user. @throws SettingsError for an unsupported scheme. */
function supportedStorageOf(text: string): Storage {
  if (text.charCodeAt(0) === SLASH) return PATHS;
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  const storage = scheme === undefined ? PATHS : BY_SCHEME.get(scheme);
  if (storage) return storage;
  throw new SettingsError(
    `unsupported scheme ${scheme}:// in ${redactUrl(text)}: use ${[...BY_SCHEME.keys()].join(", ")} or a path`,
  );
}

/**
 * @throws SettingsError for `s3:/bucket`, which would be a directory called `s3:`. The message hides the
 *   rest, which may be secret.
 */
function refuseOneSlash(text: string): void {
  const scheme = /^([a-z0-9+.-]+):\/(?!\/)/i.exec(text)?.[1]?.toLowerCase() ?? "";
  const example = BY_SCHEME.get(scheme)?.example;
  if (example === undefined) return;
  throw new SettingsError(
    `${scheme}:/ has one slash too few: write ${scheme}://${example}, or ./${scheme}:/… for a path`,
  );
}

/**
 * Parses a destination root.
 *
 * @param directory absolute path that a relative path starts at.
 * @returns the canonical root: an absolute path, or `s3://bucket/prefix` without a slash at its end.
 * @throws SettingsError for an invalid root.
 */
export function parseRoot(text: string, directory: string): string {
  refuseOneSlash(text);
  return destinationOf(text).parseRoot(text, directory);
}

/** Whether a storage is that of servers that files are written to: they are no sources of a run. */
export function isServer({ destination, schemes }: Storage): boolean {
  return destination !== undefined && schemes.some((scheme) => scheme.includes("+"));
}

/** A place of a server that files are written to: it is no source of a run, but can be looked at. Undefined for other locations. */
export function parseServer(text: string, directory: string): Location | undefined {
  if (!isServer(storageOf(text))) return undefined;
  const root = parseRoot(text, directory);
  return { storage: storageOf(root), text: root };
}

/**
 * The destination storage of a root.
 *
 * @throws SettingsError if its storage is read-only or its scheme is not supported.
 */
export function destinationOf(root: string): DestinationStorage {
  const { destination, name } = supportedStorageOf(root);
  if (destination) return destination;
  throw new SettingsError(`nothing can be written to ${redactUrl(root)}: ${name} is for reading`);
}

/** The location of a name below a root: a path, or `s3://bucket/key`. */
export function below(root: string, name: string): string {
  return destinationOf(root).join(root, name);
}

/**
 * The host (`host:port`) whose circuit breaker and limits apply to a file: that of its source or, for a local
 * source, that of its destination; "" if both are local.
 *
 * @param services of the file's run.
 */
export function hostOf(location: string, services: Services = {}): string {
  const host = storageOf(location).hostOf(location, services);
  return host === "" ? destinationHost(services) : host;
}

/** The host that a run writes to, or "" for a local destination. */
export function destinationHost(services: Services): string {
  const { root } = services;
  return root === undefined ? "" : (storageOf(root).destination?.hostOf(services) ?? "");
}

/** Identifies a source in leases and in the catalog. The same name at another service is another source. */
export function sourceId(location: string, services: Services): string {
  const hash = shortHash(location, ...storageOf(location).identity(services));
  return hash.slice(0, 12); // 72 bits, since the catalog has one for every file
}

/**
 * Opens the destination tree of a run.
 *
 * @throws TransferError if a local root cannot be created or is not a directory.
 */
export function openTree(spec: Services & Pick<RunSpec, "root">): Tree {
  return destinationOf(spec.root).openTree(spec.root, spec);
}
