import type { TransferError } from "../errors.js";
import type { TransferJob } from "../job.js";
import type { RunSpec } from "../run.js";
import type { HttpClient } from "./http/client.js";
import type { Source } from "./source.js";
import type { Tree } from "./tree.js";

/** What of a run says how its storages are reached. Each storage knows what in it is its own. */
export type Services = Partial<Pick<RunSpec, "root" | "s3" | "s3Destination">>;

/** What of a run its listings depend on. */
export type ListedRun = Pick<RunSpec, "root" | "timeoutMs" | "retries" | "s3" | "s3Destination">;

/** What a text is understood with. */
export interface ParseContext {
  /** What a relative path is relative to: an absolute path. */
  directory: string;
  /** Bucket of `s3:///key`. */
  bucket?: string | undefined;
}

/**
 * A kind of place that files are in: its names, and what it can do. All else asks it, and never which one it is.
 * A location is a text of it in its one canonical form: a URL, `s3://bucket/key`, an absolute path.
 */
export interface Storage {
  /** Names it in settings and registries. */
  readonly name: string;
  /** What its locations begin with before `://`, in lower case. */
  readonly schemes: readonly string[];
  /** What follows `scheme://`, as an example for people; undefined where one slash may follow as well. */
  readonly example?: string;
  /** What one of its files is called, for people. */
  readonly noun: string;
  /** What a tree of its files is called, for people. */
  readonly treeNoun: string;
  /** Name of the group of settings without which it cannot be reached. Undefined where it needs none. */
  readonly settings?: string;
  /** Its files may also be named by host and path (`--layout url`). Default false. */
  readonly hasHosts?: boolean;
  /** Sizes and times of its files are known before they are opened. */
  readonly listsSizes: boolean;
  /** A file can be asked about under a condition before it is queued. Default false. */
  readonly revalidates?: boolean;

  /**
   * Understands a text as a location.
   *
   * @throws SettingsError, never showing what could be a password.
   */
  parse(text: string, context: ParseContext): string;
  /** The host that breaker and limits of a location are kept for (`host:port`); "" where there is none. */
  hostOf(location: string, services: Services): string;
  /** What tells locations of the same text apart, such as the service. */
  identity(services: Services): string[];
  /** What of the services decides which bytes a location gives: runs that differ in it share no flight. */
  flightTerms(services: Services): unknown;
  /** What a file is called at the destination, relative to its root. It is checked by whoever uses it. */
  fileName(location: string, layout: RunSpec["layout"]): string;
  /**
   * Whether a location is a tree, as far as that can be told without asking a service; undefined where a listing will tell.
   *
   * @throws SettingsError for a tree that cannot be listed.
   */
  isTree(location: string): boolean | undefined;
  /** @throws SettingsError where a location is no whole tree, so that nobody can say what it does not have. */
  requireTree(location: string): void;
  /** Makes what opens its files. */
  openSources(options: SourcesOptions): Promise<Sources>;
  /** Makes what finds its files. */
  openLister(options: ListerOptions): Promise<Lister>;
  /** What it can do as a destination; undefined where it cannot be one. */
  readonly destination?: DestinationStorage;
}

export interface SourcesOptions {
  http: HttpClient;
  spec: RunSpec;
  /** The person's request headers. */
  headers: Record<string, string>;
  /**
   * The location of a file with its secrets.
   *
   * @throws TransferError class `credentials` when they have expired.
   */
  secretLocation(job: TransferJob): Promise<string>;
}

/** The files of one storage, as a run reads them. */
export interface Sources {
  open(job: TransferJob): Source | Promise<Source>;
}

export interface LookOptions {
  spec: ListedRun;
  signal: AbortSignal;
  /** Told what is waited for, for people. */
  warn(message: string): void;
}

export interface ListerOptions extends LookOptions {
  /** What of the run is listed. In its sources, what the run itself writes is left out. */
  of: "sources" | "destination";
}

/** What stands at a location. */
export type Looked =
  /** A file; `version` where its listing tells it. */
  | { is: "file"; version: string | undefined }
  | { is: "tree" }
  | { is: "nothing"; why: string }
  /** Something that cannot be read, or is no file. */
  | { is: "failed"; error: TransferError };

/**
 * What a listing finds. Names are relative to its location. A `mark` says where the listing goes on behind it; it is kept
 * with the run, so that whoever resumes it goes on there.
 */
export type Listed =
  | {
      is: "file";
      name: string;
      location: string;
      sizeBytes: number;
      mtimeMs: number;
      version: string | undefined;
      mark: string;
    }
  /** `name`: of the file that cannot be read; "" where it is not one file, or its name cannot be told. */
  | { is: "failed"; name: string; location: string; error: TransferError; mark?: string }
  /** Left out on purpose. */
  | { is: "skipped"; location: string; why: string; mark?: string }
  /** The listing has come so far, and nothing was wanted for a while. */
  | { is: "passed"; mark: string };

/** A name in a tree, whatever the filters say. */
export interface ListedName {
  name: string;
  /** What may be below it is not known: a link. */
  hides: boolean;
  /** A file that a sync may have written. */
  isFile: boolean;
  /** Its stamp in the catalog's form; undefined where it is gone by now. */
  stamp(): string | undefined;
}

export interface ListOptions {
  /** Asked with names before anything is looked at. */
  wanted(name: string): boolean;
  /** Mark behind which the listing begins; undefined for the beginning. */
  after: string | undefined;
}

/** Finds what is at locations of one storage. */
export interface Lister {
  /**
   * @param resumed a listing of it was begun before: so it is a tree.
   * @throws TransferError where it cannot be looked at.
   */
  look(location: string, resumed: boolean): Promise<Looked>;
  /**
   * All files below a tree in the order of their names' bytes, in bounded memory, without what the run itself writes.
   *
   * @throws TransferError where it cannot be listed to its end.
   */
  list(location: string, options: ListOptions): AsyncGenerator<Listed>;
  /**
   * All names below a tree in the order of their bytes.
   *
   * @throws ListingError, TransferError where it cannot be listed to its end.
   */
  names(location: string): AsyncGenerator<ListedName>;
  close(): Promise<void>;
}

/** Looks at what a tree itself cannot tell without asking a service. */
export interface DestinationCheck {
  /** Why a file could not be looked at, the first of them. */
  readonly trouble: Error | undefined;
  /** @returns whether each file is there with its stamp; false, too, for one that cannot be looked at now. */
  asLeft(files: { name: string; stamp: string }[]): Promise<boolean[]>;
  close(): Promise<void>;
}

/** A storage that files can be written to, as far as the producer and the command line need it: see worker/destinations. */
export interface DestinationStorage {
  /** What a root of it looks like, for people. */
  readonly example: string;
  /** Files go below a directory of the script's name unless the person says otherwise. */
  readonly ownDirectory: boolean;
  /** Understands a root: canonical, without a slash at its end. @throws SettingsError */
  parseRoot(text: string, directory: string): string;
  /** Where a name leads below a root. */
  join(root: string, name: string): string;
  /** @throws TransferError class `path`, permanent, for a name that no file may have. */
  checkName(name: string): void;
  /** Whether one location is another or lies below it. */
  contains(outer: string, inner: string): boolean;
  /** Whether a source is the very tree that is written to. */
  isSame(source: string, root: string, services: Services): boolean;
  /** Whether sources and the destination are of one service. */
  isShared(services: Services): boolean;
  /** The host that is written to (`host:port`), or "". */
  hostOf(services: Services): string;
  /**
   * Makes sure that files can be written below a root.
   *
   * @throws SettingsError where that is certain not to be so.
   */
  prepare(root: string, services: Services): Promise<void>;
  /**
   * Looks whether removed files can be kept below a root, without making it. Absent where that is met when they are kept.
   *
   * @throws SettingsError where that is certain not to be so.
   */
  checkBackup?(root: string, services: Services): Promise<void>;
  /** @throws TransferError where a root cannot be made or is none. */
  openTree(root: string, services: Services): Tree;
  /** Whether the root is there, as far as that can be told here. */
  mayExist(root: string): boolean;
  /** Texts that name the same tree, for people who write it in another way. */
  spellings(text: string): string[];
  /** What looks at the tree where the tree itself cannot; undefined where the tree can. */
  openCheck?(tree: Tree, options: LookOptions): Promise<DestinationCheck>;
  /** Why a worker may not write below a root; undefined where it may. @param roots what it may write below. */
  refuse(root: string, services: Services, allowed: AllowedRoots): string | undefined;
  /** Understands and checks a root that a worker is to write below. @throws SettingsError */
  workerRoot(text: string, directory: string): string;
}

/** What a worker may write below, and the services that these roots are of. */
export interface AllowedRoots {
  roots: string[];
  services: Services;
}
