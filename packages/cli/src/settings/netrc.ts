import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { errnoCode, SettingsError } from "@drover/shared/errors";

interface Login {
  login: string;
  password: string;
}

/** User names and passwords by host, of a file in the form of `.netrc`. */
export class Netrc {
  readonly #machines = new Map<string, Login>();
  #default: Login | undefined;

  constructor(text: string) {
    const words = wordsOf(text);
    let current: Login | undefined;
    for (let word = words.shift(); word !== undefined; word = words.shift()) {
      if (word === "machine" || word === "default") {
        current = { login: "", password: "" };
        const name = word === "machine" ? (words.shift() ?? "").toLowerCase() : undefined;
        if (name === undefined) this.#default ??= current;
        else if (!this.#machines.has(name)) this.#machines.set(name, current);
      } else if (word === "login" || word === "password") {
        const value = words.shift() ?? "";
        if (current) current[word] = value;
      } else if (word === "account") words.shift();
    }
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

  /** Adds user and password of its host to an http(s) URL that has none. Any other text stays as it is. */
  addTo(location: string): string {
    if (!/^https?:\/\//i.test(location) || !URL.canParse(location)) return location;
    const url = new URL(location);
    if (url.username !== "" || url.password !== "") return location;
    const found = this.#machines.get(url.hostname.replace(/^\[|\]$/g, "")) ?? this.#default;
    if (!found) return location;
    url.username = encodeURIComponent(found.login);
    url.password = encodeURIComponent(found.password);
    return url.href;
  }
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
