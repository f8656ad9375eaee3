import { execFile } from "node:child_process";
import { lstatSync, mkdirSync, readFileSync, readlinkSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { here } from "./named-trees.js";

const run = promisify(execFile);
/** Without a configuration of the machine's. */
const ENV = { PATH: process.env.PATH, RCLONE_CONFIG: "/dev/null" };

export const hasRclone = await run("rclone", ["version"], { env: ENV }).then(
  () => true,
  () => false,
);

/**
 * Runs rclone in a directory.
 *
 * @returns its exit code.
 */
export async function rclone(args: string[], cwd: string, env: Record<string, string> = {}): Promise<number> {
  return await run("rclone", args, { cwd, env: { ...ENV, ...env } }).then(
    () => 0,
    (error: { code: number }) => error.code,
  );
}

/** A file: what it holds, and its modification time in seconds from a fixed day on. */
export interface Planted {
  text: string;
  second: number;
}

/** 2026-01-01, as Unix time in seconds. */
const DAY = 1_767_225_600;

/** Files by name. */
export type PlantedTree = Map<string, Planted>;

export function plant(root: string, tree: PlantedTree): void {
  mkdirSync(root, { recursive: true });
  for (const [name, { text, second }] of tree) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    utimesSync(path, DAY + second, DAY + second);
  }
}

/** What is below a directory: names, what the files hold, and their times in seconds from the fixed day on. */
export function planted(root: string): Record<string, Planted> {
  const found = here(root).map((name): [string, Planted] => {
    const stat = lstatSync(join(root, name));
    const text = stat.isSymbolicLink()
      ? `-> ${readlinkSync(join(root, name))}`
      : readFileSync(join(root, name), "utf8");
    return [name, { text, second: Math.round((stat.mtimeMs / 1000 - DAY) * 1000) / 1000 }];
  });
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Numbers from 0 to 1, the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The environment in which `t:` is a remote at an S3 service. */
export function remoteEnv(endpoint: string): Record<string, string> {
  return {
    RCLONE_CONFIG_T_TYPE: "s3",
    RCLONE_CONFIG_T_PROVIDER: "Other",
    RCLONE_CONFIG_T_LIST_VERSION: "2",
    RCLONE_CONFIG_T_LIST_URL_ENCODE: "true",
    RCLONE_CONFIG_T_ENDPOINT: endpoint,
    RCLONE_CONFIG_T_ACCESS_KEY_ID: "key",
    RCLONE_CONFIG_T_SECRET_ACCESS_KEY: "secret",
    RCLONE_CONFIG_T_REGION: "us-east-1",
    RCLONE_CONFIG_T_NO_CHECK_BUCKET: "true",
  };
}
