import { type Command, Option } from "commander";
import { COLOR_CHOICES, type ColorChoice, setColor } from "../display/color.js";
import { addSettingFlags } from "../settings/flags.js";
import { LOG_SETTINGS } from "../settings/settings.js";

/**
 * Adds the options that every command has: to the program, where its help shows them, and to each command, so that they may
 * stand before its name or behind it. To be called when all commands are there.
 */
export function addGlobalOptions(program: Command): void {
  const add = (command: Command): void => {
    const own = command.options.length;
    addSettingFlags(command, LOG_SETTINGS);
    command.addOption(
      new Option(
        `--color <${COLOR_CHOICES.join("|")}>`,
        "colours (default: auto, on a terminal, see NO_COLOR)",
      ).choices(COLOR_CHOICES),
    );
    // While it is parsed: what is wrong with the options behind it is told in colour, too.
    command.on("option:color", (when) => {
      if (isChoice(when)) setColor(when);
    });
    if (command !== program) for (const option of command.options.slice(own)) option.hideHelp();
    for (const child of command.commands) add(child);
  };
  add(program);
}

function isChoice(text: string): text is ColorChoice {
  return (COLOR_CHOICES as readonly string[]).includes(text);
}
