import { allCommands, type CommandRow, type Completion, globalOptions, type OptionRow } from "./table.js";

/** What does not depend on the commands and options. */
const FUNCTIONS = `
# Adds what Redis knows: $1 says what, $2 always follows.
_drover_known() {
  local command=\${(Q)_drover_words[1]} suffix=$2
  local -a found
  found=("\${(@f)$(\${command/#\\~/$HOME} __complete $1 -- "\${(@)_drover_words[2,-1]}" 2>/dev/null)}")
  found=(\${found:#})
  (( $#found )) || return 1
  if [[ -n $suffix ]]; then compadd -S $suffix -a found; else compadd -a found; fi
}

if [[ $funcstack[1] == _drover ]]; then
  _drover "$@"
else
  compdef _drover drover
fi
`;

/** The script that completes `drover` in zsh: as the file `_drover` of a directory of `fpath`, or sourced. */
export function zshCompletion(table: CommandRow): string {
  const shared = globalOptions(table);
  const functions = allCommands(table).map((row) => commandFunction(row, row === table ? [] : shared));
  return `#compdef drover
# Completes drover in zsh; made by "drover completion zsh".

${functions.join("\n")}${FUNCTIONS}`;
}

function commandFunction(row: CommandRow, shared: OptionRow[]): string {
  const { path, options, commands } = row;
  const specs = [...options, ...shared].flatMap(optionSpecs);
  const head = path.length === 0 ? `local -a _drover_words=("\${(@)words[1,CURRENT-1]}")\n  ` : "";
  if (commands.length === 0) {
    const given = row.arguments.map(({ shown, isVariadic, completion }, at) => {
      const optional = shown.startsWith("[") && !isVariadic ? ":" : "";
      return `${isVariadic ? "*" : at + 1}:${optional}${quotable(shown.replace(/[^a-z ]/g, ""))}:${actionOf(completion)}`;
    });
    return `${nameOf(path)}() {
  ${head}_arguments -s -S ${lines([...specs, ...given])}
}
`;
  }
  const given = row.arguments[0] ? [`      ${actionOf(row.arguments[0].completion).trim()}`] : [];
  const described = commands.map((child) => `${child.path.at(-1)}:${quotable(child.help)}`);
  const calls = commands.map((child) => `        ${child.path.at(-1)}) ${nameOf(child.path)} ;;`);
  return `${nameOf(path)}() {
  ${head}local curcontext=$curcontext state line
  local -a commands
  _arguments -C -S ${lines([...specs, "1:command:->command", "*:: :->rest"])} && return
  case $state in
    command)
      commands=(${lines(described)})
${["      _describe -t commands command commands", ...given].join("\n")} ;;
    rest)
      case $line[1] in
${calls.join("\n")}
      esac ;;
  esac
}
`;
}

function nameOf(path: string[]): string {
  return ["_drover", ...path].join("_").replaceAll("-", "_");
}

function optionSpecs({ names, value, completion, help }: OptionRow): string[] {
  return names.map((name) => {
    const about = `[${quotable(help)}]`;
    if (value === "") return `${name}${about}`;
    // A value may stand behind an equals sign, or be the next word; most may be given again.
    return `*${name}${name.startsWith("--") ? "=" : "+"}${about}:${quotable(value)}:${actionOf(completion)}`;
  });
}

function actionOf(completion: Completion): string {
  switch (completion.is) {
    case "words":
      return `(${completion.words.join(" ")})`;
    case "files":
      return "_files";
    case "directories":
      return "_files -/";
    case "known":
      return ` _drover_known ${completion.what} "${completion.suffix}"`;
    case "nothing":
      return " ";
  }
}

/** Text in which nothing is special to _arguments and _describe. */
function quotable(text: string): string {
  return text.replace(/[\\[\]:]/g, "\\$&");
}

/** Words of a shell, one a line. */
function lines(words: string[]): string {
  return words.map((word) => `\\\n    '${word.replaceAll("'", "'\\''")}'`).join(" ");
}
