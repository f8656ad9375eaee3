import { Listers } from "@drover/producer/expand/listers";
import type { StartWorkerPool } from "@drover/producer/runs/carry/worker-pool";
import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import type { Engine } from "@drover/shared/engine";
import { Catalog, type CatalogTree } from "@drover/shared/protocol/catalog";
import { destinationOf, parseLocation, sourceId } from "@drover/shared/storage/registry";
import { s3Text } from "@drover/shared/storage/s3/object/name";
import type { Lister } from "@drover/shared/storage/storage";
import type { MirrorConfig } from "./config.js";
import { EventStream } from "./events/event-stream.js";
import { MirrorState } from "./state/mirror-state.js";

export interface MirrorOptions {
  engine: Engine;
  config: MirrorConfig;
  /** Carries the files of a run that no fleet carries. */
  startPool: StartWorkerPool;
  keepRuns: number;
  /** Told what a person may want to know, without secrets. */
  tell(message: string): void;
  warn(message: string): void;
}

/** All that the syncs of one mirror work with. */
export interface MirrorContext extends MirrorOptions {
  state: MirrorState;
  stream: EventStream;
  catalog: Catalog;
  tree: CatalogTree;
  /** That of the second bucket, where there is one. */
  backupTree: CatalogTree | undefined;
  /** A run of the whole source: how source and destination are reached. */
  whole: PlannedRun;
}

/**
 * Opens a mirror.
 *
 * @throws SettingsError if its settings cannot be used.
 */
export async function openMirror(options: MirrorOptions): Promise<MirrorContext> {
  const { engine, config } = options;
  const { backup } = config;
  const whole = await planWhole(config, config.root);
  const stream = new EventStream(engine, config.name);
  await stream.open();
  return {
    ...options,
    state: new MirrorState(engine, config.name),
    stream,
    catalog: new Catalog(engine.redis, engine.keys),
    tree: treeOf(config.root, whole),
    backupTree: backup === undefined ? undefined : treeOf(backup, await planWhole(config, backup)),
    whole,
  };
}

function treeOf(root: string, { spec }: PlannedRun): CatalogTree {
  const tree = destinationOf(root).openTree(root, spec);
  tree.close();
  return { id: tree.id, root };
}

/** Plans the run of the whole source. */
export async function planWhole(config: MirrorConfig, root: string): Promise<PlannedRun> {
  const { bucket, prefix } = config;
  return await planRun({
    ...requestTo(config, root),
    selection: { sources: [s3Text({ bucket, key: prefix })] },
    destination: { root },
  });
}

/** What runs to a root have in common. */
export function requestTo(
  { request, backup, backupEndpoint }: MirrorConfig,
  root: string,
): MirrorConfig["request"] {
  if (root !== backup || backupEndpoint === undefined) return request;
  return { ...request, s3: { ...request.s3, destination: { endpoint: backupEndpoint } } };
}

/** Location of a file at the source. */
export function locationOf({ bucket, prefix }: MirrorConfig, path: string): string {
  return s3Text({ bucket, key: `${prefix}${path}` });
}

/** Id in the catalog of the source of a file. */
export function sourceIdOf({ config, whole }: MirrorContext, path: string): string {
  const { text } = parseLocation(locationOf(config, path), { directory: "/" });
  return sourceId(text, whole.spec);
}

/** Opens the lister of the source while `use` runs. */
export async function withLister<T>(
  { config, whole, warn }: MirrorContext,
  signal: AbortSignal,
  use: (lister: Lister, location: string) => Promise<T>,
): Promise<T> {
  const { storage, text } = parseLocation(locationOf(config, ""), { directory: "/" });
  const listers = new Listers({ spec: whole.spec, of: "sources", signal, warn });
  try {
    return await use(await listers.of(storage), text);
  } finally {
    await listers.close();
  }
}
