import type { ReloadTarget } from "@drover/producer/sync-action/reload";
import { OptionError } from "./option-error.js";
import type { Settings } from "./settings.js";

/** How the settings say that the program is told. @throws OptionError for a command that is none. */
export function reloadOf(values: Settings): ReloadTarget {
  const { "reload-url": url, "reload-command": command, "reload-channel": channel } = values;
  return {
    ...(url === undefined ? {} : { url }),
    ...(command === undefined ? {} : { command: commandOf(command) }),
    ...(channel === undefined ? {} : { channel }),
  };
}

/** A program and its arguments: words, or a JSON array. No shell reads them. @throws OptionError */
function commandOf(text: string): string[] {
  if (!text.trimStart().startsWith("[")) return text.trim().split(/\s+/);
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch {
    // said below
  }
  if (Array.isArray(words) && words.length > 0 && words.every((word) => typeof word === "string"))
    return words;
  throw new OptionError(
    '--reload-command must be words, or a JSON array of texts such as ["systemctl","reload","app"]',
  );
}
