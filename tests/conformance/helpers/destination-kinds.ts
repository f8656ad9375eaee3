import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { TransferError } from "@drover/shared/errors";
import { baseName, STAGING_NAME } from "@drover/shared/paths";
import type { RunSpec } from "@drover/shared/run";
import { FileManagerServer } from "@drover/shared/storage/filemanager/server";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { destinationOf, storageOf } from "@drover/shared/storage/registry";
import type { Connect } from "@drover/shared/storage/remote/lister";
import { RemoteTree } from "@drover/shared/storage/remote/tree";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import type { DestinationStorage, Lister } from "@drover/shared/storage/storage";
import { WebDavServer } from "@drover/shared/storage/webdav/server";
import { LocalDestination } from "@drover/worker/destinations/local/destination";
import { RemoteDestination } from "@drover/worker/destinations/remote/destination";
import { S3Destination } from "@drover/worker/destinations/s3/destination";
import { vi } from "vitest";
import { FakeS3 } from "../../harness/fake-s3.js";
import { apache, type FileServerKind, fileManager, nginx, rclone } from "../../harness/file-servers.js";
import { type S3Service, TestS3 } from "../../harness/s3.js";
import type { OpenDestination } from "../../integration/helpers/file-worker.js";
import { MemoryDestination, MemoryLister, MemoryStore, MemoryTree } from "./memory-destination.js";

/** Where a destination keeps what it removes: nowhere, somewhere, or where nothing can be written. */
export type Backup = "none" | "works" | "broken";

/** One destination of some kind, and what others do and see there. */
export interface Place {
  readonly root: string;
  /** To be called once for each worker. */
  readonly open: OpenDestination;
  readonly checkName: DestinationStorage["checkName"];
  openLister(): Promise<Lister>;
  /** Somebody else writes a file. */
  write(name: string, bytes: Buffer): Promise<void> | void;
  read(name: string): Promise<Buffer | undefined> | Buffer | undefined;
  /** What the backup has by that name. */
  kept(name: string): Promise<Buffer | undefined> | Buffer | undefined;
  /** How much is staged and not published. */
  stagedBytes(): Promise<number> | number;
  /** Names of everything that is staged or otherwise no file of the destination. */
  leftovers(): Promise<string[]> | string[];
  end(): Promise<void> | void;
}

/** A kind of destination. What it cannot do, because of what it writes to, is said here with the reason. */
export interface Kind {
  readonly name: string;
  make(backup: Backup): Promise<Place>;
  /** Size of a file that is not held in memory whole, where there is such. */
  readonly largeBytes: number;
  /** A successor goes on with the part of a large file once the source has sent so much and so much of it is staged. */
  readonly resumes: { sentBytes: number; stagedBytes: number } | { never: string };
  /** What a large file meets where somebody has changed the destination since it was compared. */
  readonly conditions: "refuse" | { never: string };
  /** From when on a former carrier cannot publish a file that it holds in memory. */
  readonly fences: "at once" | { never: string };
  /** How its listing comes. */
  readonly lists: "in order" | { never: string };
  /** Whether its service cannot have a file of that name. Default: it can have all that are not refused. */
  readonly lacks?: (name: string) => boolean;
  /** Whether its listing leaves a file of that name out. Default: none. */
  readonly hides?: (name: string) => boolean;
  /** Names that are refused beyond those that every destination refuses. */
  readonly refuses: readonly string[];
}

const MIB = 1 << 20;

const local: Kind = {
  name: "LocalDestination",
  largeBytes: 5 * MIB,
  resumes: { sentBytes: 3 * MIB, stagedBytes: 2 * MIB },
  conditions: { never: "a rename takes no condition: the last one to publish replaces the file, whole" },
  fences: "at once",
  lists: "in order",
  refuses: ["/etc/passwd", "\\\\host\\share", "C:\\x", "C:/x", "a//b", "a\\..\\b", "x".repeat(256)],

  async make(kind) {
    const path = mkdtempSync(join(tmpdir(), "drover-destination-"));
    const root = join(path, "root");
    const backup = join(path, "backup");
    // A directory cannot be made where a file is.
    if (kind === "broken") writeFileSync(makeFor(join(backup, "dir")), "");
    const staged = () => readdirSync(root, { recursive: true, encoding: "utf8" }).filter(isStaging);
    const read = (file: string) => (existsSync(file) ? readFileSync(file) : undefined);
    return {
      root,
      open() {
        const tree = new LocalTree(root);
        return {
          tree,
          destination: new LocalDestination(tree, kind === "none" ? undefined : { dir: backup, suffix: "" }),
        };
      },
      checkName: destinationOf(root).checkName,
      openLister: () => openLister({ root } as RunSpec),
      write: (name, bytes) => writeFileSync(makeFor(join(root, name)), bytes),
      read: (name) => read(join(root, name)),
      kept: (name) => read(join(backup, name)),
      stagedBytes: () => staged().reduce((sum, name) => sum + statSync(join(root, name)).size, 0),
      leftovers: staged,
      end: () => rmSync(path, { recursive: true, force: true }),
    };
  },
};

const isStaging = (path: string) => STAGING_NAME.test(baseName(path));

/** Makes the directory of a file. @returns the file. */
function makeFor(file: string): string {
  mkdirSync(dirname(file), { recursive: true });
  return file;
}

const memory: Kind = {
  name: "a newcomer's destination, in memory",
  largeBytes: 5 * MIB,
  resumes: { sentBytes: 3 * MIB, stagedBytes: 2 * MIB },
  conditions: "refuse",
  fences: "at once",
  lists: "in order",
  refuses: ["/etc/passwd", "a//b"],

  async make(kind) {
    const store = new MemoryStore();
    const kept = new MemoryStore();
    const root = "/memory";
    const broken = {
      put(): string {
        throw new TransferError("io", "the backup is full");
      },
    };
    const backup = { none: undefined, works: kept, broken }[kind];
    return {
      root,
      open: () => ({
        tree: new MemoryTree(root, store),
        destination: new MemoryDestination(store, backup),
      }),
      checkName: store.checkName,
      openLister: async () => new MemoryLister(store),
      write: (name, bytes) => void store.put(name, bytes),
      read: (name) => store.files.get(name)?.bytes,
      kept: (name) => kept.files.get(name)?.bytes,
      stagedBytes: () => [...store.staged.values()].flat().reduce((sum, { length }) => sum + length, 0),
      leftovers: () => [...store.staged.keys()],
      end: () => {},
    };
  },
};

/** A bucket that a test has, whatever its service is. */
interface Bucket {
  readonly name: string;
  readonly service: S3Service;
  put(key: string, bytes: Buffer): Promise<void> | void;
  find(key: string): Promise<Buffer | undefined> | Buffer | undefined;
  list(): Promise<string[]> | string[];
  /** Ids of uploads under way. */
  uploads(): Promise<string[]> | string[];
  uploadedBytes(): Promise<number> | number;
  stop(): Promise<void>;
}

async function fakeBucket(): Promise<Bucket> {
  const s3 = await FakeS3.start();
  const { uploads } = s3.writes;
  const sizeOf = (parts: Map<number, Buffer>) =>
    [...parts.values()].reduce((sum, { length }) => sum + length, 0);
  return {
    name: "bucket",
    service: { endpoint: s3.endpoint, accessKeyId: "A", secretAccessKey: "S" },
    put: (key, bytes) => s3.put(key, bytes),
    find: (key) => s3.stored(key)?.content,
    list: () => s3.keys,
    uploads: () => [...uploads.keys()],
    uploadedBytes: () => [...uploads.values()].reduce((sum, { parts }) => sum + sizeOf(parts), 0),
    stop: () => s3.stop(),
  };
}

async function testBucket(service: S3Service | undefined): Promise<Bucket> {
  const s3 = await TestS3.start(service);
  return Object.assign(s3, { name: s3.bucket });
}

/** A service that knows conditions, and takes files of several parts. */
const WHOLE_S3 = {
  largeBytes: 36 * MIB,
  resumes: { sentBytes: 20 * MIB, stagedBytes: 16 * MIB },
  conditions: "refuse",
  fences: {
    never:
      "nothing is there that could be taken from it: its one request is good until its successor has published",
  },
  lists: "in order",
} as const;

/** fauxqs: see {@link TestS3}. */
const SMALL_S3 = {
  largeBytes: 5 * MIB,
  resumes: {
    never: "the service takes no request of the size of a part: a file stays in memory until it is sent",
  },
  conditions: { never: "the service ignores conditions of writes" },
  fences: "at once", // without conditions the lease is looked at right before the request
  lists: { never: "the service sorts keys by locale" },
} as const;

function s3(
  name: string,
  can: Omit<Kind, "name" | "make" | "refuses">,
  makeBucket: () => Promise<Bucket>,
): Kind {
  return {
    name,
    ...can,
    refuses: ["\ud800"],
    async make(kind) {
      const bucket = await makeBucket();
      const { endpoint, accessKeyId, secretAccessKey } = bucket.service;
      const service = {
        endpoint,
        region: "us-east-1",
        pathStyle: true,
        anonymous: false,
        requesterPays: false,
      };
      const root = `s3://${bucket.name}/to`;
      // A copy that somebody else has changed is noticed, as in a directory.
      const spec = { root, s3: service, checkDestination: true, timeoutMs: 10_000, retries: 3 } as RunSpec;
      const backup = {
        none: undefined,
        works: `s3://${bucket.name}/keep`,
        broken: "s3://drover-no-such-bucket/keep",
      }[kind];
      return {
        root,
        open({ http, ...process }) {
          const tree = new S3Tree(root, service);
          const client = new S3Client(http, service, async () => ({ accessKeyId, secretAccessKey }));
          const kept = backup === undefined ? {} : { backup: new S3Tree(backup, service) };
          return { tree, destination: new S3Destination({ ...process, ...kept, tree, spec, client }) };
        },
        checkName: destinationOf(root).checkName,
        async openLister() {
          vi.stubEnv("AWS_ACCESS_KEY_ID", accessKeyId);
          vi.stubEnv("AWS_SECRET_ACCESS_KEY", secretAccessKey);
          return await openLister(spec);
        },
        write: (name, bytes) => bucket.put(`to/${name}`, bytes),
        read: (name) => bucket.find(`to/${name}`),
        kept: (name) => bucket.find(`keep/${name}`),
        stagedBytes: () => bucket.uploadedBytes(),
        async leftovers() {
          const probes = (await bucket.list()).filter(isStaging);
          return [...probes, ...(await bucket.uploads())];
        },
        async end() {
          vi.unstubAllEnvs();
          await bucket.stop();
        },
      };
    },
  };
}

async function openLister(spec: RunSpec): Promise<Lister> {
  const { signal } = new AbortController();
  return await storageOf(spec.root).openLister({ spec, signal, of: "destination", warn: () => {} });
}

/** What every file server can do and cannot. */
const REMOTE = {
  largeBytes: 5 * MIB,
  resumes: { never: "nobody knows how much of a part a server has" },
  conditions: "refuse",
  lists: "in order",
  refuses: ["/etc/passwd", "C:\\x", "C:/x", "a//b", "x".repeat(256), "\ud800"],
} as const;

const IN_MEMORY = {
  fences: {
    never:
      "nothing is there that could be taken from it: its one request is good until its successor has published",
  },
} as const;
/** It is staged at the server before it is published, as a large file is. */
const STAGED = { fences: "at once" } as const;
/** nginx lists no names that begin with a dot. */
const NGINX = { ...STAGED, hides: (name: string) => /(^|\/)\./.test(name) };
/** rclone 1.60 makes a file with a control character in its name, and then does not find it. */
const RCLONE = { ...STAGED, lacks: (name: string) => /\p{Cc}/u.test(name) };

function fileServer(
  server: FileServerKind,
  can: Pick<Kind, "fences" | "hides" | "lacks">,
  connect: Connect,
): Kind {
  return {
    name: `RemoteDestination, of ${server.name}`,
    ...REMOTE,
    ...can,
    async make(kind) {
      const { root: base, directory, stop } = await server.start();
      const root = `${base}/to`;
      const backup = { none: undefined, works: `${base}/keep`, broken: `${base}/broken/keep` }[kind];
      writeFileSync(join(directory, "broken"), "");
      const spec = { root, checkDestination: true, timeoutMs: 10_000, retries: 3 } as RunSpec;
      const staged = () =>
        readdirSync(directory, { recursive: true, encoding: "utf8" }).filter(isStaging).map(String);
      const read = (file: string) => (existsSync(file) ? readFileSync(file) : undefined);
      return {
        root,
        open({ http, ...process }) {
          const tree = new RemoteTree(root);
          const kept =
            backup === undefined
              ? {}
              : { backup: { tree: new RemoteTree(backup), server: connect(http, backup) } };
          const options = { ...process, ...kept, tree, spec, server: connect(http, root) };
          return { tree, destination: new RemoteDestination(options) };
        },
        checkName: destinationOf(root).checkName,
        openLister: () => openLister(spec),
        write: (name, bytes) => writeFileSync(openFor(join(directory, "to", name), directory), bytes),
        read: (name) => read(join(directory, "to", name)),
        kept: (name) => read(join(directory, "keep", name)),
        stagedBytes: () => staged().reduce((sum, name) => sum + statSync(join(directory, name)).size, 0),
        leftovers: staged,
        end: stop,
      };
    },
  };
}

/** Makes the directory of a file, which the server's user may write in as well. @returns the file. */
function openFor(file: string, top: string): string {
  makeFor(file);
  for (let at = dirname(file); at !== top; at = dirname(at)) chmodSync(at, 0o777);
  return file;
}

/** Every file server that can be had here. */
function fileServers(): Kind[] {
  const dav: Connect = (http, root) => new WebDavServer(http, root);
  const known: [FileServerKind, Pick<Kind, "fences" | "hides" | "lacks">, Connect][] = [
    [fileManager, IN_MEMORY, (http, root) => new FileManagerServer(http, root)],
    [apache, IN_MEMORY, dav],
    [nginx, NGINX, dav],
    [rclone, RCLONE, dav],
  ];
  for (const [{ absent }] of known) if (absent !== undefined) console.warn(`not tested: ${absent}`);
  return known
    .filter(([{ absent }]) => absent === undefined)
    .map(([server, can, connect]) => fileServer(server, can, connect));
}

/** Every kind of destination. @param real an S3 service that is none of a test's making, where there is one. */
export function kindsOf(real: S3Service | undefined): Kind[] {
  return [
    local,
    memory,
    s3("S3Destination, of a service with conditions and large parts", WHOLE_S3, fakeBucket),
    s3("S3Destination, of fauxqs", SMALL_S3, () => testBucket(undefined)),
    ...fileServers(),
    ...(real ? [s3("S3Destination, of a real service", WHOLE_S3, () => testBucket(real))] : []),
  ];
}
