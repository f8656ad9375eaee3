import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import type { FakeS3 } from "../fake-s3.js";

/** A call of the file system that is about to be made, with the paths it is given; or a request, with its key. */
export type Step = { name: string; paths: string[] };

const WATCHED = [
  "lstatSync",
  "linkSync",
  "renameSync",
  "openSync",
  "unlinkSync",
  "rmSync",
  "mkdirSync",
] as const;

let hook: ((step: Step) => void) | undefined;
let isWithin = false;

for (const name of WATCHED) {
  const real = fs[name] as (...args: unknown[]) => unknown;
  (fs as unknown as Record<string, unknown>)[name] = (...args: unknown[]) => {
    if (hook && !isWithin)
      alone(hook, { name, paths: args.filter((each) => typeof each === "string") as string[] });
    return real(...args);
  };
}
syncBuiltinESMExports();

/** Calls a hook, whose own calls have none before them. */
function alone(before: (step: Step) => void, step: Step): void {
  isWithin = true;
  try {
    before(step);
  } finally {
    isWithin = false;
  }
}

/**
 * Calls something before each call of the file system below one of the directories, and each request to S3, until the work is
 * done.
 */
export async function beforeSteps<T>(
  { roots, s3 }: { roots: string[]; s3: FakeS3 | undefined },
  before: (step: Step) => void,
  work: () => Promise<T>,
): Promise<T> {
  // Drover goes by the descriptors of directories.
  const all = [...roots, "/proc/self/fd"];
  hook = (step) => {
    if (step.paths.some((path) => all.some((root) => path === root || path.startsWith(`${root}/`))))
      before(step);
  };
  if (s3)
    s3.before = ({ method, key }) => {
      alone(before, { name: method, paths: [key] });
      return undefined;
    };
  try {
    return await work();
  } finally {
    hook = undefined;
    if (s3) s3.before = () => undefined;
  }
}
