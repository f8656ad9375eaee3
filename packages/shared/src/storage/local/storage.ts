import { accessSync, constants, existsSync, opendirSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { errnoCode, SettingsError } from "../../errors.js";
import { makeDirectory } from "../../make-directory.js";
import { liesWithin, realAncestor, safeRelative } from "../../paths.js";
import type { DestinationStorage, Sources, Storage } from "../storage.js";
import { LocalNames } from "./names.js";
import { LocalTree } from "./tree.js";

/** Local directories as destinations. */
const destination: DestinationStorage = {
  example: "a directory",
  tellsTimes: true,
  ownDirectory: true,
  parseRoot,
  join,
  asFile(path) {
    const name = basename(path);
    return name === "" || isDirectory(path) ? undefined : { root: dirname(path), name };
  },
  checkName: safeRelative,
  contains: (outer, inner) => liesWithin(inner, outer),
  isSame(source, root) {
    try {
      return realpathSync(source) === realpathSync(root);
    } catch {
      return false; // one of them does not exist
    }
  },
  isShared: () => true,
  hostOf: () => "",
  async prepare(root) {
    try {
      makeDirectory(root);
      accessSync(root, constants.W_OK);
    } catch (error) {
      const code = errnoCode(error) ?? "";
      const why = /^(EEXIST|ENOTDIR)$/.test(code) ? ": not a directory" : "";
      throw new SettingsError(`cannot write to ${root} (${code})${why}: choose another destination`);
    }
  },
  namesOf: (root) => new LocalNames(realAncestor(root)),
  openTree: (root) => new LocalTree(root),
  mayExist: (root) => statSync(root, { throwIfNoEntry: false })?.isDirectory() ?? false,
  async openForesight(tree) {
    const { LocalForesight } = await import("./foresight.js");
    return new LocalForesight(tree);
  },
  spellings(text) {
    const path = resolve(text);
    try {
      return [path, realpathSync(text)];
    } catch {
      return [path]; // it may be gone: then only its own name counts
    }
  },
  refuse(root, _services, { roots }) {
    if (roots.some((each) => !each.includes("://") && liesWithin(root, each))) return undefined;
    return `${root} is outside of the directories that this worker writes to`;
  },
  workerRoot(text, directory) {
    const root = parsePath(text, directory);
    try {
      accessSync(root, constants.W_OK);
      // Links are resolved now: where they lead later was not allowed by the user.
      if (statSync(root).isDirectory()) return realpathSync(root);
    } catch (error) {
      throw new SettingsError(`cannot write to --root ${root} (${errnoCode(error)})`);
    }
    throw new SettingsError(`--root ${root} is not a directory`);
  },
};

/** Local files and directories. */
export const localStorage: Storage = {
  name: "local",
  schemes: ["file"],
  noun: "file",
  treeNoun: "directory",
  hasLinks: true,
  listsSizes: true,
  destination,

  parse: (text, { directory }) => parsePath(text, directory),
  hostOf: () => "",
  identity: () => [],
  flightTerms: () => undefined,
  fileName: (location) => basename(location),
  isTree(location) {
    if (!isDirectory(location)) return false;
    try {
      opendirSync(location).closeSync();
      return true;
    } catch (error) {
      throw new SettingsError(`cannot list the directory ${location} (${errnoCode(error)})`);
    }
  },
  async loadSources() {
    const { LocalSource } = await import("./source.js");
    return ({ spec }): Sources => ({ open: (job) => new LocalSource(job.s, spec.readsBelow) });
  },
  async openContents() {
    const { LocalContents } = await import("./contents.js");
    return new LocalContents();
  },
  async openPeek() {
    const { LocalPeek } = await import("./peek.js");
    return new LocalPeek();
  },
  async openLister({ spec, of }) {
    const { LocalLister } = await import("./lister.js");
    if (of === "destination") return new LocalLister(undefined);
    return new LocalLister(spec.root, spec.followLinks ? { readsBelow: spec.readsBelow } : undefined);
  },
};

/**
 * The absolute path of a destination.
 *
 * @throws SettingsError for what other tools write for standard output, and for a remote or a host (`NAME:`): it would
 *   be a file or a directory of that name, which is where nobody looks for it. `./NAME:` names one; `10:30` is a time.
 */
function parseRoot(text: string, directory: string): string {
  if (text === "-")
    throw new SettingsError("nothing is written to standard output: ./- is a file of that name");
  const [first = "", remote] = /^([a-z][\w.@+-]*:)(?!\/\/|\d\d)[^/]*/i.exec(text) ?? [];
  if (remote !== undefined && !existsSync(join(directory, first)))
    throw new SettingsError(
      `${remote} is no directory here: write s3://bucket/prefix for S3, or ./${remote}… for a path`,
    );
  return parsePath(text, directory);
}

/** The absolute path of a path or a file URL. @throws SettingsError for an invalid file URL, and for a NUL. */
function parsePath(text: string, directory: string): string {
  if (text.includes("\0")) throw new SettingsError(`the path ${JSON.stringify(text)} contains a NUL`);
  if (!/^file:\/\//i.test(text)) return resolve(directory, text);
  try {
    return fileURLToPath(text);
  } catch {
    throw new SettingsError(`invalid file URL ${text}: write file:///absolute/path`);
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    return false; // reported for the file itself, when it is carried
  }
}
