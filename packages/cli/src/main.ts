import { enableCompileCache } from "node:module";

// Compiled code is kept between starts: without it half of a short run is spent on compiling.
enableCompileCache();
const { main } = await import("./program.js");
process.exitCode = await main(process.argv.slice(2));
