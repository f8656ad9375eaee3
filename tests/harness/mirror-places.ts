import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { filesBelow } from "./drover.js";
import type { FakeS3 } from "./fake-s3.js";
import { apache, type FileServerKind, fileManager, nginx, rclone } from "./file-servers.js";

/** A destination of a mirror whose source is below `in/` of the bucket of a fake S3. */
export interface MirrorPlace {
  readonly root: string;
  /** Content by name, without what is a server's own. */
  tree(): Record<string, string>;
  /** Permission bits of a file; undefined where there are none. */
  modeOf(name: string): number | undefined;
  /** Files that are neither published nor a server's own. */
  leftovers(): string[];
  stop(): Promise<void>;
}

export interface MirrorPlaceKind {
  readonly name: string;
  /** Undefined where it can be had here. */
  readonly absent: string | undefined;
  /** Whether a file is moved over another one in one step. */
  readonly replacesByMove: boolean;
  readonly keepsModes: boolean;
  start(s3: FakeS3): Promise<MirrorPlace>;
}

const STAGED = /(^|\/)\.drover-[\w-]{16}(\/|$)/;

function inDirectory(directory: string): Pick<MirrorPlace, "tree" | "modeOf" | "leftovers"> {
  const names = () =>
    (existsSync(directory) ? filesBelow(directory) : [])
      .map((path) => path.slice(directory.length + 1))
      .filter((name) => !name.startsWith(".drover-file-manager/"));
  return {
    tree: () =>
      Object.fromEntries(
        names()
          .filter((name) => !STAGED.test(name))
          .map((name) => [name, readFileSync(join(directory, name), "utf8")]),
      ),
    modeOf: (name) => statSync(join(directory, name)).mode & 0o777,
    leftovers: () => names().filter((name) => STAGED.test(name)),
  };
}

const local: MirrorPlaceKind = {
  ...{ name: "a directory", absent: undefined, replacesByMove: true, keepsModes: true },
  async start() {
    const path = mkdtempSync("/tmp/dvp-");
    const root = join(path, "out");
    return {
      ...inDirectory(root),
      root,
      async stop() {
        rmSync(path, { recursive: true, force: true });
      },
    };
  },
};

const s3: MirrorPlaceKind = {
  ...{ name: "S3", absent: undefined, replacesByMove: true, keepsModes: true },
  async start(fake) {
    const names = () =>
      fake.keys.filter((key) => key.startsWith("out/")).map((key) => key.slice("out/".length));
    return {
      root: "s3://bucket/out",
      tree: () =>
        Object.fromEntries(
          names()
            .filter((name) => !STAGED.test(name))
            .map((name) => [name, String(fake.stored(`out/${name}`)?.content)]),
        ),
      modeOf(name) {
        const mode = fake.stored(`out/${name}`)?.headers["x-amz-meta-mode"];
        return mode === undefined ? undefined : Number.parseInt(mode, 8) & 0o777;
      },
      leftovers: () => names().filter((name) => STAGED.test(name)),
      async stop() {},
    };
  },
};

function served(
  kind: FileServerKind,
  how: Pick<MirrorPlaceKind, "replacesByMove" | "keepsModes">,
): MirrorPlaceKind {
  return {
    ...{ name: kind.name, absent: kind.absent, ...how },
    async start() {
      const server = await kind.start();
      return { ...inDirectory(server.directory), root: server.root, stop: () => server.stop() };
    },
  };
}

/** Kinds of destinations that mirrors are tested with. */
export const MIRROR_PLACES: readonly MirrorPlaceKind[] = [
  local,
  s3,
  served(fileManager, { replacesByMove: true, keepsModes: true }),
  served(apache, { replacesByMove: false, keepsModes: false }),
  served(nginx, { replacesByMove: true, keepsModes: false }),
  served(rclone, { replacesByMove: false, keepsModes: false }),
];
