import { parseRemote, urlOf } from "../remote/root.js";
import { remoteStorage } from "../remote/storage.js";
import type { Storage } from "../storage.js";

/** Files of WebDAV servers. */
export const webDavStorage: Storage = remoteStorage({
  name: "webdav",
  schemes: ["webdav+https", "webdav+http"],
  noun: "WebDAV server",
  parseRoot: parseRemote,
  isTop: (root) => urlOf(root).path === "",
  async load() {
    const { WebDavServer } = await import("./server.js");
    return (http, root) => new WebDavServer(http, root);
  },
});
