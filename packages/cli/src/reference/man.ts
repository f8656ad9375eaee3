import { SETTINGS, type SettingName, variableOf } from "../settings/settings.js";
import { EXIT_CODES, FETCH_EXIT_CODES, FILES, type Term, VARIABLES } from "./man-text.js";
import { bold, commandLine, italic, prose, roff, section, subsection, tagged } from "./roff.js";
import { allCommands, type CommandRow, globalOptions, type OptionRow } from "./table.js";

export interface ManOptions {
  version: string;
  /** Of the page's foot, such as 2026-11-29. */
  date: string;
}

/**
 * The manual: `drover.1`, and a page for each command with all that it has below it.
 *
 * @returns text in roff by the name of the file.
 */
export function manPages(table: CommandRow, options: ManOptions): Map<string, string> {
  const pages = new Map([["drover.1", programPage(table, options)]]);
  for (const command of table.commands) {
    if (command.path[0] === "help") continue;
    pages.set(`${pageOf(command)}.1`, commandPage(command, globalOptions(table), options));
  }
  return pages;
}

const pageOf = ({ path }: CommandRow): string => ["drover", ...path].join("-");

function head(name: string, what: string, { version, date }: ManOptions): string[] {
  return [
    `.TH ${roff(name.toUpperCase())} 1 ${date} "drover ${roff(version)}" "Drover"`,
    section("name"),
    `${roff(name)} \\- ${roff(what)}`,
  ];
}

function programPage(table: CommandRow, options: ManOptions): string {
  const groups = Map.groupBy(table.commands, ({ group }) => group);
  const commands = [...groups].flatMap(([group, rows]) => [
    ...(group === "" ? [] : [subsection(group.replace(/:$/, ""))]),
    ...rows.map((row) =>
      tagged(`${bold(`drover ${row.path.join(" ")}`)} ${shownArguments(row)}`.trim(), row.help),
    ),
  ]);
  return page([
    ...head("drover", "moves files", options),
    section("synopsis"),
    `${bold("drover")} [${italic("option")} ...] ${italic("command")} [${italic("argument")} ...]`,
    section("description"),
    prose(table.help),
    ".PP",
    prose("Each command has a page of its own, such as drover-sync(1), and tells its options with --help."),
    section("commands"),
    ...commands,
    section("options"),
    prose("Every command has these, before its name or behind it, but for the version."),
    ...table.options.map(optionText),
    section("exit status"),
    prose("drover fetch has others: see drover-fetch(1)."),
    ...EXIT_CODES.map(term),
    section("environment"),
    prose("Flags go before variables, these before drover.yaml. An empty variable counts as not set."),
    ...(Object.keys(SETTINGS) as SettingName[]).map(settingText),
    ...VARIABLES.map(term),
    section("files"),
    ...FILES.map(term),
    ...examples(table),
    section("see also"),
    table.commands
      .filter(({ path }) => path[0] !== "help")
      .map((row) => `${bold(pageOf(row))}(1)`)
      .join(",\n"),
  ]);
}

function commandPage(row: CommandRow, shared: OptionRow[], options: ManOptions): string {
  return page([
    ...head(pageOf(row), row.help, options),
    section("synopsis"),
    ...runnable(row).flatMap((each, at) => [...(at > 0 ? [".br"] : []), synopsis(each)]),
    section("description"),
    prose(sentence(row.help)),
    ...argumentTexts(row),
    ...(row.runs ? [section("options"), ...optionTexts(row, subsection)] : []),
    ...(row.commands.length > 0 ? [section("commands"), ...row.commands.flatMap(subcommand)] : []),
    section("options of every command"),
    ...shared.map(optionText),
    section("exit status"),
    ...(row.path[0] === "fetch" ? FETCH_EXIT_CODES : EXIT_CODES).map(term),
    ...examples(row),
    section("see also"),
    `${bold("drover")}(1)`,
  ]);
}

function page(lines: string[]): string {
  return `${lines.join("\n")}\n`;
}

/** The commands that do something: it, and those below it. */
function runnable(row: CommandRow): CommandRow[] {
  return allCommands(row).filter(({ runs, path }) => runs && path.at(-1) !== "help");
}

function subcommand(row: CommandRow): string[] {
  if (row.path.at(-1) === "help") return [];
  return [
    subsection(`drover ${row.path.join(" ")}`),
    prose(sentence(row.help)),
    ...argumentTexts(row),
    ...optionTexts(row, (title) => `.PP\n${italic(`${title}:`)}`),
    ...row.commands.flatMap(subcommand),
  ];
}

function synopsis(row: CommandRow): string {
  const options = row.options.length === 0 ? "" : ` [${italic("option")} ...]`;
  return `${bold(`drover ${row.path.join(" ")}`)}${options} ${shownArguments(row)}`.trimEnd();
}

function shownArguments(row: CommandRow): string {
  return row.arguments.map(({ shown }) => italic(shown.replace(/^<(.*)>$/, "$1"))).join(" ");
}

function argumentTexts(row: CommandRow): string[] {
  const told = row.arguments.filter(({ help }) => help !== "");
  return told.map(({ shown, help }) => tagged(italic(shown.replace(/[<>[\]]/g, "")), help));
}

/** The options of a command under the headings of its help, where there are several. @param heading roff of one. */
function optionTexts({ options }: CommandRow, heading: (title: string) => string): string[] {
  const groups = Map.groupBy(options, ({ group }) => group);
  return [...groups].flatMap(([group, rows]) => [
    ...(groups.size === 1 ? [] : [heading(group.replace(/:$/, ""))]),
    ...rows.map(optionText),
  ]);
}

function optionText({ names, value, help }: OptionRow): string {
  return tagged(`${names.map(bold).join(", ")} ${italic(value)}`.trimEnd(), help);
}

function settingText(name: SettingName): string {
  const { environment, help } = SETTINGS[name];
  return tagged([variableOf(name), ...environment].map(bold).join(", "), `as --${name}: ${help}`);
}

function term([word, meaning]: Term): string {
  return tagged(bold(word), meaning);
}

function examples({ examples: all }: CommandRow): string[] {
  if (all.length === 0) return [];
  return [
    section("examples"),
    ...all.flatMap(([what, line], at) => [
      ...(at > 0 ? [".PP"] : []),
      prose(sentence(what)),
      commandLine(line),
    ]),
  ];
}

/** With a capital and a full stop. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}
