import { BACKUPS, DIRECTIONS, STRATEGIES } from "@drover/shared/pair/decide";
import type { Argument, Command, Option } from "commander";
import { type Example, examplesOf } from "../display/help.js";
import { LEVEL_NAMES } from "../settings/log-level.js";

/** What only Redis knows, as `drover __complete` is asked for it. */
export const KNOWN = ["runs", "hosts", "labels", "pairs"] as const;
export type Known = (typeof KNOWN)[number];

/** What may stand for a value. */
export type Completion =
  | { is: "words"; words: readonly string[] }
  | { is: "files" | "directories" | "nothing" }
  /** @property suffix what always follows, such as the equals sign of `HOST=LIMIT`. */
  | { is: "known"; what: Known; suffix: string };

export interface OptionRow {
  /** `--name`, and `-n` where it has one, in the order of the help. */
  names: string[];
  /** What stands for its value in the help; "" if it takes none. */
  value: string;
  completion: Completion;
  help: string;
  /** Heading of the help that it is under. */
  group: string;
}

export interface ArgumentRow {
  /** As the help has it, such as `[source...]`. */
  shown: string;
  isVariadic: boolean;
  completion: Completion;
  help: string;
}

/** One command as its help, the completions and the manual know it. */
export interface CommandRow {
  /** Names behind `drover`; empty for the program. */
  path: string[];
  /** Whether it does something itself, with or without commands below it. */
  runs: boolean;
  help: string;
  /** Heading of the help that it is under. */
  group: string;
  options: OptionRow[];
  arguments: ArgumentRow[];
  commands: CommandRow[];
  examples: Example[];
}

/** The values of what has one name for its value in every command. */
const WORDS: Record<string, readonly string[]> = {
  WAY: DIRECTIONS,
  STRATEGY: STRATEGIES,
  WHAT: BACKUPS,
  SIDE: ["local", "remote"],
  VERSION: ["local", "remote", "newest", "both"],
  HOW: ["fsync", "none"],
  LEVEL: Object.values(LEVEL_NAMES).map((name) => name.toLowerCase()),
};
const HOSTS = { is: "known", what: "hosts" } as const;

/** The commands of a program that are not hidden, with all of their options. */
export function commandTable(command: Command, path: string[] = []): CommandRow {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  const options = help.visibleOptions(command).map(optionRow);
  // A group runs its default command where none is named, and so takes its options.
  const preset = children.find((child) => child.name() === presetOf(command));
  for (const option of preset ? help.visibleOptions(preset).map(optionRow) : [])
    if (!options.some(({ names }) => names.some((name) => option.names.includes(name)))) options.push(option);
  const isHelp = path.at(-1) === "help";
  return {
    path,
    runs:
      children.length === 0 || (path.length > 0 && options.some(({ names }) => !names.includes("--help"))),
    help: command.description(),
    group: command.helpGroup(),
    options,
    arguments: isHelp ? [] : command.registeredArguments.map(argumentRow),
    commands: children.map((child) => commandTable(child, [...path, child.name()])),
    examples: examplesOf(command),
  };
}

/** The options that every command has besides its own: those of the program but its help and its version. */
export function globalOptions(program: CommandRow): OptionRow[] {
  return program.options.filter(({ names }) => !names.includes("--help") && !names.includes("--version"));
}

/** All commands of a table, the program first. */
export function allCommands(table: CommandRow): CommandRow[] {
  return [table, ...table.commands.flatMap(allCommands)];
}

/** Name of the command that a group runs where none is named. */
function presetOf(command: Command): string | undefined {
  return (command as unknown as { _defaultCommandName?: string })._defaultCommandName;
}

function optionRow(option: Option): OptionRow {
  const value = /[<[](.*?)(?:\.\.\.)?[>\]]/.exec(option.flags)?.[1] ?? "";
  return {
    names: [option.short, option.long].filter((name) => name !== undefined),
    value,
    completion: completionOf(option.long ?? "", value, option.argChoices),
    help: option.description,
    group: option.helpGroupHeading ?? "Options:",
  };
}

function argumentRow(argument: Argument): ArgumentRow {
  const name = argument.name();
  const dots = argument.variadic ? "..." : "";
  return {
    shown: argument.required ? `<${name}${dots}>` : `[${name}${dots}]`,
    isVariadic: argument.variadic,
    completion: argumentCompletion(name, argument.argChoices),
    help: argument.description,
  };
}

function completionOf(name: string, value: string, choices: readonly string[] | undefined): Completion {
  const words = choices ?? (/^[a-z0-9-]+(\|[a-z0-9-]+)+$/.test(value) ? value.split("|") : WORDS[value]);
  if (words !== undefined) return { is: "words", words };
  if (name === "--label") return { is: "known", what: "labels", suffix: "" };
  if (value === "HOST") return { ...HOSTS, suffix: "" };
  if (value === "HOST=LIMIT") return { ...HOSTS, suffix: "=" };
  if (/^(FILE|LIST|DEST)\b/.test(value)) return { is: "files" };
  return { is: /^DIR\b/.test(value) ? "directories" : "nothing" };
}

function argumentCompletion(name: string, choices: readonly string[] | undefined): Completion {
  if (choices !== undefined) return { is: "words", words: choices };
  if (name === "run") return { is: "known", what: "runs", suffix: "" };
  if (name === "pair") return { is: "known", what: "pairs", suffix: "" };
  if (name === "dir" || name === "tree") return { is: "directories" };
  return { is: /^(id|name|command)$/.test(name) ? "nothing" : "files" };
}
