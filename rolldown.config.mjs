/** The `drover` command as a few large files: Node then starts it in a third of the time that 400 modules take. scripts/build.sh says where to. */
export default {
  input: {
    main: "packages/cli/dist/main.js",
    "hash-worker": "packages/worker/dist/hash-worker.js",
    "carrier-thread": "packages/worker/dist/carrier-thread.js",
    keeper: "packages/shared/dist/redis/keeper.js",
  },
  platform: "node",
  logLevel: "warn",
  output: {
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
  },
};
