import { resolve } from "node:path";
import { redactUrl } from "@drover/shared/redact";
import { parseAddress } from "@drover/shared/redis/address";
import { parseSize } from "@drover/shared/size";
import { parseRoot } from "@drover/shared/storage/registry";
import type { Kind } from "./kind.js";
import { LEVEL_NAMES, type LogLevel, levelNamed } from "./log-level.js";
import { parseDecimal, parseDuration } from "./units.js";

export const text: Kind<string> = { read: (value) => value, show: (value) => value };
export const redisUrl: Kind<string> = {
  read: (value) => {
    parseAddress(value);
    return value;
  },
  show: redactUrl,
};

/** A URL, which is checked where it is used. It may hold a password. */
export const anyUrl: Kind<string> = { read: (value) => value, show: redactUrl };
export const path: Kind<string> = {
  read: (value) => {
    if (value === "") throw new Error("a path");
    return resolve(value);
  },
  show: (value) => value,
};

/** A directory, or `s3://bucket/prefix`. */
export const root: Kind<string> = {
  read: (value) => {
    if (value === "") throw new Error("a path");
    return parseRoot(value, process.cwd());
  },
  show: (value) => value,
};

export function number(least: number, most: number, whole = false): Kind<number> {
  return {
    read: (value) => {
      const parsed = parseDecimal(value);
      if (parsed >= least && parsed <= most && (!whole || Number.isInteger(parsed))) return parsed;
      throw new Error(`a ${whole ? "whole " : ""}number from ${least} to ${most}`);
    },
    show: String,
  };
}

/** A time in seconds. */
export function seconds(least: number, most: number): Kind<number> {
  const expected = `a time from ${least} to ${most} seconds, such as 30s, 5m or 1h30m`;
  return {
    read: (value) => {
      let parsed = parseDecimal(value);
      try {
        if (Number.isNaN(parsed)) parsed = parseDuration("", value) / 1000;
      } catch {
        // said below
      }
      if (parsed >= least && parsed <= most) return parsed;
      throw new Error(expected);
    },
    show: String,
  };
}

export const size: Kind<number> = {
  read: (value) => {
    const bytes = parseSize(value);
    if (bytes >= 1 && bytes <= 2 ** 53) return Math.round(bytes);
    throw new Error("a size such as 500000, 20MB or 1.5GiB");
  },
  show: (value) => `${value} bytes`,
};

export const yesNo: Kind<boolean> = {
  read: (value) => {
    if (/^(true|yes|on|1)$/i.test(value)) return true;
    if (/^(false|no|off|0)$/i.test(value)) return false;
    throw new Error("true or false");
  },
  show: String,
};

export function oneOf<T extends string>(...words: T[]): Kind<T> {
  return {
    read: (value) => {
      if ((words as string[]).includes(value)) return value as T;
      throw new Error(words.join(" or "));
    },
    show: (value) => value,
  };
}

export const logLevel: Kind<LogLevel> = {
  read: (value) => {
    const level = levelNamed(value);
    if (level !== undefined) return level;
    throw new Error(Object.values(LEVEL_NAMES).join(", ").toLowerCase());
  },
  show: (value) => LEVEL_NAMES[value].toLowerCase(),
};

export const userAgent: Kind<string> = {
  read: (value) => {
    if (/^[\x20-\x7e]+$/.test(value) && value.trim() !== "") return value.trim();
    throw new Error("printable ASCII");
  },
  show: (value) => value,
};

export const serviceUrl: Kind<string> = {
  read: (value) => {
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash)
      return url.href.replace(/\/$/, "");
    throw new Error("an http(s) URL without user and parameters");
  },
  show: (value) => value,
};
