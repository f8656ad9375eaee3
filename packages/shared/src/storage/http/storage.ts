import { SettingsError } from "../../errors.js";
import { redactUrl } from "../../redact.js";
import type { Lister, Sources, Storage } from "../storage.js";

/** Files at http(s) URLs: read-only, without listings. */
export const httpStorage: Storage = {
  name: "http",
  schemes: ["http", "https"],
  example: "host/path",
  noun: "file",
  treeNoun: "listing",
  hasHosts: true,
  listsSizes: false,
  revalidates: (version) => version.startsWith("e"), // an ETag

  parse(text) {
    try {
      const url = new URL(text);
      url.hash = "";
      return url.href;
    } catch {
      throw new SettingsError(`invalid URL ${redactUrl(text)}`);
    }
  },
  hostOf: (location) => originHost(location),
  requests: { read: { get: 1 } },
  identity: () => [],
  flightTerms: () => undefined,
  /** `name`: the decoded last segment, or `index` if it is empty. `url`: host and path. */
  fileName(location, layout) {
    const url = new URL(location);
    const segments = url.pathname.split("/").slice(1);
    const last = segments.at(-1) === "" ? "index" : decode(segments.at(-1) as string);
    if (layout === "name") return last;
    const host = url.port === "" ? url.hostname : `${url.hostname}:${url.port}`;
    return [host, ...segments.slice(0, -1).map(decode), last].join("/");
  },
  isTree: () => false,
  async loadSources() {
    const { HttpSource } = await import("./source.js");
    return ({ http, headers, secretLocation }): Sources => {
      const open = (url: string) => new HttpSource(http, url, headers);
      return { open: (job) => (job.k === 1 ? secretLocation(job).then(open) : open(job.s)) };
    };
  },
  openLister: async () => SINGLE_FILES,
  async openContents(options) {
    const { HttpContents } = await import("./contents.js");
    return new HttpContents(options);
  },
};

/** Cache: scheme and authority of the last URL with the slash after them, usually those of the next one. */
let lastOrigin = "";
let lastHost = "";

/** `host:port` of an http(s) URL, or "" for any other text. */
export function originHost(url: string): string {
  if (lastOrigin !== "" && url.startsWith(lastOrigin)) return lastHost;
  const match = /^(https?):\/\/(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:]*)(?::(\d+))?/i.exec(url);
  if (!match) return "";
  const port = match[3] ?? (match[1]?.toLowerCase() === "https" ? "443" : "80");
  const host = `${match[2]?.toLowerCase()}:${port}`;
  if (url[match[0].length] === "/") {
    lastOrigin = `${match[0]}/`;
    lastHost = host;
  }
  return host;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // not percent-encoded after all
  }
}

/** A URL is one file; there is no way to list what is below it. */
const SINGLE_FILES: Lister = {
  look: async () => ({ is: "file", version: undefined }),
  list: () => {
    throw new Error("a URL has no listing");
  },
  names: () => {
    throw new Error("a URL has no listing");
  },
  close: async () => {},
};
