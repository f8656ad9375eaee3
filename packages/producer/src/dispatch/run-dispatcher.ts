import { failpoint } from "@drover/shared/failpoint";
import { jobId, type TransferJob } from "@drover/shared/job";
import type { Backlog } from "@drover/shared/protocol/backlog";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { addJobs } from "@drover/shared/queue/bullmq";
import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { Window } from "./window.js";

export interface RunDispatcherOptions {
  runId: string;
  redis: Redis;
  queue: Queue;
  backlog: Backlog;
  breakers: HostBreakers;
  /** Most files in BullMQ at once per host. */
  windowFiles: number;
  /** Settles a file of a host that was given up, without carrying it. */
  endBlocked(job: TransferJob): Promise<void>;
  onError(error: unknown): void;
}

interface Host {
  name: string;
  chunks: string[];
  /** Files of the current chunk that are not in BullMQ yet. */
  rest: TransferJob[];
  /** Id of the current chunk; undefined once all its files are in BullMQ. */
  chunk: string | undefined;
  inQueue: number;
  /** Limits the files in BullMQ at once. */
  window: Window;
  /** Whether the window was narrowed because the host was blocked. */
  narrowed: boolean;
}

/** Moves files from the backlog into BullMQ: a window per host, hosts in turn, nothing for blocked hosts. */
export class RunDispatcher {
  readonly #hosts = new Map<string, Host>();
  #pumping = false;
  #again = false;
  #stopped = false;
  #draining = false;
  #timer: NodeJS.Timeout | undefined;
  #waiting: (() => void)[] = [];
  /** Number of files in the backlog or in BullMQ. */
  #open = 0;
  /** Chunk of each file in BullMQ. A chunk is kept until all its files are settled. */
  readonly #chunks = new Map<number, { id: string; left: number }>();

  constructor(private readonly options: RunDispatcherOptions) {
    options.breakers.onChange(() => this.#pump());
  }

  /** Adds a chunk of the backlog. */
  offer(chunk: string, host: string, files: number): void {
    this.#host(host).chunks.push(chunk);
    this.#open += files;
    this.#pump();
  }

  #host(name: string): Host {
    let host = this.#hosts.get(name);
    if (!host) {
      const window = new Window(this.options.windowFiles);
      host = { name, chunks: [], rest: [], chunk: undefined, inQueue: 0, window, narrowed: false };
      this.#hosts.set(name, host);
    }
    return host;
  }

  /** A file of the host has left BullMQ for good. */
  settled(of: string, index: number): void {
    const host = this.#host(of);
    host.inQueue--;
    this.#dropInFlight(index);
    if (this.#isNarrowed(host)) host.window.grow();
    this.#left();
    if (host.window.isLow(host.inQueue)) this.#pump();
  }

  #dropInFlight(index: number): void {
    const chunk = this.#chunks.get(index);
    this.#chunks.delete(index);
    if (!chunk || --chunk.left > 0) return;
    this.options.backlog
      .dropInFlight(this.options.runId, chunk.id)
      .catch((error) => this.options.onError(error));
  }

  #left(): void {
    this.#open--;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Whether any file is not in BullMQ yet. */
  get busy(): boolean {
    return [...this.#hosts.values()].some((host) => host.chunks.length > 0 || host.chunk !== undefined);
  }

  /** Resolves when fewer than `most` files are open. */
  async room(most: number): Promise<void> {
    while (this.#open >= most && !this.#stopped) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Feeds everything, even for blocked hosts, because the remaining files are only settled as cancelled. */
  drain(): void {
    this.#draining = true;
    this.#pump();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    for (const resolve of this.#waiting) resolve();
  }

  #pump(): void {
    this.#again = true;
    if (this.#pumping || this.#stopped) return;
    this.#pumping = true;
    this.#run()
      .catch((error) => this.options.onError(error))
      .finally(() => {
        this.#pumping = false;
        if (this.#again) this.#pump();
      });
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      for (const host of this.#hosts.values()) {
        if (await this.#feed(host)) this.#again = true; // one chunk per host and turn
      }
    }
  }

  /** @returns whether there may be more to do for this host. */
  async #feed(host: Host): Promise<boolean> {
    const { breakers, backlog, runId } = this.options;
    if (host.rest.length === 0 && host.chunks.length === 0) return false;
    const blockedUntil = this.#draining ? 0 : breakers.blockedUntil(host.name);
    const isGivenUp = !this.#draining && breakers.isGivenUp(host.name);
    if (blockedUntil > 0 && !isGivenUp) {
      this.#wakeAt(blockedUntil);
      return false;
    }
    this.#isNarrowed(host);
    const room = isGivenUp ? Number.POSITIVE_INFINITY : host.window.room(host.inQueue);
    if (room <= 0) return false;
    if (host.chunk === undefined) {
      host.chunk = host.chunks.shift() as string;
      const files = await backlog.chunk(runId, host.chunk);
      host.rest = files.map(([index, job]) => ({ ...job, i: index }) as TransferJob);
      const chunk = { id: host.chunk, left: files.length };
      for (const job of host.rest) this.#chunks.set(job.i, chunk);
    }
    const slice = host.rest.slice(0, room);
    if (isGivenUp) for (const job of slice) await this.#giveUp(job);
    else await this.#add(host, slice);
    host.rest = host.rest.slice(slice.length);
    if (host.rest.length === 0) {
      failpoint("dispatch");
      await backlog.markInFlight(runId, host.chunk);
      host.chunk = undefined;
    }
    return true;
  }

  /**
   * Whether the host recovers from being blocked: its window then starts small and grows with each settled
   * file.
   */
  #isNarrowed(host: Host): boolean {
    const narrow = this.options.breakers.isRecovering(host.name) && !this.#draining;
    if (narrow !== host.narrowed) {
      if (narrow) host.window.probe();
      else host.window.open();
      host.narrowed = narrow;
    }
    return narrow;
  }

  async #giveUp(job: TransferJob): Promise<void> {
    await this.options.endBlocked(job);
    this.#dropInFlight(job.i);
    this.#left();
  }

  async #add(host: Host, jobs: TransferJob[]): Promise<void> {
    host.inQueue += jobs.length;
    const { redis, queue, runId } = this.options;
    await addJobs(
      redis,
      queue,
      jobs.map((data) => ({ id: jobId(runId, data.i, data.g), data })),
      "suppressed",
    );
  }

  #wakeAt(unixMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#pump(), Math.max(unixMs - Date.now(), 0) + 20);
  }
}
