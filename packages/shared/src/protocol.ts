import type { Redis } from "ioredis";
import type { Verdict } from "./errors.js";
import { shortHash } from "./ids.js";
import type { OutcomeName } from "./outcome.js";
import { ADMIT, ENQUEUE, RELEASE, RENEW, REQUEUE, SETTLE } from "./protocol.lua.js";
import { bucketOf, CATALOG_BUCKETS, CLAIM_BUCKETS, type Keys } from "./redis/keys.js";
import { Gather, Script } from "./redis/script.js";

/** How long a lease is held without renewal, in milliseconds. */
export const LEASE_MS = 30_000;

/** Rules of a host's circuit breaker, as the asking run wants them. */
export interface BreakerRules {
  /** Failures in a row that open it. */
  threshold: number;
  /** How long it stays open, in milliseconds. */
  ttlMs: number;
  /** How long a probe may take before another one is let through, in milliseconds. */
  probeMs: number;
}

/** Where a file's keys are. One value per file, made once. */
export interface FileKeys {
  runId: string;
  flight: string;
  lease: string;
  tree: string;
  /** Name within its tree: the field in the catalog. */
  name: string;
  /** `host:port`, or "" for a local source. */
  host: string;
}

/** The flight id: in a run that one process carries, flights are not joined across runs. */
export function flightHash(runId: string, source: string, destination: string, generation: number): string {
  return shortHash("copy", runId, source, destination, String(generation));
}

export interface AdmitRequest extends FileKeys {
  /** Names this delivery of the job: the same one asking again gets the same fence. */
  delivery: string;
  /** Hash of the source, so that others see what the holder carries. */
  sourceHash: string;
  /** Fence of a lease whose owner is known to be dead. */
  deadFence?: string;
}

/** How a lease was had: for the first time, or after whom. Decides whether staged bytes can be trusted. */
export type LeaseOrigin = "new" | "same" | "released" | "dead" | "expired";

export interface Admitted {
  is: "admitted";
  fence: string;
  epoch: string;
  /** Encoded catalog entry, or "". */
  catalog: string;
  origin: LeaseOrigin;
  /** Fences whose staging may still be there. */
  predecessors: string[];
  /** What is known of the staged part (JSON), or "". */
  staged: string;
}

export type AdmitAnswer =
  | Admitted
  | { is: "done" }
  | { is: "cancelled" }
  | { is: "busy"; owner: string; sourceHash: string; fence: string; leftMs: number }
  | { is: "blocked"; waitMs: number };

export interface SettleRequest extends FileKeys {
  /** Absent where no lease is held. */
  fence?: string;
  index: number;
  outcome: OutcomeName;
  bytes: number;
  /** File and error as JSON, for what did not succeed; else "". */
  failure: string;
  catalog: string;
  verdict: Verdict;
  epoch: string;
  rules: BreakerRules;
  retryAfterMs: number;
  /** Open the breaker at once, whatever its threshold. */
  openBreaker: boolean;
  /** Keep the lease's record: what its predecessors staged could not be removed. */
  keepLease: boolean;
}

export interface SettleAnswer {
  is: "ok" | "already" | "stale";
  /** Until when the host is blocked now (Unix ms), or 0. */
  blockedUntilMs: number;
}

export interface EnqueueFile {
  kind: "queued" | "unchanged" | "failed";
  host: string;
  /** Hash of the destination. */
  destination: string;
  /** Hash of the source and of what is asked of it. */
  source: string;
  job: string;
  bytes: number;
  failure: string;
  flight: string;
}

export type EnqueueAnswer =
  | { is: "index"; index: number }
  | { is: "duplicate" }
  | { is: "collision"; index: number };

/** The run is not this process's to work on any more. */
export class RunLostError extends Error {
  override name = "RunLostError";
}

const admitScript = new Script(ADMIT);
const settleScript = new Script(SETTLE);
const releaseScript = new Script(RELEASE);
const renewScript = new Script(RENEW);
const enqueueScript = new Script(ENQUEUE);
const requeueScript = new Script(REQUEUE);

/** The steps of a file that Redis decides: flights, leases with fences, breaker, ledger and catalog, atomically. */
export class Protocol {
  readonly #admits: Gather<AdmitRequest, AdmitAnswer>;
  readonly #settles: Gather<SettleRequest, SettleAnswer>;

  /** @param owner name of this process, see process-name.ts. */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly owner: string,
    private readonly probeMs: number,
  ) {
    this.#admits = new Gather((requests) => this.#admitAll(requests));
    this.#settles = new Gather((requests) => this.#settleAll(requests));
  }

  admit(request: AdmitRequest): Promise<AdmitAnswer> {
    return this.#admits.ask(request);
  }

  settle(request: SettleRequest): Promise<SettleAnswer> {
    return this.#settles.ask(request);
  }

  #catalogKey(file: FileKeys): string {
    return this.keys.catalog(file.tree, bucketOf(file.lease, CATALOG_BUCKETS));
  }

  async #admitAll(requests: AdmitRequest[]): Promise<AdmitAnswer[]> {
    const keys: string[] = [];
    const args: (string | number)[] = [LEASE_MS, this.probeMs, this.owner];
    for (const each of requests) {
      keys.push(
        this.keys.flight(each.flight),
        this.keys.lease(each.lease),
        this.keys.breaker(each.host),
        this.#catalogKey(each),
        this.keys.run(each.runId),
      );
      args.push(each.delivery, each.sourceHash, each.deadFence ?? "", each.host, each.name);
    }
    return ((await admitScript.run(this.redis, keys, args)) as unknown[][]).map(readAdmit);
  }

  async #settleAll(requests: SettleRequest[]): Promise<SettleAnswer[]> {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const each of requests) {
      keys.push(
        this.keys.flight(each.flight),
        this.keys.lease(each.lease),
        this.keys.breaker(each.host),
        this.#catalogKey(each),
        this.keys.run(each.runId),
        this.keys.done(each.runId),
        this.keys.outcome(each.runId, each.outcome),
        this.keys.failed(each.runId),
      );
      args.push(
        each.fence ?? "",
        each.index,
        each.outcome,
        each.bytes,
        each.failure,
        each.name,
        each.catalog,
        each.host === "" ? "none" : each.verdict,
        each.epoch,
        each.rules.threshold,
        each.rules.ttlMs,
        each.retryAfterMs,
        each.openBreaker ? "1" : "",
        each.keepLease ? "1" : "",
      );
    }
    return ((await settleScript.run(this.redis, keys, args)) as [string, number][]).map(readSettled);
  }

  /**
   * Gives a lease back after a try, noting what is staged (JSON, or "").
   *
   * @param fencedOff nothing that its predecessors staged is left.
   */
  async release(
    file: FileKeys,
    fence: string,
    staged: string,
    verdict: Verdict,
    epoch: string,
    rules: BreakerRules,
    retryAfterMs: number,
    fencedOff = true,
  ): Promise<SettleAnswer> {
    const answer = await releaseScript.run(
      this.redis,
      [this.keys.lease(file.lease), this.keys.breaker(file.host)],
      [
        fence,
        staged,
        file.host === "" ? "none" : verdict,
        epoch,
        rules.threshold,
        rules.ttlMs,
        retryAfterMs,
        fencedOff ? "1" : "",
      ],
    );
    return readSettled(answer as [string, number]);
  }

  /** Extends leases; answers for each whether it is still ours. `staged`: what is staged (JSON), or "" to keep. */
  async renew(leases: { lease: string; fence: string; staged: string }[]): Promise<boolean[]> {
    const answers = await renewScript.run(
      this.redis,
      leases.map((each) => this.keys.lease(each.lease)),
      [LEASE_MS, ...leases.flatMap((each) => [each.fence, each.staged])],
    );
    return (answers as number[]).map((each) => each === 1);
  }

  /**
   * Registers a batch of files of a run, all or nothing.
   *
   * @param batch 1, 2, 3 …; the same number again is not done again and gets the same answer.
   * @throws RunLostError when the run was cancelled or another process has taken it over.
   */
  async enqueue(
    runId: string,
    batch: number,
    cursor: string,
    files: EnqueueFile[],
  ): Promise<EnqueueAnswer[]> {
    const keys = [
      this.keys.run(runId),
      this.keys.done(runId),
      this.keys.outcome(runId, "unchanged"),
      this.keys.outcome(runId, "failed"),
      this.keys.failed(runId),
      this.keys.backlog(runId),
    ];
    const args: (string | number)[] = [this.owner, batch, cursor];
    for (const each of files) {
      keys.push(
        this.keys.claims(runId, bucketOf(each.destination, CLAIM_BUCKETS)),
        this.keys.flight(each.flight),
      );
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
    if (head === "OWNER") throw new RunLostError(`run ${runId} was taken over by another process`);
    if (head !== "OK") throw new Error(`Redis forgot a part of run ${runId}: start the command again`);
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
   * @returns how many were put back.
   */
  async requeue(
    runId: string,
    chunk: string,
    files: { index: number; flight: string; job: string }[],
    clear: readonly OutcomeName[],
  ): Promise<number> {
    const count = await requeueScript.run(
      this.redis,
      [
        this.keys.run(runId),
        this.keys.done(runId),
        this.keys.failed(runId),
        this.keys.backlog(runId),
        ...clear.map((outcome) => this.keys.outcome(runId, outcome)),
        ...files.map((file) => this.keys.flight(file.flight)),
      ],
      [
        this.owner,
        chunk,
        clear.length,
        clear.length > 0 ? "1" : "",
        ...files.flatMap((file) => [file.index, `[${file.index},${file.job}]`]),
      ],
    );
    if (count === -1) throw new RunLostError(`run ${runId} was taken over by another process`);
    return count as number;
  }
}

function readAdmit(answer: unknown[]): AdmitAnswer {
  switch (answer[0]) {
    case "DONE":
      return { is: "done" };
    case "CANCELLED":
      return { is: "cancelled" };
    case "BUSY":
      return {
        is: "busy",
        owner: String(answer[1]),
        sourceHash: String(answer[2]),
        fence: String(answer[3]),
        leftMs: Number(answer[4]),
      };
    case "BLOCKED":
      return { is: "blocked", waitMs: Number(answer[1]) };
    default:
      return {
        is: "admitted",
        fence: String(answer[1]),
        epoch: String(answer[2]),
        catalog: String(answer[3]),
        origin: answer[4] as LeaseOrigin,
        predecessors: answer[5] === "" ? [] : String(answer[5]).split(","),
        staged: String(answer[6]),
      };
  }
}

function readSettled(answer: [string, number]): SettleAnswer {
  return { is: answer[0].toLowerCase() as SettleAnswer["is"], blockedUntilMs: Number(answer[1]) };
}
