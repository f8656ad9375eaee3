import type { Keys } from "@drover/shared/protocol/keys";
import { backupOf, type RunSpec } from "@drover/shared/run";
import { connectFileManager } from "@drover/shared/storage/filemanager/connect";
import type { HttpClient } from "@drover/shared/storage/http/client";
import type { LocalTree } from "@drover/shared/storage/local/tree";
import { storageOf } from "@drover/shared/storage/registry";
import type { Connect } from "@drover/shared/storage/remote/lister";
import { RemoteTree } from "@drover/shared/storage/remote/tree";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { credentialsOf } from "@drover/shared/storage/s3/service/credentials";
import { destinationService } from "@drover/shared/storage/s3/service/service";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Tree } from "@drover/shared/storage/tree";
import { WebDavServer } from "@drover/shared/storage/webdav/server";
import type { Redis } from "ioredis";
import type { Leases } from "../attempt/leases.js";
import type { BufferPool } from "../bytes/buffer-pool.js";
import type { Destination, Refuse } from "./destination.js";
import { LocalDestination } from "./local/destination.js";
import { RemoteDestination } from "./remote/destination.js";
import { S3Destination } from "./s3/destination.js";

/** What a destination may need from the process that writes to it. */
export interface DestinationOptions {
  tree: Tree;
  spec: RunSpec;
  http: HttpClient;
  redis: Redis;
  keys: Keys;
  leases: Leases;
  /** Memory for uploads, shared by all runs and files of this thread. */
  bufferPool: BufferPool;
  /** Why this worker must not write below a root, such as that of a backup. By default it may write everywhere. */
  refuse?: Refuse;
  /** Called with errors that concern no single file. */
  onError(error: Error): void;
}

/** All destinations by the name of their storage. A new one is added here. */
const DESTINATIONS: Record<string, (options: DestinationOptions) => Destination> = {
  local: ({ tree, spec, refuse }) => new LocalDestination(tree as LocalTree, backupOf(spec), refuse),
  s3: ({ tree, http, ...options }) => {
    const service = destinationService(options.spec);
    const { root } = options.spec;
    const keeps = backupOf(options.spec);
    return new S3Destination({
      ...options,
      tree: tree as S3Tree,
      client: new S3Client(http, service, credentialsOf(service), options.spec.s3Keys?.destination),
      ...(keeps ? { backup: new S3Tree(keeps.dir ?? root, service, keeps.suffix) } : {}),
    });
  },
  filemanager: remote(connectFileManager),
  webdav: remote((http, root) => new WebDavServer(http, root)),
};

function remote(connect: Connect): (options: DestinationOptions) => Destination {
  return ({ tree, http, ...options }) => {
    const { root } = options.spec;
    const keeps = backupOf(options.spec);
    const keptIn = keeps?.dir ?? root;
    return new RemoteDestination({
      ...options,
      tree: tree as RemoteTree,
      server: connect(http, root),
      ...(keeps
        ? { backup: { tree: new RemoteTree(keptIn, keeps.suffix), server: connect(http, keptIn) } }
        : {}),
    });
  };
}

/** Opens the destination of a run. @throws Error if nothing can be written to the storage of its root. */
export function openDestination(options: DestinationOptions): Destination {
  const { name } = storageOf(options.spec.root);
  const open = DESTINATIONS[name];
  if (!open) throw new Error(`no worker writes to ${name}`);
  return open(options);
}
