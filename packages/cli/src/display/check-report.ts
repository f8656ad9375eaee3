import { closeSync, openSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import type { CheckedPath, CheckResult, PathState } from "@drover/producer/check/check";
import { fileError, messageOf, SettingsError } from "@drover/shared/errors";
import { liesWithin } from "@drover/shared/paths";
import { says, warn } from "../output.js";
import { OptionError } from "../settings/option-error.js";

/** Lines per write. */
const LINES = 500;

/** Files that reports are written to, as typed; `-` is standard output. */
export interface ReportFlags {
  combined?: string;
  missingOnSrc?: string;
  missingOnDst?: string;
  match?: string;
  differ?: string;
  error?: string;
}

/** Signs of rclone's combined report. */
const SIGNS: Record<PathState, string> = {
  match: "=",
  "missing-on-src": "-",
  "missing-on-dst": "+",
  differ: "*",
  error: "!",
};

/** The flag of each report, and the states that it lists. */
const REPORTS: [flag: keyof ReportFlags, option: string, states: PathState[]][] = [
  ["combined", "--combined", Object.keys(SIGNS) as PathState[]],
  ["missingOnSrc", "--missing-on-src", ["missing-on-src"]],
  ["missingOnDst", "--missing-on-dst", ["missing-on-dst"]],
  ["match", "--match", ["match"]],
  ["differ", "--differ", ["differ"]],
  ["error", "--error", ["error"]],
];

/**
 * A name on one line: as it is, or as a JSON string where it holds control characters or line separators, or half a
 * character, or could be taken for such a string, because a quote is at both of its ends.
 */
export function nameOnLine(name: string): string {
  if (!/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]|^".*"$/u.test(name)) return name;
  return JSON.stringify(name).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Where lines go, many at a time. Writes to files and pipes wait, so that nothing piles up. */
class Lines {
  #lines: string[] = [];
  readonly #fd: number | undefined;

  /** @param path `-` for standard output. @throws SettingsError if the file cannot be written. */
  constructor(
    option: string,
    private readonly path: string,
  ) {
    if (path === "-") return;
    try {
      this.#fd = openSync(path, "w");
    } catch (error) {
      throw new SettingsError(`${option}: cannot write to ${path} (${messageOf(error)})`);
    }
  }

  add(line: string): void {
    if (this.#lines.push(line) >= LINES) this.#flush();
  }

  #flush(): void {
    if (this.#lines.length === 0) return;
    const text = `${this.#lines.splice(0).join("\n")}\n`;
    if (this.#fd === undefined) {
      process.stdout.write(text);
      return;
    }
    try {
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (error) {
      throw fileError(error, `write ${this.path}`);
    }
  }

  close(): void {
    try {
      this.#flush();
    } finally {
      if (this.#fd !== undefined) closeSync(this.#fd);
    }
  }
}

export interface CheckReportOptions {
  flags: ReportFlags;
  json: boolean;
  /** Local directories and files that are checked, in which no report may lie. */
  checked: readonly string[];
}

/** Tells what a check finds: in reports, and on standard output for a person or a program. */
export class CheckReport {
  readonly #reports: { lines: Lines; states: Set<PathState>; isCombined: boolean }[] = [];
  /** Undefined where a report goes to standard output. */
  readonly #shown: Lines | undefined;
  readonly #json: boolean;
  #isFirst = true;

  /** @throws SettingsError if a report cannot be written, or would change what is checked. */
  constructor({ flags, json, checked }: CheckReportOptions) {
    this.#json = json;
    const paths = new Map<string, string>();
    const given = REPORTS.flatMap(([flag, option, states]) => {
      const path = flags[flag];
      return path === undefined ? [] : [{ option, states, path: path === "-" ? path : resolve(path) }];
    });
    const toOutput = given.find(({ path }) => path === "-");
    if (toOutput && json)
      throw new OptionError(`--json and ${toOutput.option} - would both go to standard output`);
    for (const { option, path } of given) {
      const other = path === "-" ? undefined : paths.get(path);
      if (other !== undefined) throw new OptionError(`${other} and ${option} name the same file`);
      paths.set(path, option);
      const inside = path === "-" ? undefined : checked.find((each) => liesWithin(path, each));
      if (inside !== undefined)
        throw new OptionError(`${option}: ${path} is in ${inside}, which is only read`);
    }
    for (const { option, path, states } of given)
      this.#reports.push({
        lines: new Lines(option, path),
        states: new Set(states),
        isCombined: option === "--combined",
      });
    if (!toOutput) this.#shown = new Lines("", "-");
  }

  add(found: CheckedPath): void {
    const name = nameOnLine(found.path);
    for (const { lines, states, isCombined } of this.#reports)
      if (states.has(found.state)) lines.add(isCombined ? `${SIGNS[found.state]} ${name}` : name);
    if (this.#json) {
      this.#shown?.add(`${this.#isFirst ? '{"files":[\n' : ","}  ${JSON.stringify(jsonOf(found))}`);
      this.#isFirst = false;
    } else if (found.state !== "match" || says("verbose"))
      this.#shown?.add(`${SIGNS[found.state]} ${name}${reasonOf(found)}`);
  }

  /** Tells the sums. They go to standard error where a report has standard output. */
  end(result: CheckResult): void {
    const { counts, unchecked, incomplete } = result;
    if (this.#json) {
      const head = this.#isFirst ? '{"files":[' : "";
      const sums = JSON.stringify({
        ...{ match: counts.match, differ: counts.differ },
        ...{ missing_on_src: counts["missing-on-src"], missing_on_dst: counts["missing-on-dst"] },
        ...{ error: counts.error, unchecked, complete: incomplete === undefined },
      });
      this.#shown?.add(`${head}],${sums.slice(1)}`);
    }
    const lines = this.#json ? [] : summary(result);
    for (const line of lines)
      if (this.#shown) this.#shown.add(line);
      else if (says("normal")) process.stderr.write(`${line}\n`);
    if (this.#json && unchecked > 0) warn(uncheckedText(unchecked));
    this.close();
  }

  close(): void {
    for (const { lines } of this.#reports.splice(0)) lines.close();
    this.#shown?.close();
  }
}

function summary({ counts, unchecked }: CheckResult): string[] {
  const parts = [
    `${counts.match} equal, ${counts.differ} different, ${counts["missing-on-dst"]} missing on the destination`,
    `${counts["missing-on-src"]} only there, ${counts.error} not compared`,
  ];
  return [parts.join(", "), ...(unchecked === 0 ? [] : [uncheckedText(unchecked)])];
}

function uncheckedText(unchecked: number): string {
  const hashes = unchecked === 1 ? "1 hash" : `${unchecked} hashes`;
  return `${hashes} could not be checked: sizes are equal, and --download compares the bytes`;
}

/** Why a path is not equal, or by what it is, in parentheses; "" where its sign says all. */
function reasonOf({ state, by, why, isUnchecked, sourceBytes, destinationBytes }: CheckedPath): string {
  if (why !== undefined) return ` (${nameOnLine(why)})`;
  if (state === "match") return isUnchecked ? " (by size alone)" : ` (by ${BY[by ?? ""] ?? by})`;
  if (state !== "differ") return "";
  if (by === "size") return ` (${sourceBytes} B, there ${destinationBytes} B)`;
  return ` (${BY[by ?? ""] ?? by} differ)`;
}

/** What people call what was compared, where that is not the name of an algorithm. */
const BY: Record<string, string> = { mark: "ETags", bytes: "bytes", size: "sizes" };

function jsonOf({ path, state, by, isUnchecked, why, sourceBytes, destinationBytes }: CheckedPath) {
  return {
    path,
    state,
    by: by === undefined ? null : by === "mark" ? "etag" : by,
    ...(isUnchecked ? { unchecked: true } : {}),
    source_bytes: sourceBytes ?? null,
    destination_bytes: destinationBytes ?? null,
    ...(why === undefined ? {} : { why }),
  };
}
