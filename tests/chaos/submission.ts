import type { DroverProcess } from "../harness/drover.js";
import { until } from "../harness/gate.js";
import type { History } from "./history.js";

export interface SubmissionOptions {
  readonly run: string;
  readonly names: readonly string[];
  /** Submit, leave, and come back to wait for the end. */
  readonly detached: boolean;
  /** Directory of the destinations. */
  readonly root: string;
  readonly history: History;
  /** Arguments of one more try to submit the run, with a list of its own. */
  begin(): { args: readonly string[]; list: string };
  /** Starts a command. */
  start(args: readonly string[]): DroverProcess;
  /** The run that was made of a list, as soon as Redis can tell. */
  find(list: string): Promise<string | undefined>;
}

/** A command that Redis kept from starting is given again after so long, as its user would. */
const AGAIN_MS = 400;
const FOREVER_MS = 2 ** 30;
/** What Drover says where only a new submission helps. */
const START_ANEW = /no such run|start (the command again|a new sync)/;
/** What it says where nothing is wrong but the moment. */
const LATER = /Redis|being worked on/;

/** One run as its user sees it: submitted, followed, taken up again when its process was killed, to its end. */
export class Submission {
  /** The run's id, once it is known. */
  id: string | undefined;
  process: DroverProcess | undefined;
  /** Fulfilled when a command has ended by itself with a word on the files. */
  readonly over: Promise<void>;
  #killed = false;
  #givenUp = false;
  #attempt = 0;
  #list = "";
  #holdOff: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: SubmissionOptions) {
    const { run, names, history } = options;
    history.add({ is: "submitted", run, names });
    this.over = this.#follow(this.#begin());
    this.over.catch(() => {}); // awaited by whoever waits for the end
  }

  get run(): string {
    return this.options.run;
  }

  /** kill -9; after `forMs` the run is taken up again. */
  async kill(forMs: number): Promise<void> {
    const { process } = this;
    if (!process?.running) return;
    this.#killed = true;
    this.#holdOff = new Promise((resolve) => setTimeout(resolve, forMs));
    process.kill("SIGKILL");
    this.options.history.add({ is: "killed", run: this.run });
    await this.#holdOff;
  }

  /** Stops following: the run stays as it is. */
  giveUp(): void {
    this.#givenUp = true;
    this.process?.kill("SIGKILL");
  }

  /** Takes up a run again that is not done though its command has ended. */
  async resume(why: string): Promise<void> {
    if (this.id !== undefined) await this.#follow(["resume", this.id], why);
  }

  #begin(): readonly string[] {
    const { args, list } = this.options.begin();
    this.#list = list;
    this.id = undefined;
    return args;
  }

  async #follow(first: readonly string[], reason = ""): Promise<void> {
    const { run, detached, history } = this.options;
    let command = first;
    for (let why = reason; !this.#givenUp; ) {
      const [name = ""] = command;
      if (why !== "") history.add({ is: "again", run, command: name, why });
      const quick = detached && name === "sync";
      const tells = [...(name === "wait" ? [] : ["--verbose"]), ...(quick ? [] : ["--ndjson"])];
      this.process = this.options.start([...command, ...tells]);
      const { code, stderr } = await this.#read(this.process);
      if (this.#givenUp) return;
      why = this.#killed ? "killed" : `exit ${code}: ${lastWord(stderr)}`;
      const anew = !this.#killed && code !== 0 && START_ANEW.test(why);
      if (!this.#killed && !anew && code !== 2) {
        if (!quick) {
          history.add({ is: "ended", run, attempt: this.#attempt, code, whole: name === "sync" });
          await this.learn();
          return;
        }
        why = "detached";
      } else if (!this.#killed && !anew && !LATER.test(why)) throw new Error(`${run}: ${why}`);
      await this.#holdOff;
      if (!this.#killed && code === 2) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      const left = quick && !this.#killed && code === 0;
      this.#killed = false;
      if (anew && name === "wait") return; // whoever left does not have what was submitted any more
      const id = await this.learn();
      if (anew || id === undefined) command = this.#begin();
      else command = [left || name === "wait" ? "wait" : "resume", id];
    }
  }

  /** The run's id, from Redis. */
  async learn(): Promise<string | undefined> {
    const id = await this.options.find(this.#list);
    if (id !== undefined && this.id === undefined) {
      this.id = id;
      this.options.history.add({ is: "named", run: this.run, id });
    }
    return id;
  }

  /** Writes down what the process says, when it says it. */
  async #read(process: DroverProcess): Promise<{ code: number | null; stderr: string }> {
    this.#attempt += 1;
    let at = 0;
    const listen = () => {
      for (;;) {
        const end = process.stdout.indexOf("\n", at);
        if (end < 0) return;
        const line = process.stdout.slice(at, end);
        at = end + 1;
        if (line.startsWith("{")) this.#outcome(line);
      }
    };
    const ended = () => {
      const running = process.running; // before, not after, the last look
      listen();
      return !running;
    };
    await until(`${this.run} to go on`, ended, FOREVER_MS);
    return await process.result;
  }

  #outcome(line: string): void {
    const { destination, outcome, error } = JSON.parse(line) as {
      destination: string;
      outcome: string;
      error?: { class: string };
    };
    const { run, root, history } = this.options;
    const name = destination.startsWith(`${root}/`) ? destination.slice(root.length + 1) : destination;
    history.add({ is: "outcome", run, attempt: this.#attempt, name, outcome, class: error?.class });
  }
}

/** The message that a command ends with. */
function lastWord(stderr: string): string {
  const lines = stderr.trimEnd().split("\n");
  return lines.findLast((line) => /^(drover|error): /.test(line)) ?? lines.at(-1) ?? "";
}
