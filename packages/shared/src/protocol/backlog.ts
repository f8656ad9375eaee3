import type { Redis } from "ioredis";
import type { OutcomeName } from "../outcome.js";
import { pipelined } from "../redis/script.js";
import { count, observe } from "../telemetry.js";
import { bucketOf, CLAIM_BUCKETS, type Keys } from "./keys.js";
import { dropInFlightScript } from "./lua/drop-in-flight.lua.js";
import { enqueueScript } from "./lua/enqueue.lua.js";
import { leaveJoinedScript } from "./lua/leave-joined.lua.js";
import { markInFlightScript } from "./lua/mark-in-flight.lua.js";
import { requeueScript } from "./lua/requeue.lua.js";
import { restoreFlightsScript } from "./lua/restore-flights.lua.js";

/** A file that is registered with a run. */
export interface EnqueueFile {
  /** Whether somebody is to copy it, or it has ended already. */
  kind: "queued" | "unchanged" | "failed";
  /** `host:port`, or "" for a local source. */
  host: string;
  /** Hash of the destination. */
  destination: string;
  /** Hash of the source and of what is asked of it. */
  source: string;
  /** Its job (JSON) without its index. */
  job: string;
  /** Size of a file of kind `unchanged`; else 0. */
  bytes: number;
  /** Job, error and attempts (JSON) of a file of kind `failed`; else "". */
  failure: string;
  /** What runs that want the same may share; else the run's own. */
  flight: string;
  ownFlight: string;
}

export type EnqueueAnswer =
  | { is: "index"; index: number }
  | { is: "duplicate" }
  | { is: "collision"; index: number };

/** Redis has restarted without the last of what it had acknowledged. */
export class ForgottenError extends Error {
  override name = "ForgottenError";

  /** @param known the last batch that Redis has; undefined where it does not know the run at all. */
  constructor(
    runId: string,
    readonly known: number | undefined,
  ) {
    super(`Redis forgot a part of run ${runId}: start the command again`);
  }
}

/** The run is not this process's to work on any more. */
export class RunLostError extends Error {
  override name = "RunLostError";

  static takenOver(runId: string): RunLostError {
    return new RunLostError(`run ${runId} was taken over by another process`);
  }
}

/** A file of a chunk: index, job, and 1 where its flight is its run's own. */
export type ChunkFile = [number, Record<string, unknown>, 1?];

/** A file that joined another run's. */
export interface JoinedFile {
  file: ChunkFile;
  flight: string;
  /** See Flights.waiter. */
  waiter: string;
  /** The run that carries it does not any more. */
  isLeft: boolean;
}

/**
 * Files that are registered with a run and have not ended, in chunks by batch and host: those that are not in BullMQ
 * yet, and those that are, which are in flight.
 */
export class Backlog {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    /** Name of this process, see process-name.ts. */
    private readonly owner: string,
  ) {}

  /**
   * Registers a batch of files of a run, all or nothing.
   *
   * @param batch 1, 2, 3 … The same number again registers nothing and gets the same answer.
   * @param cursor where the expansion stands behind the batch (JSON).
   * @param options.shared whether other runs may have the same files in flight. Default false.
   * @param options.claims whether two of the run's files could have the same destination: then Redis keeps all their
   *   names to find out. Default true.
   * @param options.leftGeneration generation of the run in which this process may have left it: as long as nobody has
   *   taken it since, it may go on. Default none: it must have the run.
   * @returns per file its index, or that it is there already; a file that collides with another one is recorded as
   *   failed.
   * @throws RunLostError when the run was cancelled or another process has taken it over.
   * @throws ForgottenError when Redis has lost earlier batches: send them again.
   */
  async enqueue(
    runId: string,
    batch: number,
    cursor: string,
    files: EnqueueFile[],
    options: { shared?: boolean; claims?: boolean; leftGeneration?: number } = {},
  ): Promise<EnqueueAnswer[]> {
    const { shared = false, claims = true, leftGeneration = "" } = options;
    const keys = [
      this.keys.run(runId),
      this.keys.done(runId),
      this.keys.outcome(runId, "unchanged"),
      this.keys.outcome(runId, "failed"),
      this.keys.failed(runId),
      this.keys.failureGroups(runId),
      this.keys.backlog(runId),
      this.keys.joined(runId),
    ];
    const args: (string | number)[] = [this.owner, batch, cursor];
    args.push(shared ? runId : "", claims ? "1" : "", leftGeneration);
    for (const each of files) {
      keys.push(
        this.keys.claims(runId, bucketOf(each.destination, CLAIM_BUCKETS)),
        this.keys.flight(each.flight),
      );
      if (shared) keys.push(this.keys.flight(each.ownFlight), this.keys.lease(each.destination));
      args.push(
        each.kind[0] as string,
        each.host,
        each.destination,
        each.source,
        each.job,
        each.bytes,
        each.failure,
      );
    }
    const [head, ...answers] = (await enqueueScript.run(this.redis, keys, args)) as [string, ...string[]];
    if (head === "CANCELLED") throw new RunLostError(`run ${runId} was cancelled`);
    if (head === "OWNER") throw RunLostError.takenOver(runId);
    if (head === "GONE") throw new ForgottenError(runId, undefined);
    if (head !== "OK") throw new ForgottenError(runId, Number(answers[0]));
    count("backlog.batches");
    observe("backlog.batch_files", files.length);
    return answers.map((answer) => {
      if (answer === "dup") return { is: "duplicate" };
      if (answer.startsWith("col")) return { is: "collision", index: Number(answer.slice(3)) };
      return { is: "index", index: Number(answer) };
    });
  }

  /**
   * Puts files back into the backlog as one chunk.
   *
   * @param clear outcomes that are taken back (retry), or none (resume).
   * @param shared whether other runs may have the same files in flight. Default false.
   * @returns how many were put back: none that has ended with another outcome.
   * @throws RunLostError when another process has taken the run over.
   */
  async requeue(
    runId: string,
    chunk: string,
    files: { index: number; flight: string; job: string }[],
    clear: readonly OutcomeName[],
    shared = false,
  ): Promise<number> {
    const count = await requeueScript.run(
      this.redis,
      [
        this.keys.run(runId),
        this.keys.done(runId),
        this.keys.failed(runId),
        this.keys.failureGroups(runId),
        this.keys.backlog(runId),
        ...clear.map((outcome) => this.keys.outcome(runId, outcome)),
        ...files.map((file) => this.keys.flight(file.flight)),
      ],
      [
        this.owner,
        chunk,
        clear.length,
        clear.length > 0 ? "1" : "",
        shared ? `${runId}:` : "",
        ...files.flatMap((file) => [file.index, `[${file.index},${file.job}]`]),
      ],
    );
    if (count === -1) throw RunLostError.takenOver(runId);
    return count as number;
  }

  /** Chunk ids of the backlog, in the order of their batches. */
  async chunkIds(id: string): Promise<string[]> {
    const ids = await this.redis.hkeys(this.keys.backlog(id));
    return ids.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  }

  /** Files of a chunk of the backlog; none where it is not there. */
  async chunk(id: string, chunk: string): Promise<ChunkFile[]> {
    return (await this.chunks(id, [chunk]))[0] as ChunkFile[];
  }

  /** The same of many chunks, in the order of their ids. */
  async chunks(id: string, chunks: string[]): Promise<ChunkFile[][]> {
    const found = await this.redis.hmget(this.keys.backlog(id), ...chunks);
    return found.map((files) => JSON.parse(files ?? "[]"));
  }

  /** Sizes of chunks as they are stored, in bytes; 0 for one that is not there. */
  async chunkBytes(id: string, chunks: string[]): Promise<number[]> {
    const key = this.keys.backlog(id);
    const sizes = await pipelined(this.redis, () => {
      const pipeline = this.redis.pipeline();
      for (const chunk of chunks) pipeline.hstrlen(key, chunk);
      return pipeline;
    });
    return sizes as number[];
  }

  /** Chunks that are in BullMQ, by id. */
  async inFlight(id: string): Promise<Map<string, ChunkFile[]>> {
    const all = await this.redis.hgetall(this.keys.inFlight(id));
    return new Map(Object.entries(all).map(([chunk, files]) => [chunk, JSON.parse(files)]));
  }

  /**
   * Chunks of files that may not have ended, in pages and in no order: those of the backlog, then those in flight. One that
   * moves meanwhile may come twice.
   */
  async *openChunks(id: string): AsyncGenerator<[chunk: string, files: ChunkFile[]][]> {
    for (const key of [this.keys.backlog(id), this.keys.inFlight(id)]) {
      let cursor = "0";
      do {
        const [next, flat] = await this.redis.hscan(key, cursor, "COUNT", 20);
        cursor = next;
        const page: [string, ChunkFile[]][] = [];
        for (let at = 0; at + 1 < flat.length; at += 2)
          page.push([flat[at] as string, JSON.parse(flat[at + 1] as string)]);
        yield page;
      } while (cursor !== "0");
    }
  }

  /** Records that chunks of the backlog are in BullMQ now. They are kept until all their files have ended. */
  async markInFlight(id: string, ...chunks: string[]): Promise<void> {
    await markInFlightScript.run(this.redis, [this.keys.backlog(id), this.keys.inFlight(id)], chunks);
  }

  /** Records a chunk in flight that Redis has lost. */
  async noteInFlight(id: string, chunk: string, files: ChunkFile[]): Promise<void> {
    await this.redis.hset(this.keys.inFlight(id), chunk, JSON.stringify(files));
  }

  /** Forgets a chunk in flight once all its files have ended; until then it stays. */
  async dropInFlight(id: string, chunk: string): Promise<void> {
    await dropInFlightScript.run(this.redis, [this.keys.inFlight(id), this.keys.done(id)], [chunk]);
  }

  /** Forgets a chunk in flight whose files are in the backlog again. */
  async forgetInFlight(id: string, chunk: string): Promise<void> {
    await this.redis.hdel(this.keys.inFlight(id), chunk);
  }

  /**
   * Makes flights of files anew that Redis has lost.
   *
   * @returns what is true of each file: it is `open`, has `ended`, or is `unknown` to Redis, which has lost its batch.
   */
  async restoreFlights(
    id: string,
    files: { index: number; flight: string; waiter: string }[],
  ): Promise<("open" | "ended" | "unknown")[]> {
    const answers = await restoreFlightsScript.run(
      this.redis,
      [this.keys.run(id), this.keys.done(id), ...files.map((file) => this.keys.flight(file.flight))],
      files.flatMap((file) => [file.index, file.waiter]),
    );
    return (answers as number[]).map((each) => (each === 1 ? "open" : each === 0 ? "ended" : "unknown"));
  }

  /** Chunks of files that other runs carry for this one too, by id; some of them where there are many. */
  async joined(id: string): Promise<[chunk: string, files: ChunkFile[]][]> {
    const [, flat] = await this.redis.hscan(this.keys.joined(id), "0");
    const chunks: [string, ChunkFile[]][] = [];
    for (let at = 0; at + 1 < flat.length; at += 2)
      chunks.push([flat[at] as string, JSON.parse(flat[at + 1] as string)]);
    return chunks;
  }

  /**
   * Puts files of a chunk that nobody carries for this run any more into the backlog, and forgets those that have
   * ended.
   *
   * @param files all of the chunk.
   * @returns how many were put into the backlog.
   */
  async leaveJoined(id: string, chunk: string, files: JoinedFile[]): Promise<number> {
    const [batch, host] = [chunk.slice(0, chunk.indexOf("|")), chunk.slice(chunk.indexOf("|") + 1)];
    const left = await leaveJoinedScript.run(
      this.redis,
      [
        this.keys.done(id),
        this.keys.joined(id),
        this.keys.backlog(id),
        ...files.map((each) => this.keys.flight(each.flight)),
      ],
      [
        chunk,
        `${batch}.j${Date.now()}|${host}`,
        ...files.flatMap(({ file, waiter, isLeft }) => [
          file[0],
          JSON.stringify(file),
          waiter,
          isLeft ? "1" : "",
        ]),
      ],
    );
    return left as number;
  }

  /** Forgets a chunk of the backlog. */
  async dropChunk(id: string, chunk: string): Promise<void> {
    await this.redis.hdel(this.keys.backlog(id), chunk);
  }
}
