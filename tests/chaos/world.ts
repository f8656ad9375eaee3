import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { type DroverProcess, leftovers, Sandbox } from "../harness/drover.js";
import { FaultProxy } from "./fault-proxy.js";
import type { History, RunFacts } from "./history.js";
import type { Fault, Target } from "./nemesis.js";
import { bitmapsOf, everythingBelow, secretsInRedis } from "./observers.js";
import { RedisUnderFire } from "./redis-under-fire.js";
import { Rng } from "./rng.js";
import { Submission } from "./submission.js";
import { type ChaosFile, TRAP, type VersionedOrigin } from "./versioned-origin.js";

/** Terms of the runs. Neither a blocked host nor a lease whose holder is gone may end a file, see `transient`. */
const TERMS = ["--circuit-ttl", "1", "--breaker-wait", "600", "--timeout", "120", "--backoff-factor", "1.2"];
const FOREVER_MS = 2 ** 30;

export interface WorldOptions {
  readonly seed: number;
  /** Workers of the fleet. Without any, whoever submits a run carries it. */
  readonly workers: number;
  readonly concurrency: number;
}

/** A fleet and all that it needs, in a directory of its own; everything in it can be hurt. */
export class World {
  readonly root: string;
  readonly submissions: Submission[] = [];
  readonly #box = new Sandbox();
  readonly #keys = new Keys();
  readonly #workers: (DroverProcess | undefined)[] = [];
  readonly #shifts: number[] = [];
  readonly #stopped = new Set<DroverProcess>();
  readonly #logs: { name: string; process: DroverProcess }[] = [];
  readonly #links = new Map<Target, FaultProxy>();
  readonly #canaries: Readonly<Record<"header" | "query" | "password", string>>;
  readonly #bait: string;
  #redis!: RedisUnderFire;
  #client!: Redis;
  #lists = 0;

  private constructor(
    private readonly options: WorldOptions,
    private readonly origin: VersionedOrigin,
    private readonly history: History,
  ) {
    const secret = new Rng(options.seed, "canary").next().toString(36);
    this.#canaries = {
      header: `canary-header-${secret}`,
      query: `canary-query-${secret}`,
      password: `canary-password-${secret}`,
    };
    this.root = join(this.#box.root, "out");
    this.#bait = join(this.#box.root, "bait");
  }

  static async start(options: WorldOptions, origin: VersionedOrigin, history: History): Promise<World> {
    const world = new World(options, origin, history);
    for (const directory of [world.root, world.#bait, join(world.#box.root, "lists")]) mkdirSync(directory);
    symlinkSync(world.#bait, join(world.root, TRAP));
    world.#redis = await RedisUnderFire.launch(join(world.#box.root, "redis"));
    world.#client = await connect({ url: world.#redis.url });
    const targets: Target[] = [...Array(options.workers).keys(), "producer"];
    for (const target of targets) world.#links.set(target, await FaultProxy.start(world.#redis.port));
    await Promise.all(Array.from({ length: options.workers }, (_, worker) => world.#hire(worker)));
    return world;
  }

  submit(run: string, files: readonly ChaosFile[], detached: boolean): void {
    const rng = new Rng(this.options.seed, "submission", run);
    // Runs with headers of their own share no files on their way, the others do.
    const header = rng.chance(0.3) ? ["--header", `x-chaos: ${this.#canaries.header}`] : [];
    const to = ["--artifact-root", this.root, "--script-name", ""];
    const lines = files.map(({ name }) => {
      const url = this.origin.url(name);
      const place = new Rng(this.options.seed, "secret", name).fraction();
      if (place < 0.2) return `${url}?token=${this.#canaries.query}\t${name}\n`;
      if (place < 0.3) return `${url.replace("://", `://${this.#userInfo}@`)}\t${name}\n`;
      return `${url}\t${name}\n`;
    });
    const begin = () => {
      const list = join(this.#box.root, "lists", `${this.#lists++}`);
      writeFileSync(list, lines.join(""));
      const args = ["sync", "--from-file", list, ...to, ...TERMS, ...header];
      return { args: detached ? [...args, "--detach"] : args, list };
    };
    const submission = new Submission({
      ...{
        run,
        names: files.map(({ name }) => name),
        detached,
        root: this.root,
        history: this.history,
        begin,
      },
      start: (args) => this.#start(run, args, "producer"),
      find: (list) => this.#find(list),
    });
    this.submissions.push(submission);
  }

  /** Does what the schedule says, and undoes what does not last. Resolves when it is over. */
  async suffer(fault: Fault): Promise<void> {
    const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const say = (detail: string, forgets = false) =>
      this.history.add({ is: "action", what: fault.does, detail, ...(forgets ? { forgets } : {}) });
    const who =
      "target" in fault ? (fault.target === "producer" ? "producer" : `worker ${fault.target}`) : "";
    const link = "target" in fault ? this.#links.get(fault.target) : undefined;
    switch (fault.does) {
      case "kill":
        say(`${who}, for ${fault.forMs} ms`);
        if (fault.target === "producer") await this.#latest()?.kill(fault.forMs);
        else {
          const shift = await this.#dismiss(fault.target);
          await pause(fault.forMs);
          await this.#hire(fault.target, shift);
        }
        break;
      case "pause": {
        const process = fault.target === "producer" ? this.#latest()?.process : this.#workers[fault.target];
        say(`${who}, for ${fault.forMs} ms`);
        process?.kill("SIGSTOP");
        await pause(fault.forMs);
        process?.kill("SIGCONT");
        break;
      }
      case "crash-redis":
        await this.#redis.crash(fault.loss);
        say(`for ${fault.forMs} ms ${this.#redis.lastCut}`, fault.loss !== undefined);
        await pause(fault.forMs);
        await this.#redis.start();
        break;
      case "cut-link":
        say(who);
        link?.cut();
        break;
      case "refuse-link":
        say(`${who}, for ${fault.forMs} ms`);
        await link?.refuse();
        await pause(fault.forMs);
        await link?.accept();
        break;
      case "hold-link":
        say(`${who}, for ${fault.forMs} ms, then ${fault.ends}`);
        link?.hold();
        await pause(fault.forMs);
        if (fault.ends === "cut") link?.cut();
        link?.release();
        break;
      case "slow-link":
        say(`${who}, for ${fault.forMs} ms, ${fault.latencyMs} ms, ${fault.bytesPerSecond} B/s`);
        link?.slow(fault);
        await pause(fault.forMs);
        await link?.heal();
        break;
      case "remove-jobs":
      case "retry-jobs":
        say((await this.#meddle(fault)).join(" "));
        break;
    }
  }

  /** Everything runs and is connected again. To be called when no fault lasts any more. */
  async heal(): Promise<void> {
    for (const link of this.#links.values()) await link.heal();
    if (!this.#redis.running) await this.#redis.start();
  }

  /** What Redis and `drover status` tell of a run. */
  async look(submission: Submission): Promise<RunFacts> {
    const lost = { state: "lost", counts: {}, failures: [], bitmaps: {} };
    const { run } = submission;
    const id = await submission.learn();
    if (id === undefined) return lost;
    const asked = this.#start(`status of ${run}`, ["status", id, "--json"], "producer");
    const { code, stdout, stderr } = await asked.result;
    if (/no such run/.test(stderr)) return lost;
    if (code !== 0) throw new Error(`drover status: exit ${code}\n${stderr}`);
    const { state, failures, ...counts } = JSON.parse(stdout) as {
      state: string;
      failures: { destination: string; error: { class: string; message: string } }[];
    } & Record<string, number>;
    return {
      state,
      counts: Object.fromEntries(Object.entries(counts).filter(([, value]) => typeof value === "number")),
      failures: failures.map(({ destination, error }) => ({ name: destination, ...error })),
      bitmaps: await bitmapsOf(this.#client, this.#keys, id),
    };
  }

  get #userInfo(): string {
    return `chaos:${this.#canaries.password}`;
  }

  /** All that may be seen nowhere, user and password also as a header has them. */
  get #secrets(): string[] {
    return [...Object.values(this.#canaries), Buffer.from(this.#userInfo).toString("base64")];
  }

  #isSecretIn(text: string): boolean {
    return this.#secrets.some((secret) => text.includes(secret));
  }

  /** Looks for secrets in Redis as it is now. */
  async lookForSecrets(): Promise<void> {
    if (!this.#redis.running) return;
    for (const key of await secretsInRedis(this.#client, this.#secrets))
      this.history.add({ is: "secret", where: `key ${key}` });
  }

  /** Makes staging files that were left behind two days old. @returns how many there are. */
  ageLeftovers(): number {
    const paths = leftovers(this.root);
    const then = Date.now() / 1000 - 2 * 86_400;
    for (const path of paths) utimesSync(path, then, then);
    return paths.length;
  }

  /** Ends the workers in order and writes down what is left of everything. */
  async close(): Promise<void> {
    for (const worker of this.#workers) {
      if (worker === undefined) continue;
      this.#stopped.add(worker);
      worker.kill("SIGTERM");
    }
    await Promise.all(this.#workers.map((worker) => worker?.result));
    for (const { name, process } of this.#logs) {
      const { peakMiB, stdout, stderr } = await process.result;
      if (peakMiB !== undefined) this.history.add({ is: "memory", process: name, mib: Math.round(peakMiB) });
      if (this.#isSecretIn(stdout + stderr)) this.history.add({ is: "secret", where: `output of ${name}` });
    }
    for (const { path, text } of this.#box.stateFiles())
      if (this.#isSecretIn(text)) this.history.add({ is: "secret", where: path });
    for (const path of leftovers(this.root)) this.history.add({ is: "leftover", path });
    const { root, home, state, runtime } = this.#box;
    const ours = [this.root, state, runtime, join(root, "redis"), join(root, "lists"), home, this.#bait];
    for (const path of [...everythingBelow(root, ours), ...everythingBelow(this.#bait)])
      this.history.add({ is: "outside", path });
  }

  /** What the processes said, for those who have to find out. */
  logs(): { name: string; text: string }[] {
    return this.#logs.map(({ name, process }) => ({ name, text: process.output }));
  }

  async dispose(): Promise<void> {
    for (const submission of this.submissions) submission.giveUp();
    for (const { process } of this.#logs) {
      process.kill("SIGCONT");
      process.kill("SIGKILL");
    }
    this.#client?.disconnect();
    await this.#redis?.stop();
    for (const link of this.#links.values()) await link.stop();
    await this.#box.dispose();
  }

  #start(name: string, args: readonly string[], target: Target): DroverProcess {
    const url = `redis://127.0.0.1:${this.#links.get(target)?.port}`;
    const process = this.#box.start([...args, "--redis", url], { timeoutMs: FOREVER_MS });
    this.#logs.push({ name: `${name}: drover ${args[0]} (pid ${process.pid})`, process });
    return process;
  }

  /** Starts a worker, again and again where Redis cannot be reached, as whatever runs it would. */
  /** @param shift that is to begin: once another was dismissed, its successor is somebody else's to hire. */
  async #hire(worker: number, shift = 0): Promise<void> {
    const { concurrency } = this.options;
    const args = ["worker", "--concurrency", `${concurrency}`, "--root", this.root, "--verbose"];
    while (shift === (this.#shifts[worker] ?? 0)) {
      const process = this.#start(`worker ${worker}`, args, worker);
      this.#workers[worker] = process;
      const ended = process.result.then(({ code, signal, stderr }) => {
        if (this.#stopped.has(process)) return true;
        if (code === 2 && /cannot reach Redis/.test(stderr)) return false;
        const how = `exit ${code ?? signal}: ${stderr.slice(-500)}`;
        this.history.add({ is: "died", process: `worker ${worker}`, how });
        return true;
      });
      const ready = process.waitFor("stderr", /worker ready/, FOREVER_MS).then(
        () => true,
        () => ended,
      );
      if (await ready) return;
    }
  }

  async #dismiss(worker: number): Promise<number> {
    const shift = (this.#shifts[worker] ?? 0) + 1;
    this.#shifts[worker] = shift;
    const process = this.#workers[worker];
    if (process) {
      this.#stopped.add(process);
      process.kill("SIGKILL");
      await process.result;
    }
    return shift;
  }

  #latest(): Submission | undefined {
    return this.submissions.findLast(({ process }) => process?.running);
  }

  /** Jobs removed or retried as a person does with Bull Board. Answers with their ids. */
  async #meddle(fault: Extract<Fault, { does: "remove-jobs" | "retry-jobs" }>): Promise<string[]> {
    if (!this.#redis.running) return [];
    const connection = this.#client;
    const queue = new Queue(this.#keys.fleetQueue(), { connection, prefix: this.#keys.queuePrefix() });
    const states = fault.does === "remove-jobs" ? REMOVABLE : RETRIABLE;
    const jobs = (await queue.getJobs([...states])).filter((job) => job !== undefined);
    const ids: string[] = [];
    for (let at = 0; at < fault.count && jobs.length > 0; at++) {
      const job = jobs[(fault.from + at * 7) % jobs.length];
      try {
        if (fault.does === "remove-jobs") await job?.remove();
        else await job?.retry((await job.isFailed()) ? "failed" : "completed");
        ids.push(`${job?.id}`);
      } catch {
        // taken up or gone meanwhile
      }
    }
    await queue.close();
    return ids;
  }

  async #find(list: string): Promise<string | undefined> {
    for (const id of await this.#client.zrange(this.#keys.runs(), "0", "-1")) {
      const spec = JSON.parse((await this.#client.hget(this.#keys.run(id), "spec")) ?? "{}") as {
        list?: string;
      };
      if (spec.list === list) return id;
    }
    return undefined;
  }
}

const REMOVABLE = ["waiting", "prioritized", "delayed"] as const;
const RETRIABLE = ["failed", "completed"] as const;
