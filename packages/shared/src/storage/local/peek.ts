import type { Peek, Peeked } from "../storage.js";
import { digestOfFile } from "./digest-of-file.js";
import { LocalSource } from "./source.js";

/** Looks at single local files. Their bytes are read only for a digest. */
export class LocalPeek implements Peek {
  async look(location: string): Promise<Peeked> {
    const opened = await new LocalSource(location).open("");
    if (opened.is === "body") opened.body.abort(new Error("it is only looked at"));
    const { entry } = opened;
    return {
      entry,
      path: location,
      isVersion: (known) => known !== "" && known === entry.version,
      digest: (algorithm) => digestOfFile(location, algorithm),
    };
  }

  async close(): Promise<void> {}
}
