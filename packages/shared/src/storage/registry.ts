import { SettingsError } from "../errors.js";
import { shortHash } from "../ids.js";
import { redactUrl } from "../redact.js";
import type { RunSpec } from "../run.js";
import { httpStorage } from "./http/storage.js";
import { localStorage } from "./local/storage.js";
import { s3Storage } from "./s3/storage.js";
import type { DestinationStorage, ParseContext, Services, Storage } from "./storage.js";
import type { Tree } from "./tree.js";

/** Every storage there is: to add one, add it here. The last one has the paths, which need no scheme. */
export const STORAGES: readonly Storage[] = [httpStorage, s3Storage, localStorage];

const PATHS = STORAGES.at(-1) as Storage;
const BY_SCHEME = new Map(STORAGES.flatMap((storage) => storage.schemes.map((each) => [each, storage])));

/** A location that was understood. */
export interface Location {
  storage: Storage;
  /** Canonical, with its secrets. */
  text: string;
}

/** The storage of a location, or of a root. */
export function storageOf(location: string): Storage {
  const end = location.charCodeAt(0) === SLASH ? -1 : location.indexOf("://");
  if (end <= 0) return PATHS;
  const scheme = location.slice(0, end);
  return BY_SCHEME.get(scheme) ?? BY_SCHEME.get(scheme.toLowerCase()) ?? PATHS;
}

const SLASH = 47;

/**
 * Understands a source as a person writes it.
 *
 * @throws SettingsError for what is no location, or has a scheme that Drover does not read.
 */
export function parseLocation(text: string, context: ParseContext): Location {
  if (text === "") throw new SettingsError("an empty source: name a URL, a file or a directory");
  refuseOneSlash(text);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  const storage = scheme === undefined ? PATHS : BY_SCHEME.get(scheme);
  if (storage) return { storage, text: storage.parse(text, context) };
  throw new SettingsError(
    `unsupported scheme ${scheme}:// in ${redactUrl(text)}: use ${[...BY_SCHEME.keys()].join(", ")} or a path`,
  );
}

/** @throws SettingsError for `s3:/bucket`, which would be a directory called `s3:`; never showing what it holds. */
function refuseOneSlash(text: string): void {
  const scheme = /^([a-z0-9+.-]+):\/(?!\/)/i.exec(text)?.[1]?.toLowerCase() ?? "";
  const example = BY_SCHEME.get(scheme)?.example;
  if (example === undefined) return;
  throw new SettingsError(
    `${scheme}:/ has one slash too few: write ${scheme}://${example}, or ./${scheme}:/… for a path`,
  );
}

/**
 * Understands where files go.
 *
 * @param directory what a relative path is relative to.
 * @returns the root in its canonical form: an absolute path, or `s3://bucket/prefix` without a slash at its end.
 * @throws SettingsError for what is no root.
 */
export function parseRoot(text: string, directory: string): string {
  refuseOneSlash(text);
  return destinationOf(text).parseRoot(text, directory);
}

/**
 * What the storage of a root can do as a destination.
 *
 * @throws SettingsError where nothing can be written there.
 */
export function destinationOf(root: string): DestinationStorage {
  const { destination, name } = storageOf(root);
  if (destination) return destination;
  throw new SettingsError(`nothing can be written to ${redactUrl(root)}: ${name} is for reading`);
}

/** Where a name leads below a root: a path, or `s3://bucket/key`. */
export function below(root: string, name: string): string {
  return destinationOf(root).join(root, name);
}

/**
 * The host that a file's circuit breaker and limits are kept for (`host:port`): that of its source, else, for a local
 * source, that of its destination; "" where both are local.
 *
 * @param services those of the run whose file it is.
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

/** Identifies a source in leases and in the catalog: the same name at another service is another source. */
export function sourceId(location: string, services: Services): string {
  const hash = shortHash(location, ...storageOf(location).identity(services));
  return hash.slice(0, 12); // 72 bits: the catalog has one for every file
}

/**
 * The tree that a run's files go to.
 *
 * @throws TransferError when a local root cannot be made or is no directory.
 */
export function openTree(spec: Services & Pick<RunSpec, "root">): Tree {
  return destinationOf(spec.root).openTree(spec.root, spec);
}
