import { styleText } from "node:util";

/** Colours are few: what went wrong, what may, what went well, and what matters less. */
const STYLES = { error: "red", warning: "yellow", ok: "green", detail: "dim" } as const;
export type Tone = keyof typeof STYLES;

export const COLOR_CHOICES = ["auto", "always", "never"] as const;
export type ColorChoice = (typeof COLOR_CHOICES)[number];

let choice: ColorChoice = "auto";

/** @param given what `--color` says; it wins over the environment. */
export function setColor(given: ColorChoice): void {
  choice = given;
}

/**
 * Whether what is written to a stream has colours. Under `auto` NO_COLOR goes before FORCE_COLOR and CLICOLOR_FORCE, and
 * these before the question whether it is a terminal that can show them.
 */
export function hasColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  if (choice !== "auto") return choice === "always";
  const { NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, TERM } = env;
  if (NO_COLOR) return false;
  if (FORCE_COLOR) return !/^(0|false)$/i.test(FORCE_COLOR);
  if (CLICOLOR_FORCE && CLICOLOR_FORCE !== "0") return true;
  return stream.isTTY === true && TERM !== "dumb";
}

/** Text in the colour of a tone, where the stream has colours. Never for JSON. @param stream default standard output. */
export function paint(tone: Tone, text: string, stream: { isTTY?: boolean } = process.stdout): string {
  return hasColor(stream) ? styleText(STYLES[tone], text, { validateStream: false }) : text;
}
