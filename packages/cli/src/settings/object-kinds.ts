import { LARGEST_PART_BYTES, SMALLEST_PART_BYTES } from "@drover/shared/storage/s3/object/limits";
import type { Kind } from "./kind.js";
import { parseBinarySize } from "./units.js";

/** `KEY=VALUE`, one a line. What comes behind the first `=` is the value. */
export const pairs: Kind<Record<string, string>> = {
  lines: true,
  read: (text) => {
    const read: Record<string, string> = Object.create(null);
    for (const line of text.split("\n").filter((each) => each.trim() !== "")) {
      const at = line.indexOf("=");
      const key = line.slice(0, at).trim();
      if (at < 0 || key === "") throw new Error("KEY=VALUE");
      if (read[key] !== undefined) throw new Error(`KEY=VALUE with ${key} once`);
      read[key] = line.slice(at + 1).trim();
    }
    return { ...read };
  },
  show: (value) =>
    Object.entries(value)
      .map((pair) => pair.join("="))
      .join(", "),
};

/** Size of a part of an upload, in bytes. Units are binary, as those of other tools for S3. */
export const partSize: Kind<number> = {
  read: (text) => {
    const bytes = parseBinarySize("a part", text);
    if (bytes >= SMALLEST_PART_BYTES && bytes <= LARGEST_PART_BYTES) return bytes;
    throw new Error("a size from 5M to 5G");
  },
  show: (value) => `${value} bytes`,
};
