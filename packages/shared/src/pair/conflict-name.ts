import type { Side } from "./decide.js";

const COMPONENT_BYTES = 255;
const KEY_BYTES = 1_024;
/** What was added to the name of a conflict copy. */
const ADDED = /\.conflict-(?:local|remote)-\d{8}T\d{6}Z-[0-9a-f]{8}(?:-\d+)?/;

/** The name of the file that a conflict copy is a copy of; any other name as it is. */
export function originalName(name: string): string {
  const slash = name.lastIndexOf("/") + 1;
  return name.slice(0, slash) + name.slice(slash).replace(ADDED, "");
}

/** The version that gets a name of its own. */
export interface AsideVersion {
  /** Whose version it is. */
  side: Side;
  /** When it was edited (Unix ms). */
  mtimeMs: number;
  /** Hexadecimal. */
  sha256: string;
}

/**
 * The name of a conflict copy, beside its file: `report.conflict-local-20261129T101500Z-0a1b2c3d.txt`. It is the same
 * whenever the same version is set aside, and a copy of a copy has the name of the original.
 *
 * @param number from 1; further ones are for names that other bytes have already.
 * @param suffixed whether it is put behind the extension, so that no program takes the copy for one of its files.
 */
export function conflictName(name: string, version: AsideVersion, number = 1, suffixed = false): string {
  const slash = name.lastIndexOf("/") + 1;
  const [directory, base] = [name.slice(0, slash), name.slice(slash).replace(ADDED, "")];
  const time = new Date(Math.max(version.mtimeMs, 0)).toISOString().replace(/[-:]|\.\d+/g, "");
  const more = number > 1 ? `-${number}` : "";
  const added = `.conflict-${version.side}-${time}-${version.sha256.slice(0, 8)}${more}`;
  const dot = suffixed ? -1 : base.lastIndexOf(".");
  const [stem, extension] = dot > 0 ? [base.slice(0, dot), base.slice(dot)] : [base, ""];
  const room = Math.min(COMPONENT_BYTES, KEY_BYTES - Buffer.byteLength(directory));
  const end = cut(extension, Math.max(room - Buffer.byteLength(added) - 1, 0));
  const rest = room - Buffer.byteLength(added) - Buffer.byteLength(end);
  return `${directory}${cut(stem, rest)}${added}${end}`;
}

/** Shortens a text to so many bytes, between characters. */
function cut(text: string, mostBytes: number): string {
  if (Buffer.byteLength(text) <= mostBytes) return text;
  let [shortened, bytes] = ["", 0];
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > mostBytes) break;
    shortened += character;
  }
  return shortened;
}
