import { fileURLToPath } from "node:url";
import { dts } from "rolldown-plugin-dts";

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

/** What stands for the declarations of others. */
const STAND_INS = { zod: here("zod.d.ts"), ioredis: here("ioredis.d.ts") };
const standIns = {
  name: "stand-ins",
  resolveId: { order: "pre", handler: (id) => STAND_INS[id] },
};

/** Node's own types, which a program need not have installed, in the words of the language. */
const withoutNode = {
  name: "without-node",
  transform: {
    filter: { id: /\.d\.ts$/ },
    handler: (code) =>
      code
        .replace(/^\/\/\/ <reference types="node" \/>$/gm, "")
        .replace(/\bBuffer\b/g, "Uint8Array")
        .replace(/NodeJS\.ReadableStream/g, "AsyncIterable<unknown>"),
  },
};

/**
 * The declarations of the library as one file that imports nothing. scripts/package.sh says where to. The compiler has
 * made them, they are only put together: with `oxc` the plugin loads no compiler of its own.
 */
export default {
  input: { library: "packages/cli/dist/library.d.ts" },
  plugins: [standIns, withoutNode, ...dts({ dtsInput: true, emitDtsOnly: true, tsconfig: false, oxc: true })],
  logLevel: "warn",
  checks: { pluginTimings: false },
  output: { format: "esm" },
};
