import { allCommands, type CommandRow, type Completion, globalOptions, type OptionRow } from "./table.js";

/** What does not depend on the commands and options. It works with bash 3.2 too. */
const FUNCTIONS = `
# Completes to what begins with $1, of the lines of $2; $3 always follows.
_drover_reply() {
  local typed=$1 each quote=""
  # What is quoted as it is typed is completed without further quotes, anything else with them.
  case $typed in
    [\\'\\"]*)
      quote=\${typed:0:1}
      typed=\${typed:1} ;;
    *) typed=\${typed//\\\\/} ;;
  esac
  while IFS= read -r each; do
    [[ -n $each && $each == "$typed"* ]] || continue
    [[ -n $quote ]] || printf -v each %q "$each"
    COMPREPLY+=("\${each#"$glued"}$3")
  done <<<"$2"
  if [[ -n $3 ]]; then compopt -o nospace 2>/dev/null; fi
}

# Completes $2 as what $1 says: words:…, known:WHAT:SUFFIX, files, directories or nothing.
_drover_value() {
  local kind=$1 typed=$2 asked=\${1#known:}
  case $kind in
    files)
      compopt -o default 2>/dev/null # bash does that by itself, with whatever is in their names
      return ;;
    directories)
      compopt +o default -o dirnames 2>/dev/null
      return ;;
  esac
  compopt +o default 2>/dev/null
  case $kind in
    words:*) _drover_reply "$typed" "$(printf '%s\\n' \${kind#words:})" "" ;;
    known:*)
      _drover_reply "$typed" "$("\${words[0]/#\\~/$HOME}" __complete "\${asked%%:*}" -- "\${words[@]:1:last-1}" 2>/dev/null)" "\${asked#*:}" ;;
  esac
}

_drover() {
  local IFS=$' \\t\\n' words last=-1 i word rest=$COMP_LINE glued=""
  local commands options valued arguments kind
  words=()
  COMPREPLY=()
  # Words as they are typed: bash splits them at = and : as well.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i > 0)) && [[ $rest != [[:blank:]]* ]]; then
      words[last]+=$word
    else
      last=$((last + 1))
      words[last]=$word
    fi
    rest=\${rest#"\${rest%%[![:blank:]]*}"}
    rest=\${rest#"$word"}
  done
  # Which command it is, and how many arguments it has so far.
  local path="" at=1 count=0 option="" typed=\${words[last]}
  _drover_command ""
  while ((at < last)); do
    word=\${words[at]}
    case $word in
      --*=*) ;;
      -*)
        if [[ " $valued " == *" $word "* ]]; then
          option=$word
          at=$((at + 1))
        fi ;;
      *)
        if ((count == 0)) && [[ " $commands " == *" $word "* ]]; then
          path=\${path:+$path }$word
          _drover_command "$path"
        else
          count=$((count + 1))
        fi ;;
    esac
    at=$((at + 1))
  done
  ((at > last)) || option=""
  if [[ -z $option && $typed == --*=* ]]; then
    option=\${typed%%=*}
    typed=\${typed#*=}
  fi
  # What bash has split off before the word that it replaces.
  word=\${COMP_WORDS[COMP_CWORD]}
  [[ -n \${word//[:=]/} ]] || word=""
  if [[ $typed == *"$word" ]]; then glued=\${typed%"$word"}; fi
  if [[ -n $option ]]; then
    _drover_option "$path" "$option"
    _drover_value "$kind" "$typed"
  elif [[ $typed == -* ]]; then
    _drover_value "words:$options" "$typed"
  elif ((count == 0)) && [[ -n $commands ]]; then
    _drover_value "words:$commands" "$typed"
  fi
  if [[ -z $option && $typed != -* && ( -z $commands || -n $arguments ) ]] && ((\${#COMPREPLY[@]} == 0)); then
    # The last argument may be there several times.
    kind=nothing
    while IFS= read -r word; do
      if ((count == 0)) || [[ $word == *... ]]; then
        kind=\${word%...}
        break
      fi
      count=$((count - 1))
    done <<<"$arguments"
    _drover_value "\${kind:-nothing}" "$typed"
  fi
}

complete -o default -F _drover drover
`;

/** The script that completes `drover` in bash. */
export function bashCompletion(table: CommandRow): string {
  const shared = globalOptions(table);
  const commands = allCommands(table).map((row) => commandCase(row, row === table ? [] : shared));
  return `# Completes drover in bash; made by "drover completion bash".

# What the command $1 has: subcommands, options, those that take a value, and its arguments, one a line.
_drover_command() {
  case $1 in
${commands.join("\n")}
    *) commands="" options="" valued="" arguments="" ;;
  esac
}

# What may be the value of the option $2 of the command $1.
_drover_option() {
  case "$1 $2" in
${optionCases(table).join("\n")}
    *) kind=nothing ;;
  esac
}
${FUNCTIONS}`;
}

function commandCase({ path, commands, options, arguments: given }: CommandRow, shared: OptionRow[]): string {
  const all = [...options, ...shared];
  const names = all.flatMap((option) => option.names);
  const valued = all.filter(({ value }) => value !== "").flatMap((option) => option.names);
  const lines = given.map(({ completion, isVariadic }) => `${kindOf(completion)}${isVariadic ? "..." : ""}`);
  return `    "${path.join(" ")}")
      commands="${commands.map((child) => child.path.at(-1)).join(" ")}"
      options="${names.join(" ")}"
      valued="${valued.join(" ")}"
      arguments="${lines.join("\n")}" ;;`;
}

/** A case for each kind of value: without the commands where an option has the same kind in all of them. */
function optionCases(table: CommandRow): string[] {
  const kinds = new Map<string, Map<string, string[]>>();
  for (const { path, options } of allCommands(table)) {
    for (const { names, value, completion } of options) {
      for (const name of value === "" ? [] : names) {
        const of = kinds.get(name) ?? new Map<string, string[]>();
        kinds.set(name, of);
        const kind = kindOf(completion);
        of.set(kind, [...(of.get(kind) ?? []), `"${path.join(" ")} ${name}"`]);
      }
    }
  }
  const cases: string[] = [];
  for (const [name, of] of kinds) {
    for (const [kind, places] of of) {
      const where = of.size === 1 ? `*" ${name}"` : places.join(" | ");
      if (kind !== "nothing") cases.push(`    ${where}) kind="${kind}" ;;`);
    }
  }
  return cases;
}

function kindOf(completion: Completion): string {
  switch (completion.is) {
    case "words":
      return `words:${completion.words.join(" ")}`;
    case "known":
      return `known:${completion.what}:${completion.suffix}`;
    default:
      return completion.is;
  }
}
