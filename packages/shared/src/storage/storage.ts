import type { Engine } from "../engine.js";
import type { TransferError } from "../errors.js";
import type { TransferJob } from "../job.js";
import type { FileFacts } from "../leave.js";
import type { CatalogEntry } from "../protocol/catalog-entry.js";
import type { RunSpec } from "../run.js";
import type { Contents } from "./contents.js";
import type { HttpClient } from "./http/client.js";
import type { RequestEstimate } from "./requests.js";
import type { Source, SourceEntry } from "./source.js";
import type { Tree, TreeNames } from "./tree.js";

/** Fields of a run's spec that say how its storages are reached. Each storage knows its own fields. */
export type Services = Partial<Pick<RunSpec, "root" | "s3" | "s3Destination" | "s3Keys" | "userAgent">>;

/** Fields of a run's spec that its listings depend on. */
export type ListedRun = Pick<
  RunSpec,
  | "root"
  | "timeoutMs"
  | "retries"
  | "s3"
  | "s3Destination"
  | "s3Keys"
  | "userAgent"
  | "followLinks"
  | "readsBelow"
>;

/** Context for parsing a location. */
export interface ParseContext {
  /** Absolute path that a relative path starts at. */
  directory: string;
  /** Bucket of `s3:///key`, undefined if there is none. The property is absent where no setting can name one. */
  bucket?: string | undefined;
}

/**
 * A kind of storage: its names and its capabilities. Other code asks for a capability and never for the kind.
 * A location is a canonical text: a URL, `s3://bucket/key`, or an absolute path.
 */
export interface Storage {
  /** Name in settings and registries. */
  readonly name: string;
  /** Schemes of its locations before `://`, in lower case. */
  readonly schemes: readonly string[];
  /** Example of what follows `scheme://`, for people; undefined if one slash may also follow. */
  readonly example?: string;
  /** What people call one of its files. */
  readonly noun: string;
  /** What people call a tree of its files. */
  readonly treeNoun: string;
  /** Group of settings needed to reach it; undefined if it needs none. */
  readonly settings?: string;
  /** Whether its files may be named by host and path (`--layout url`). Default false. */
  readonly hasHosts?: boolean;
  /** Whether its trees may have symbolic links. Default false. */
  readonly hasLinks?: boolean;
  /** Whether sizes and times of its files are known before they are opened. */
  readonly listsSizes: boolean;

  /**
   * Parses a text as a location.
   *
   * @throws SettingsError, which never contains a possible password.
   */
  parse(text: string, context: ParseContext): string;
  /**
   * Whether a file can be checked with a conditional request before it is queued. Absent if no file can.
   *
   * @param version its version in the catalog.
   */
  revalidates?(version: string): boolean;
  /** The host (`host:port`) whose breaker and limits apply to a location; "" if there is none. */
  hostOf(location: string, services: Services): string;
  /** The bucket of a location, by which its service bills. Absent where there are none. */
  bucketOf?(location: string): string;
  /** How many requests a run makes here. Absent where it makes none. */
  readonly requests?: RequestEstimate;
  /** What distinguishes locations of the same text, such as the service. */
  identity(services: Services): string[];
  /** The settings that decide which bytes a location has. Runs that differ in them share no flight. */
  flightTerms(services: Services): unknown;
  /** Name of a file relative to the destination's root. The caller checks it. */
  fileName(location: string, layout: RunSpec["layout"]): string;
  /**
   * Whether a location is a tree, if that is known without asking a service; undefined if only a listing can
   * tell.
   *
   * @throws SettingsError for a tree that cannot be listed.
   */
  isTree(location: string): boolean | undefined;
  /** Loads what opens its files. */
  loadSources(): Promise<(options: SourcesOptions) => Sources>;
  /** Makes the lister of its files. */
  openLister(options: ListerOptions): Promise<Lister>;
  /** Opens what its files hold, to be compared. The root of the spec is what was listed. */
  openContents(options: ContentsOptions): Promise<Contents>;
  /** Opens what tells about single files without reading them. Absent if a dry run must not ask for them. */
  openPeek?(options: LookOptions): Promise<Peek>;
  /** Its capabilities as a destination; undefined if it is read-only. */
  readonly destination?: DestinationStorage;
}

export interface SourcesOptions {
  http: HttpClient;
  spec: RunSpec;
  /** The user's request headers. */
  headers: Record<string, string>;
  /**
   * The location of a file including its secrets.
   *
   * @throws TransferError class `credentials` when they have expired.
   */
  secretLocation(job: TransferJob): Promise<string>;
}

/** Opens the files of one storage for a run. */
export interface Sources {
  open(job: TransferJob): Source | Promise<Source>;
}

export interface LookOptions {
  spec: ListedRun;
  signal: AbortSignal;
  /** Called with messages for people about what is waited for. */
  warn(message: string): void;
}

export interface ContentsOptions extends LookOptions {
  /** The user's request headers. */
  headers: Record<string, string>;
}

export interface ListerOptions extends LookOptions {
  /**
   * Whether the sources or the destination are listed. In the sources, the run's own destination is left out.
   */
  of: "sources" | "destination";
}

/** What a location is known to be: `either` is for the listing to tell. */
export type Expected = "either" | "file" | "tree";

/** What is at a location. */
export type Looked =
  /** A file; `version` and size if its listing tells. */
  | { is: "file"; version: string | undefined; sizeBytes?: number }
  | { is: "tree" }
  | { is: "nothing"; why: string }
  /** Something unreadable, or not a file. */
  | { is: "failed"; error: TransferError };

/**
 * An item of a listing. Names are relative to the listed location. A `mark` is where the listing continues
 * after the item; it is saved with the run for a resume.
 */
export type Listed =
  | {
      is: "file";
      name: string;
      location: string;
      sizeBytes: number;
      mtimeMs: number;
      version: string | undefined;
      /** As S3 calls it; absent where its listing does not tell. */
      storageClass?: string;
      mark: string;
    }
  /**
   * `name`: of the unreadable file; "" if it is not a single file, or its name is unknown. `tree`: name of a directory that
   * could not be listed completely, "" for the listed location itself.
   */
  | { is: "failed"; name: string; location: string; error: TransferError; tree?: string; mark?: string }
  /** Left out on purpose. `hides`: what is below its name is not known either. */
  | { is: "skipped"; name: string; location: string; why: string; hides: boolean; mark?: string }
  /** Progress of the listing without a wanted file. */
  | { is: "passed"; mark: string };

/** An item of one level of a tree: also a directory or prefix, whose name has no slash at its end. */
export type ListedLevel = Listed | { is: "tree"; name: string; location: string };

/** A name in a tree, regardless of filters. */
export interface ListedName {
  name: string;
  /** Whether it is a symbolic link, so that the names below it are unknown. */
  hides: boolean;
  /** Whether it is a file that a sync may have written. */
  isFile: boolean;
  /** Its stamp in the catalog's form; undefined if it is gone. */
  stamp(): string | undefined;
}

export interface ListOptions {
  /** Called with names before anything is opened. */
  wanted(name: string): boolean;
  /** What all wanted names begin with: others may be left out without being asked about. Default: anything. */
  beginning?: string | undefined;
  /** Mark after which the listing starts; undefined for the beginning. */
  after: string | undefined;
}

/** Looks at and lists locations of one storage. */
export interface Lister {
  /**
   * Finds out what is at a location. A name that is a file's and a tree's at once is `failed`, unless `expected` tells
   * which of them is meant.
   *
   * @throws TransferError if it cannot be looked at.
   */
  look(location: string, expected: Expected): Promise<Looked>;
  /**
   * Yields all files below a tree in the byte order of their names, in bounded memory, without the run's own
   * destination.
   *
   * @throws TransferError if it cannot be listed completely.
   */
  list(location: string, options: ListOptions): AsyncGenerator<Listed>;
  /**
   * Yields all names below a tree in byte order.
   *
   * @param beginning of the names that matter: others may be left out. Default: all matter.
   * @throws ListingError, TransferError if it cannot be listed completely.
   */
  names(location: string, beginning?: string): AsyncGenerator<ListedName>;
  /**
   * Yields one level of a tree in the byte order of names, with a slash behind those of trees. Absent where only a listing of
   * the whole tree tells.
   *
   * @throws TransferError if it cannot be listed completely.
   */
  level?(location: string, wanted: ListOptions["wanted"]): AsyncGenerator<ListedLevel>;
  close(): Promise<void>;
}

/** What is known about a file that is not carried. */
export interface Peeked {
  entry: SourceEntry;
  /** Path of a local file. */
  path?: string;
  /** Whether a run that knows this version of the copy at the destination would find the file unchanged. */
  isVersion(known: string): boolean;
  /**
   * A digest of its bytes in hexadecimal; undefined if only a transfer tells.
   *
   * @throws TransferError
   */
  digest(algorithm: "sha256" | "md5"): Promise<string | undefined>;
}

/** Looks at single files of a storage. */
export interface Peek {
  /** @throws TransferError */
  look(location: string): Promise<Peeked>;
  close(): Promise<void>;
}

/**
 * What a run would find at a destination. `same`: what it would leave as it is. `unclear`: something is there, and only
 * the transfer tells whether it is the same.
 */
export type Foreseen = "nothing" | "same" | "other" | "unclear";

/** A file that a run would carry. */
export interface ForeseenFile {
  /** Relative to the destination's root. */
  name: string;
  /** Id of its source in the catalog. */
  sourceId: string;
  /** SHA-256 that the user gave, hexadecimal. */
  expected: string | undefined;
  /** What the catalog has at its destination. */
  last: CatalogEntry | undefined;
  /** Looks at it; undefined if it must not be asked for. */
  peek: (() => Promise<Peeked>) | undefined;
  /** Whether the service of the destination copies it. */
  isServerCopy: boolean;
}

/** Tells what a run would find at its destination. */
export interface Foresight {
  /** @returns for each file what is there, or why the run could not carry it. */
  foresee(files: ForeseenFile[]): Promise<(Foreseen | TransferError)[]>;
  /** @returns for each name what is known of the file there; undefined where it cannot be looked at. */
  look(names: string[]): Promise<(FileFacts | "nothing" | undefined)[]>;
  close(): Promise<void>;
}

export interface ForesightOptions extends LookOptions {
  spec: RunSpec;
  /** Where the catalog is; undefined if there is none. */
  engine: Engine | undefined;
}

/** Checks files at a destination for which a service must be asked. */
export interface DestinationCheck {
  /** The first error of a check. */
  readonly trouble: Error | undefined;
  /** @returns for each file whether it exists with its stamp; also false if that cannot be determined now. */
  asLeft(files: { name: string; stamp: string }[]): Promise<boolean[]>;
  close(): Promise<void>;
}

/**
 * A writable storage, as the producer and the command line use it. Writing itself is in worker/destinations.
 */
export interface DestinationStorage {
  /** Example of a root, for people. */
  readonly example: string;
  /** Whether it tells the modification times of the files' sources, so that a newer file can be told. */
  readonly tellsTimes: boolean;
  /** Whether files go below a directory named after the script by default. */
  readonly ownDirectory: boolean;
  /** Parses a root: canonical, without a slash at its end. @throws SettingsError */
  parseRoot(text: string, directory: string): string;
  /** The location of a name below a root. */
  join(root: string, name: string): string;
  /** The root and the name of a file to be written at a location; undefined where that is a tree already. */
  asFile(location: string): { root: string; name: string } | undefined;
  /** @throws TransferError class `path`, permanent, for an invalid file name. */
  checkName(name: string): void;
  /** Whether the inner location is the outer one or below it. */
  contains(outer: string, inner: string): boolean;
  /** Whether a source is the destination tree itself. */
  isSame(source: string, root: string, services: Services): boolean;
  /** Whether sources and destination have the same service. */
  isShared(services: Services): boolean;
  /** The host that is written to (`host:port`), or "". */
  hostOf(services: Services): string;
  /**
   * Makes sure that files can be written below a root.
   *
   * @throws SettingsError if they certainly cannot.
   */
  prepare(root: string, services: Services): Promise<void>;
  /**
   * Checks that removed files can be kept below a root, without creating it. Absent if the backup itself
   * finds out.
   *
   * @throws SettingsError if they certainly cannot.
   */
  checkBackup?(root: string, services: Services): Promise<void>;
  /** The names in the tree below a root. Nothing is opened or made. */
  namesOf(root: string, services: Services): TreeNames;
  /** Opens the tree below a root, which is made if need be. @throws TransferError if it cannot be made or is invalid. */
  openTree(root: string, services: Services): Tree;
  /** Whether the root exists, as far as that is known here. */
  mayExist(root: string): boolean;
  /** Opens what tells, without writing, what a run would find in a tree. */
  openForesight(tree: Tree, options: ForesightOptions): Promise<Foresight>;
  /** Alternative spellings of the same tree. */
  spellings(text: string): string[];
  /** Opens the check of a tree that cannot check itself; undefined if the tree can. */
  openCheck?(tree: Tree, options: LookOptions): Promise<DestinationCheck>;
  /** Why a worker may not write below a root; undefined if it may. @param allowed the worker's roots. */
  refuse(root: string, services: Services, allowed: AllowedRoots): string | undefined;
  /** Parses and checks a root of a worker. @throws SettingsError */
  workerRoot(text: string, directory: string): string;
}

/** The roots that a worker may write below, and how they are reached. */
export interface AllowedRoots {
  roots: string[];
  services: Services;
}
