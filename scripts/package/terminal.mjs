/** Writes the manual and the completions into `man` and `completions` of the directory that is named. Needs a build. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildProgram } from "../../packages/cli/dist/program.js";
import { bashCompletion } from "../../packages/cli/dist/reference/bash.js";
import { fishCompletion } from "../../packages/cli/dist/reference/fish.js";
import { manPages } from "../../packages/cli/dist/reference/man.js";
import { commandTable } from "../../packages/cli/dist/reference/table.js";
import { zshCompletion } from "../../packages/cli/dist/reference/zsh.js";

const [directory] = process.argv.slice(2);
const { version } = JSON.parse(readFileSync("packages/cli/package.json", "utf8"));
const { SOURCE_DATE_EPOCH: seconds } = process.env;
const date = (seconds ? new Date(Number(seconds) * 1000) : new Date()).toISOString().slice(0, 10);

const table = commandTable(buildProgram(() => {}));
write("man", manPages(table, { version, date }));
write("completions", [
  ["drover.bash", bashCompletion(table)],
  ["_drover", zshCompletion(table)],
  ["drover.fish", fishCompletion(table)],
]);

function write(below, files) {
  mkdirSync(join(directory, below), { recursive: true });
  for (const [name, text] of files) writeFileSync(join(directory, below, name), text);
}
