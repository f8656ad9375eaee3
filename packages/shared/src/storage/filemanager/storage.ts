import { remoteStorage } from "../remote/storage.js";
import type { Storage } from "../storage.js";
import { parseFileManagerRoot, placeOf } from "./root.js";

/** Files of file managers that speak Drover's contract. */
export const fileManagerStorage: Storage = remoteStorage({
  name: "filemanager",
  schemes: ["filemanager+https", "filemanager+http"],
  noun: "file manager",
  parseRoot: parseFileManagerRoot,
  isTop: (root) => placeOf(root).prefix === "",
  async load() {
    return (await import("./connect.js")).connectFileManager;
  },
});
