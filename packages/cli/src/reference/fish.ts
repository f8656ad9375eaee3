import { allCommands, type CommandRow, type Completion, globalOptions, type OptionRow } from "./table.js";

/** What does not depend on the commands and options, but for the two names between signs. */
const FUNCTIONS = `
# Whether the command so far is $argv[1].
function __drover_at
    set -l path
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case @VALUED@
                set skip yes
            case '-*'
            case '*'
                contains -- (string join ' ' $path $word) @PATHS@; or break
                set path $path $word
        end
    end
    test "$path" = "$argv[1]"
end

# What Redis knows of $argv[1], each with $argv[2].
function __drover_known
    set -l words (commandline -opc)
    set -l found ($words[1] __complete $argv[1] -- $words[2..-1] 2>/dev/null)
    test (count $found) -gt 0; and printf "%s$argv[2]\\n" $found
end

complete -c drover -f
`;

/** The script that completes `drover` in fish. */
export function fishCompletion(table: CommandRow): string {
  const all = allCommands(table);
  const shared = globalOptions(table);
  const valued = shared.filter(({ value }) => value !== "").flatMap(({ names }) => names);
  const paths = all.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(" ")));
  const functions = FUNCTIONS.replace("@VALUED@", valued.join(" ")).replace("@PATHS@", paths.join(" "));
  const rows = all.flatMap((row) => [
    ...commandLines(row),
    ...row.options.flatMap((each) => optionLine(each, row)),
  ]);
  const everywhere = shared.map((each) => optionLine(each));
  return `# Completes drover in fish; made by "drover completion fish".
${functions}${[...everywhere, ...rows.filter((line) => !everywhere.includes(line))].join("\n")}
`;
}

/** Its subcommands, and its arguments. */
function commandLines(row: CommandRow): string[] {
  const at = conditionOf(row);
  const commands = row.commands.map(
    ({ path, help }) => `complete -c drover ${at} -a ${path.at(-1)} -d ${quoted(help)}`,
  );
  const given = new Set(row.arguments.map(({ completion }) => flagsFor(completion)));
  given.delete("-x");
  return [...commands, ...[...given].map((value) => `complete -c drover ${at} ${value.replace("-x ", "")}`)];
}

/** @param row of a command that alone has it. Default: all have it. */
function optionLine({ names, value, completion, help }: OptionRow, row?: CommandRow): string {
  const flags = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const takes = value === "" ? [] : [flagsFor(completion)];
  const at = row ? [conditionOf(row)] : [];
  return ["complete -c drover", ...at, ...flags, ...takes, `-d ${quoted(help)}`].join(" ");
}

function conditionOf({ path }: CommandRow): string {
  return `-n ${quoted(`__drover_at ${quoted(path.join(" "))}`)}`;
}

/** How fish is told what a value may be: `-x` is for no files. */
function flagsFor(completion: Completion): string {
  switch (completion.is) {
    case "words":
      return `-x -a ${quoted(completion.words.join(" "))}`;
    case "files":
      return "-r -F";
    case "directories":
      return `-x -a ${quoted("(__fish_complete_directories)")}`;
    case "known":
      return `-x -a ${quoted(`(__drover_known ${completion.what} ${quoted(completion.suffix)})`)}`;
    case "nothing":
      return "-x";
  }
}

/** A word of fish. */
function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
