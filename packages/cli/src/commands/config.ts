import { type Resolved, showSettings } from "../settings/settings.js";

/** `drover config`: every setting, its value and where that comes from; secrets hidden. */
export function config(resolved: Resolved, flags: { json?: boolean }): number {
  const rows = showSettings(resolved);
  if (flags.json) {
    const object = Object.fromEntries(rows.map(({ name, value, origin }) => [name, { value, origin }]));
    process.stdout.write(`${JSON.stringify(object, null, 2)}\n`);
    return 0;
  }
  for (const { name, value, origin } of rows) {
    process.stdout.write(`${name.padEnd(16)} ${value === "" ? "''" : value}  (${origin})\n`);
  }
  return 0;
}
