import type { Command } from "commander";
import { EXIT } from "../../exit.js";
import { bashCompletion } from "../../reference/bash.js";
import { fishCompletion } from "../../reference/fish.js";
import { commandTable } from "../../reference/table.js";
import { zshCompletion } from "../../reference/zsh.js";

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

/** `drover completion SHELL`: prints the script. */
export function printCompletion(program: Command, shell: keyof typeof SCRIPTS): number {
  process.stdout.write(SCRIPTS[shell](commandTable(program)));
  return EXIT.ok;
}
