import { parseSize } from "@drover/shared/size";
import { OptionError } from "./option-error.js";

const SIZES = "BKMGTP";
/** Milliseconds per unit. A month has 30 days, a year 365. */
const TIMES: Record<string, number> = {
  ms: 1,
  s: 1_000,
  "": 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  M: 30 * 86_400_000,
  y: 365 * 86_400_000,
};

/** Parses a decimal number such as `2`, `1.5` or `.5`; NaN for any other text, including `0x2` and `1e3`. */
export function parseDecimal(text: string): number {
  return /^(\d+\.?\d*|\.\d+)$/.test(text.trim()) ? Number(text) : Number.NaN;
}

/**
 * Parses a size in the syntax of rclone's filters: a bare number is KiB, `B`, `K`, `M`, `G`, `T` and `P` go
 * up by 1,024; `Ki` and `KiB` mean the same as `K`.
 *
 * @returns bytes.
 * @throws SettingsError
 */
export function parseBinarySize(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(?:(B)|([KMGTP])(?:iB?)?)?$/i.exec(text.trim());
  const unit = (match?.[2] ?? match?.[3] ?? "K").toUpperCase();
  const bytes = Number(match?.[1]) * 1024 ** SIZES.indexOf(unit);
  if (Number.isSafeInteger(Math.round(bytes))) return Math.round(bytes);
  throw new OptionError(
    `${option} must be a size such as 100B, 10K, 1.5M or 2GiB, not ${JSON.stringify(text)}`,
  );
}

/**
 * Parses a duration: `90s`, `10m`, `1h30m`, `500ms`, or a number of seconds.
 *
 * @returns milliseconds.
 * @throws SettingsError
 */
export function parseDuration(option: string, text: string): number {
  const given = text.trim();
  if (/^\d+(\.\d+)?$|^(\d+(\.\d+)?(ms|[smhdw]))+$/.test(given)) {
    let ms = 0;
    for (const [, count, unit] of given.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw]?)/g))
      ms += Number(count) * (TIMES[unit as string] as number);
    return ms;
  }
  throw new OptionError(`${option} must be a time such as 30s, 5m or 1h30m, not ${JSON.stringify(text)}`);
}

/**
 * Parses an age in the syntax of rclone's filters: `90s`, `10m`, `1h30m`, `2d`, `1w`, `1M` (30 days), `1y`, a
 * number of seconds, or a date (`2026-11-20`, `2026-11-20T15:04:05`, with `Z` or an offset; otherwise local
 * time).
 *
 * @returns the point in time, in Unix ms.
 * @throws SettingsError
 */
export function parseAge(option: string, text: string, nowMs: number): number {
  const given = text.trim();
  if (/^(\d+(\.\d+)?(ms|[smhdwMy])?)$|^(\d+(\.\d+)?(ms|[smhdwMy]))+$/.test(given)) {
    let ageMs = 0;
    for (const [, count, unit] of given.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwMy]?)/g))
      ageMs += Number(count) * (TIMES[unit as string] as number);
    return nowMs - ageMs;
  }
  if (/^\d{4}-\d{2}-\d{2}/.test(given)) {
    const ms = parseDate(given);
    if (!Number.isNaN(ms)) return ms;
  }
  throw new OptionError(
    `${option} must be an age such as 90s, 10m, 2d or 1M (30 days), or a date, not ${JSON.stringify(text)}`,
  );
}

/**
 * Parses a point in time: a time from now such as `90s` or `1h30m`, or a date as {@link parseAge} takes it.
 *
 * @returns Unix ms.
 * @throws SettingsError
 */
export function parseInstant(option: string, text: string, nowMs: number): number {
  const given = text.trim();
  if (/^\d{4}-\d{2}-\d{2}/.test(given)) {
    const ms = parseDate(given);
    if (!Number.isNaN(ms)) return ms;
  } else if (/^(\d+(\.\d+)?(ms|[smhd])?)+$/.test(given)) return nowMs + parseDuration(option, given);
  throw new OptionError(
    `${option} must be a time from now such as 30m or 2h, or a date such as 2026-11-20T15:00:00Z, not ${JSON.stringify(text)}`,
  );
}

/** Local time where it has no offset; NaN for what is no date. */
function parseDate(given: string): number {
  return Date.parse(given.length === 10 ? `${given}T00:00:00` : given.replace(" ", "T"));
}

/** Parses a whole number of at least 1. @throws SettingsError */
export function parseCount(option: string, text: string): number {
  const count = /^\d+$/.test(text.trim()) ? Number(text) : 0;
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new OptionError(`${option} must be a whole number of at least 1, not ${JSON.stringify(text)}`);
}

/** Parses a size such as `500000`, `20MB` or `1.5GiB`. @returns bytes, at least 1. @throws SettingsError */
export function parseBytes(option: string, text: string): number {
  const bytes = Math.round(parseSize(text));
  if (Number.isSafeInteger(bytes) && bytes >= 1) return bytes;
  throw new OptionError(
    `${option} must be a size such as 500000, 20MB or 1.5GiB, not ${JSON.stringify(text)}`,
  );
}

/** Parses an amount of money above 0. @throws SettingsError */
export function parseAmount(option: string, text: string): number {
  const amount = parseDecimal(text);
  if (amount > 0 && Number.isFinite(amount)) return amount;
  throw new OptionError(`${option} must be an amount such as 5 or 0.25, not ${JSON.stringify(text)}`);
}

/** Parses `--max-delete`: `N` files, or `P%` of the files at the destination. @throws SettingsError */
export function parseMostDeleted(text: string): { files: number } | { percent: number } {
  const match = /^(\d+)$|^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
  if (match?.[1] !== undefined) return { files: Number(match[1]) };
  const percent = Number(match?.[2]);
  if (percent >= 0 && percent <= 100) return { percent };
  throw new OptionError(
    `--max-delete must be a number of files or a percentage such as 50%, not ${JSON.stringify(text)}`,
  );
}
