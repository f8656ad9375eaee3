import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

/** A call of the file system that is about to be made, with the paths it is given. */
export type FsCall = { name: string; paths: string[] };

const WATCHED = [
  "lstatSync",
  "linkSync",
  "renameSync",
  "openSync",
  "unlinkSync",
  "rmSync",
  "mkdirSync",
] as const;

let hook: ((call: FsCall) => void) | undefined;
let isWithin = false;

for (const name of WATCHED) {
  const real = fs[name] as (...args: unknown[]) => unknown;
  (fs as unknown as Record<string, unknown>)[name] = (...args: unknown[]) => {
    if (hook && !isWithin) {
      isWithin = true;
      try {
        hook({ name, paths: args.filter((each) => typeof each === "string") as string[] });
      } finally {
        isWithin = false;
      }
    }
    return real(...args);
  };
}
syncBuiltinESMExports();

/** Calls something before each call of the file system in this process, until the work is done. */
export async function beforeFsCalls<T>(before: (call: FsCall) => void, work: () => Promise<T>): Promise<T> {
  hook = before;
  try {
    return await work();
  } finally {
    hook = undefined;
  }
}
