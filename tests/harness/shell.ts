import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { REPOSITORY } from "./drover.js";

const MAIN = join(REPOSITORY, "packages/cli/bundle/main.js");

/** Whether a program is installed. */
export function isInstalled(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export type ShellName = "bash" | "zsh" | "fish";
const COMMANDS: Record<ShellName, string[]> = {
  bash: ["bash", "--norc", "--noprofile", "-i"],
  zsh: ["zsh", "-f", "-i"],
  fish: ["fish", "--no-config", "-i"],
};
/** Has it complete drover by a script in a file. */
const SOURCE: Record<ShellName, (script: string) => string> = {
  bash: (script) => `source ${script}`,
  zsh: (script) => `autoload -U compinit; compinit -u -D; source ${script}`,
  fish: (script) => `source ${script}`,
};

/** A `drover` that completes as the real one does, and prints what else it is called with. @returns its directory. */
export function writeEchoingDrover(directory: string): string {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "drover");
  const real = `'${process.execPath}' '${MAIN}'`;
  writeFileSync(
    file,
    `#!/bin/sh\ncase $1 in __complete|completion) exec ${real} "$@" ;; esac\nprintf 'CALLED:'\nprintf '<%s>' "$@"\necho :END\n`,
  );
  chmodSync(file, 0o755);
  return directory;
}

/** An interactive shell on a terminal, in which an echoing `drover` is called. Needs python3. */
export class Shell {
  readonly #child: ChildProcess;
  #output = "";
  #look: () => void = () => {};

  private constructor(name: ShellName, options: { cwd: string; env: NodeJS.ProcessEnv }) {
    const spawnInTerminal = "import pty, sys; pty.spawn(sys.argv[1:])";
    this.#child = spawn("python3", ["-c", spawnInTerminal, ...COMMANDS[name]], {
      ...options,
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdin?.on("error", () => {}); // it may be gone
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
      // biome-ignore lint/suspicious/noControlCharactersInRegex: fish asks what the terminal is
      if (/\u001b\[0?c/.test(text)) this.#child.stdin?.write("\u001b[?64;1c");
      this.#look();
    });
  }

  static async start(
    name: ShellName,
    script: string,
    options: { cwd: string; env: NodeJS.ProcessEnv },
  ): Promise<Shell> {
    const shell = new Shell(name, options);
    shell.#type(`${SOURCE[name](script)}; printf 'rea%s\\n' dy\n`);
    await shell.#until(/ready/);
    return shell;
  }

  /** Types a line, in which `\t` is Tab. @returns what drover was called with then, each in angle brackets. */
  async call(line: string): Promise<string> {
    this.#output = "";
    this.#type(`${line}\n`);
    const [, called = ""] = await this.#until(/CALLED:(.*?):END/s);
    return called;
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }

  #type(text: string): void {
    this.#child.stdin?.write(text);
  }

  #until(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${pattern} in\n${this.#output}`)), 30_000);
      this.#look = () => {
        const match = pattern.exec(this.#output);
        if (match === null) return;
        clearTimeout(timer);
        this.#look = () => {};
        resolve(match);
      };
      this.#look();
    });
  }
}
