import { paint, type Tone } from "../../display/color.js";
import { EXIT } from "../../exit.js";
import { printable } from "../../output.js";
import type { Settings } from "../../settings/settings.js";
import * as checks from "./doctor-checks.js";

const MARKS = { ok: "✓", warning: "!", missing: "✗" } as const;
const TONES: Record<keyof typeof MARKS, Tone> = { ok: "ok", warning: "warning", missing: "error" };

/**
 * Prints a line for each check.
 *
 * @param flags `online`: credentials may be asked for over the network.
 * @returns 0 if nothing that a sync needs is missing, else 1.
 */
export async function doctor(
  values: Settings,
  { online = false, json = false }: { online?: boolean; json?: boolean },
): Promise<number> {
  const stateDir = values["state-dir"] as string;
  const findings: checks.Finding[] = [
    checks.node(),
    ...(values.redis === undefined ? [await checks.redisServer()] : await checks.fleetRedis(values.redis)),
    checks.stateDirectory(stateDir),
    checks.socketDirectory(stateDir),
    checks.openFiles(),
    checks.memory(),
    checks.clock(),
    checks.proxies(),
    ...checks.authorities(),
    await checks.s3Credentials(values, online),
  ];
  if (json) process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`);
  else
    for (const { check, state, message, remedy } of findings) {
      const text = `${check}: ${message}${remedy === undefined ? "" : `: ${remedy}`}`;
      process.stdout.write(`${paint(TONES[state], MARKS[state])} ${printable(text)}\n`);
    }
  return findings.some(({ state }) => state === "missing") ? EXIT.some : EXIT.ok;
}
