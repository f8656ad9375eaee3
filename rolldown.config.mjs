/** The `drover` command as a few large files: Node then starts it in a third of the time that 400 modules take. scripts/build.sh says where to. */
export default {
  input: {
    main: "packages/cli/dist/main.js",
    "hash-thread": "packages/worker/dist/bytes/hash/hash-thread.js",
    "run-worker-thread": "packages/worker/dist/runtime/run-worker-thread.js",
    supervisor: "packages/shared/dist/redis/embedded/supervisor.js",
  },
  platform: "node",
  // ES modules instead of CommonJS, which cannot be tree-shaken and makes every start load chunks of the AWS SDK.
  resolve: { alias: { "@aws-sdk/client-s3$": "@aws-sdk/client-s3/dist-es/index.js" } },
  logLevel: "warn",
  output: {
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
  },
};
