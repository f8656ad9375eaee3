import type { DroverProcess } from "../harness/drover.js";
import { until } from "../harness/gate.js";
import type { History } from "./history.js";

/** How a command is started: its arguments without those that say where Redis is. */
export type Start = (args: readonly string[]) => DroverProcess;

/** A command that Redis kept from starting is given again after so long, as its user would. */
const AGAIN_MS = 400;
const RUN_ID = /\b(r[0-9a-z]{6,}-[0-9a-f]{6})\b/;

/** One run as its user sees it: submitted, followed, taken up again when its process was killed, to its end. */
export class Submission {
  /** The run's id, once Drover has told it. */
  id: string | undefined;
  process: DroverProcess | undefined;
  /** Fulfilled when a command has ended by itself with a word on the files. */
  readonly over: Promise<void>;
  #killed = false;
  #givenUp = false;
  #holdOff: Promise<void> = Promise.resolve();

  constructor(
    readonly run: string,
    readonly names: readonly string[],
    private readonly submit: readonly string[],
    private readonly detached: boolean,
    private readonly start: Start,
    private readonly root: string,
    private readonly history: History,
  ) {
    history.add({ is: "submitted", run, names });
    this.over = this.#follow(this.submit);
    this.over.catch(() => {}); // awaited by whoever waits for the end
  }

  /** kill -9; after `forMs` the run is taken up again. */
  async kill(forMs: number): Promise<boolean> {
    const { process } = this;
    if (!process?.running) return false;
    this.#killed = true;
    const held = Promise.withResolvers<void>();
    this.#holdOff = held.promise;
    process.kill("SIGKILL");
    this.history.add({ is: "killed", run: this.run });
    await process.result;
    setTimeout(held.resolve, forMs);
    await held.promise;
    return true;
  }

  /** Stops following: the run stays as it is. */
  giveUp(): void {
    this.#givenUp = true;
    this.process?.kill("SIGKILL");
  }

  /** Takes up a run again that is not done though its command ended: Redis has forgotten that it was. */
  async resume(): Promise<void> {
    if (this.id !== undefined) await this.#follow(["resume", this.id]);
  }

  async #follow(first: readonly string[]): Promise<void> {
    let command = first;
    for (let why = ""; !this.#givenUp; ) {
      if (why !== "") this.history.add({ is: "again", run: this.run, command: command[0] ?? "", why });
      const process = this.start([...command, "--verbose", ...(this.#isQuick(command) ? [] : ["--ndjson"])]);
      this.process = process;
      const code = await this.#read(process);
      if (!this.#killed && code !== null && code !== 2 && !this.#isQuick(command)) {
        // A submission tells of all its files, what is resumed only of the rest.
        this.history.add({ is: "ended", run: this.run, code, whole: command === this.submit });
        return;
      }
      why = this.#killed ? "killed" : `exit ${code}: ${lastWord(process.stderr)}`;
      if (code === 2 && !/Redis|worked on/.test(why)) throw new Error(`${this.run}: ${why}`);
      this.#killed = false;
      await this.#holdOff;
      if (code === 2) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      if (this.id === undefined) command = this.submit;
      else command = this.detached ? ["wait", this.id] : ["resume", this.id];
    }
  }

  /** A detached submission only tells the run's id, which is no end. */
  #isQuick(command: readonly string[]): boolean {
    return this.detached && command === this.submit;
  }

  /** Writes down what the process says, when it says it. */
  async #read(process: DroverProcess): Promise<number | null> {
    let at = 0;
    const listen = () => {
      if (this.id === undefined) {
        this.id = RUN_ID.exec(process.stderr)?.[1] ?? RUN_ID.exec(process.stdout)?.[1];
        if (this.id !== undefined) this.history.add({ is: "named", run: this.run, id: this.id });
      }
      for (;;) {
        const end = process.stdout.indexOf("\n", at);
        if (end < 0) break;
        const line = process.stdout.slice(at, end);
        at = end + 1;
        if (line.startsWith("{")) this.#outcome(line);
      }
    };
    await until(
      `${this.run} to go on`,
      () => {
        listen();
        return !process.running;
      },
      2 ** 30,
    );
    const { code } = await process.result.catch(() => ({ code: null }));
    listen();
    return code;
  }

  #outcome(line: string): void {
    const { destination, outcome, error } = JSON.parse(line) as {
      destination: string;
      outcome: string;
      error?: { class: string };
    };
    const name = destination.startsWith(`${this.root}/`)
      ? destination.slice(this.root.length + 1)
      : destination;
    this.history.add({ is: "outcome", run: this.run, name, outcome, class: error?.class });
  }
}

/** The message that a command ends with. */
function lastWord(stderr: string): string {
  const lines = stderr.trimEnd().split("\n");
  return lines.findLast((line) => /^(drover|error): /.test(line)) ?? lines.at(-1) ?? "";
}
