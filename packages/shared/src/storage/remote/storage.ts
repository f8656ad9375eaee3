import { SettingsError, TransferError } from "../../errors.js";
import { baseName, isBelow, safeRelative } from "../../paths.js";
import { redactUrl } from "../../redact.js";
import { originHost } from "../http/storage.js";
import type { DestinationStorage, Storage } from "../storage.js";
import type { Connect } from "./lister.js";
import { REMOTE_REQUESTS } from "./requests.js";
import { joinRemote, urlOf } from "./root.js";
import { RemoteTree } from "./tree.js";

/** Time limit of a look at the server before a run. */
const LOOK_MS = 10_000;

/** A kind of file server. */
export interface RemoteKind {
  name: string;
  schemes: readonly [string, string];
  /** What people call such a server. */
  noun: string;
  /** Parses a root: canonical, without a slash at its end. @throws SettingsError */
  parseRoot(text: string): string;
  /** Whether a root is that of all files of its server, so that it can be no file. */
  isTop(root: string): boolean;
  /** Loads what speaks to such a server. */
  load(): Promise<Connect>;
}

/** The storage of a kind of file server, which files are written to and not read from. */
export function remoteStorage(kind: RemoteKind): Storage {
  const { name, schemes, noun, load } = kind;
  const unread = (text: string) =>
    new SettingsError(`${redactUrl(text)} cannot be a source: ${noun}s are written to, not read from`);
  return {
    name,
    schemes,
    example: "host/path",
    noun: "file",
    treeNoun: "directory",
    listsSizes: true,
    destination: destinationOf(kind),

    parse(text) {
      throw unread(text);
    },
    hostOf: (location) => hostOfRoot(location),
    requests: REMOTE_REQUESTS,
    identity: () => [],
    flightTerms: () => undefined,
    fileName: (location) => baseName(location),
    isTree: () => true,
    async loadSources() {
      return () => ({
        open({ s }) {
          throw new TransferError("unsupported", unread(s).message, { permanent: true });
        },
      });
    },
    async openLister(options) {
      const { RemoteLister } = await import("./lister.js");
      return new RemoteLister(options, await load());
    },
    async openContents(options) {
      const { RemoteContents } = await import("./contents.js");
      return new RemoteContents(options, await load());
    },
  };
}

function destinationOf({ schemes, parseRoot, isTop, load }: RemoteKind): DestinationStorage {
  return {
    example: `${schemes[0]}://host/path`,
    tellsTimes: false,
    ownDirectory: false,
    parseRoot,
    join: joinRemote,
    asFile(location) {
      if (isTop(location)) return undefined;
      const encoded = baseName(location);
      const root = location.slice(0, -encoded.length - 1);
      return { root, name: decodeURIComponent(encoded) };
    },
    checkName(file) {
      safeRelative(file);
      if (file.isWellFormed()) return;
      const why = `refused name ${JSON.stringify(file)}: it is not valid Unicode`;
      throw new TransferError("path", why, { permanent: true });
    },
    contains: (outer, inner) => isBelow(inner, outer),
    isSame: () => false,
    isShared: () => true,
    hostOf: ({ root }) => hostOfRoot(root ?? ""),
    async prepare(root, { userAgent }) {
      // Every command loads this module; few need what makes requests.
      const { HttpClient } = await import("../http/client.js");
      const http = new HttpClient({ timeoutMs: LOOK_MS, connections: 1, userAgent });
      try {
        const refusal = await (await load())(http, root).refusal(AbortSignal.timeout(LOOK_MS));
        if (refusal) throw new SettingsError(`cannot write to ${root}: ${refusal.message}`);
      } finally {
        await http.close();
      }
    },
    namesOf: (root) => new RemoteTree(root),
    openTree: (root) => new RemoteTree(root),
    mayExist: () => true,
    spellings(text) {
      try {
        return [parseRoot(text)];
      } catch {
        return [text];
      }
    },
    async openCheck(tree, options) {
      const { RemoteCheck } = await import("./check.js");
      return new RemoteCheck(tree as RemoteTree, await load(), options);
    },
    async openForesight(tree, options) {
      const { RemoteForesight } = await import("./foresight.js");
      return new RemoteForesight(tree as RemoteTree, await load(), options);
    },
    refuse(root, _services, allowed) {
      if (allowed.roots.some((each) => isBelow(root, each))) return undefined;
      return `${root} is outside of what this worker writes to`;
    },
    workerRoot: parseRoot,
  };
}

function hostOfRoot(root: string): string {
  return root === "" ? "" : originHost(`${urlOf(root).origin}/`);
}
