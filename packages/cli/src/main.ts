import { enableCompileCache } from "node:module";

// Caches compiled code between starts: compilation takes half the time of a short run.
enableCompileCache();
const { main } = await import("./program.js");
process.exitCode = await main(process.argv.slice(2));
