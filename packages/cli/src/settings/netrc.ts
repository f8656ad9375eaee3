import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { type Login, Logins } from "@drover/shared/logins";

/** User names and passwords by host, of a file in the form of `.netrc`. */
export class Netrc extends Logins {
  constructor(text: string) {
    super(loginsOf(text));
  }

  /** Reads the file that NETRC names, else `~/.netrc`. @throws SettingsError if it cannot be read. */
  static read(): Netrc {
    const path = process.env.NETRC || join(homedir(), ".netrc");
    try {
      return new Netrc(readFileSync(path, "utf8"));
    } catch (error) {
      throw new SettingsError(`--netrc: cannot read ${path} (${errnoCode(error)})`);
    }
  }
}

function loginsOf(text: string): Login[] {
  const logins: Login[] = [];
  const words = wordsOf(text);
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "machine" || word === "default") {
      const host = word === "machine" ? (words.shift() ?? "").toLowerCase() : undefined;
      logins.push({ host, login: "", password: "" });
    } else if (word === "login" || word === "password") {
      const value = words.shift() ?? "";
      const current = logins.at(-1);
      if (current) current[word] = value;
    } else if (word === "account") words.shift();
  }
  return logins;
}

/** The words of the file, without comments and macros. A word in double quotes may have blanks; `\` quotes a character. */
function wordsOf(text: string): string[] {
  const plain = text
    .replace(/^[ \t]*#.*$/gm, "")
    .replace(/^[ \t]*macdef\b[\s\S]*?(\r?\n[ \t]*\r?\n|$(?![\s\S]))/gm, "");
  return [...plain.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, word]) => word ?? (quoted as string).replace(/\\(.)/g, "$1"),
  );
}
