import { assets, withoutEval } from "./scripts/package/assets.mjs";
import { licenses } from "./scripts/package/licenses.mjs";

/** Modules that every command and the supervisor of Drover's own Redis load. */
const ERRORS = /packages\/shared\/dist\/(errors|make-directory)\.js$/;
/** Modules that every command loads. */
const START =
  /packages\/shared\/dist\/(redact|ids|logins|pair\/decide|paths|outcome|size|start-tracing|tracing|redis\/address|protocol\/(catalog-entry|packed)|storage\/(registry|\w+\/(storage|tree|name|service)))\.js$/;
/** Small modules of the command that every command loads, and some of what they load later: one file starts faster than ten. */
const COMMAND =
  /packages\/cli\/dist\/(exit|output|display\/(color|help|other-tools)|log\/log|settings\/(log-level|nearest|option-error|own-options|settings|units|config-files))\.js$/;
/** What the supervisor of Drover's own Redis, and threads that hash, load: they are small, and must stay so. */
const SUPERVISED = /packages\/shared\/dist\/redis\/embedded\/(layout|local-redis)\.js$/;
const DIGEST =
  /packages\/worker\/dist\/bytes\/hash\/digest\.js$|@aws-sdk\/checksums\/dist-es\/submodules\/crc\/|@smithy\/core\/dist-es\/submodules\/checksum\/crc32\//;

/** Modules that every run loads, with all that they import: one file starts faster than forty. */
const RUN =
  /packages\/(producer\/dist\/runs\/(plan|submit)|worker\/dist\/runtime\/local-worker-pool|shared\/dist\/(engine|storage\/(local|http)\/source))\.js$/;

/** The `drover` command as a few large files: Node then starts it in a third of the time that 400 modules take. scripts/build.sh says where to. */
export default {
  input: {
    main: "packages/cli/dist/main.js",
    "hash-thread": "packages/worker/dist/bytes/hash/hash-thread.js",
    "run-worker-thread": "packages/worker/dist/runtime/run-worker-thread.js",
    supervisor: "packages/shared/dist/redis/embedded/supervisor.js",
    library: "packages/cli/dist/library.js",
  },
  platform: "node",
  // ES modules instead of CommonJS, which cannot be tree-shaken and makes every start load chunks of the AWS SDK.
  resolve: {
    alias: {
      "@aws-sdk/client-s3$": "@aws-sdk/client-s3/dist-es/index.js",
      "@aws-sdk/client-sqs$": "@aws-sdk/client-sqs/dist-es/index.js",
    },
  },
  plugins: [licenses, assets, withoutEval],
  logLevel: "warn",
  output: {
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    codeSplitting: {
      groups: [
        { name: "errors", test: ERRORS, priority: 2 },
        { name: "start", test: START, priority: 2 },
        { name: "command", test: COMMAND, priority: 2 },
        { name: "supervised", test: SUPERVISED, priority: 2 },
        { name: "digest", test: DIGEST, priority: 2 },
        { name: "run", test: RUN, priority: 1 },
      ],
    },
  },
};
