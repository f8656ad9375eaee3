import { type Html, html } from "../html.js";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** A number for people: `12,400`. */
export function number(count: number): string {
  return count.toLocaleString("en", { maximumFractionDigits: Math.abs(count) < 10 ? 1 : 0 });
}

/** A count of things: `1 file`, `12,400 files`. @param plural default: with an s. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${number(count)} ${count === 1 ? singular : plural}`;
}

/** A number of bytes for people: `1.5 MB`. */
export function bytes(count: number): string {
  const power = count < 1 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), UNITS.length - 1);
  const value = count / 1000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
}

/** A part of a whole: `24 %`. It is 100 % only where nothing is left. */
export function percent(part: number, whole: number): string {
  return whole === 0 ? "0 %" : `${Math.floor((part / whole) * 100)} %`;
}

/** A time span for people: `45 s`, `12 min`, `3 h`, `2 days`. */
export function duration(ms: number): string {
  const seconds = Math.max(Math.round(ms / 1000), 0);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** A moment of the past as the time since then, with the moment itself for machines and whoever points at it. */
export function since(iso: string): Html {
  return time(iso, `${duration(Date.now() - Date.parse(iso))} ago`);
}

/** A moment to come as the time until then. */
export function until(iso: string): Html {
  const leftMs = Date.parse(iso) - Date.now();
  return time(iso, leftMs <= 0 ? "now" : `in ${duration(leftMs)}`);
}

function time(iso: string, text: string): Html {
  return html`<time datetime="${iso}" title="${iso.replace("T", " ").replace(/\.\d+Z$/, " UTC")}">${text}</time>`;
}
