import type { Redis } from "ioredis";
import type { TransferError, Verdict } from "../errors.js";
import { shortHash } from "../ids.js";
import type { TransferJob } from "../job.js";
import type { OutcomeName } from "../outcome.js";
import { Batcher, callsApartMs, Script } from "../redis/script.js";
import type { RunSpec } from "../run.js";
import { isS3 } from "../storage/s3/name.js";
import { catalogKey } from "./catalog.js";
import { DEFAULT_LIMIT } from "./host-limits.js";
import type { Keys } from "./keys.js";
import { ADMIT, RELEASE, RENEW, SETTLE } from "./lua/admission.lua.js";

/** How long a lease is held without renewal, in milliseconds. */
export const LEASE_MS = 30_000;

/** In the place of a catalog entry: the file is gone. */
export const NO_ENTRY = "-";

/** What breaker and limits of a host learn; `slow` is a failure that asks for less, of the whole fleet. */
export type HostVerdict = Verdict | "slow";

/** One process that carries a run by itself has a limit of its own: its files only wait as each is told to. */
export function hostVerdict(error: TransferError, fleet: boolean): HostVerdict {
  return fleet && error.throttled ? "slow" : error.verdict;
}

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

/** The flight id of a file of one run alone. */
export function flightHash(runId: string, source: string, destination: string, generation: number): string {
  return shortHash("copy", runId, source, destination, String(generation));
}

/**
 * The flight id of a file: in a fleet, runs that ask for the same file on the same terms share one.
 *
 * @param lease hash of the destination.
 */
export function flightOf(runId: string, spec: RunSpec, job: TransferJob, lease: string): string {
  if (!spec.fleet || spec.ownFlights || job.k || job.o || job.g || job.op)
    return flightHash(runId, job.s, job.d, job.g ?? 0);
  const terms = JSON.stringify([
    job.x,
    spec.maxFileSizeBytes,
    spec.durable,
    isS3(job.s) ? spec.s3 : undefined,
    spec.checkDestination,
  ]);
  return shortHash("copy", job.s, lease, terms);
}

/** A file that waits for a flight, as the flight's value names it: one of a run that one process carries has its index alone. */
export function waiterOf(runId: string, index: number, fleet: boolean): string {
  return fleet ? `${runId}:${index}` : String(index);
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
  /** Encoded catalog entry; empty where there is none. */
  catalog: Buffer;
  origin: LeaseOrigin;
  /** Fences whose staging may still be there. */
  predecessors: string[];
  /** What is known of the staged part (JSON), or "". */
  staged: string;
  /** Everybody who waits for this file, see {@link waiterOf}; it stays so until the file is settled. */
  waiting: string;
  /** Holders of the lease that died over this file. */
  crashes: number;
  /** Limit of its host for the whole fleet, or 0; and how many files share it. */
  bytesPerSecond: number;
  others: number;
}

export type AdmitAnswer =
  | Admitted
  | { is: "done" }
  | { is: "cancelled" }
  | { is: "busy"; owner: string; sourceHash: string; fence: string; leftMs: number }
  | { is: "blocked"; waitMs: number }
  /** The host's limit is reached: its turn is then. */
  | { is: "wait"; waitMs: number };

export interface SettleRequest extends FileKeys {
  /** Absent where no lease is held. */
  fence?: string;
  /** Who waits for the file, as far as the caller knows, see {@link waiterOf}. */
  waiting: string;
  /** The outcome (JSON) for those who follow a run, or "". */
  followed: string;
  outcome: OutcomeName;
  bytes: number;
  /** File and error as JSON, for what did not succeed; else "". */
  failure: string;
  /** The catalog entry; "" leaves the one that is there, {@link NO_ENTRY} drops it. */
  catalog: Buffer | "" | typeof NO_ENTRY;
  verdict: HostVerdict;
  epoch: string;
  rules: BreakerRules;
  retryAfterMs: number;
  /** Open the breaker at once, whatever its threshold. */
  openBreaker: boolean;
  /** Keep the lease's record: what its predecessors staged could not be removed. */
  keepLease: boolean;
  /**
   * Flight whose source with its secrets is not needed any more. It goes with what it was kept for: should Redis
   * forget that the file is settled, it has not forgotten the secrets either.
   */
  forget?: string;
}

export interface ReleaseRequest extends FileKeys {
  fence: string;
  /** What is known of the staged bytes (JSON), or "". */
  staged: string;
  verdict: HostVerdict;
  /** Epoch of the host's breaker that the try was admitted under. */
  epoch: string;
  rules: BreakerRules;
  /** The wait that the host asked for, in milliseconds; 0 for none. */
  retryAfterMs: number;
  /** Nothing that the lease's predecessors staged is left. */
  fencedOff: boolean;
}

export interface SettleAnswer {
  is: "ok" | "already" | "stale";
  /** Until when the host is blocked now (Unix ms), or 0. */
  blockedUntilMs: number;
}

const admitScript = new Script(ADMIT);
const settleScript = new Script(SETTLE);
const releaseScript = new Script(RELEASE);
const renewScript = new Script(RENEW);

/** What several files of a call have in common: sent once, and numbered from 1. */
class KeyTable {
  readonly keys: string[] = [];
  readonly args: (string | number)[] = [];
  readonly #numbers = new Map<string, number>();

  get size(): number {
    return this.#numbers.size;
  }

  /**
   * @param name tells it from others.
   * @param make its keys and arguments.
   */
  number(name: string, make: () => [keys: string[], args: (string | number)[]]): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const [keys, args] = make();
    this.keys.push(...keys);
    this.args.push(...args);
    this.#numbers.set(name, this.size + 1);
    return this.size;
  }
}

/** The steps of a file that Redis decides: flights, leases with fences, breaker, ledger and catalog, atomically. */
export class Admission {
  readonly #admits: Batcher<AdmitRequest, AdmitAnswer>;
  readonly #settles: Batcher<SettleRequest, SettleAnswer | { is: "waiting"; waiting: string }>;

  /**
   * @param owner name of this process, see process-name.ts.
   * @param filesAtOnce that are carried.
   */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly owner: string,
    private readonly probeMs: number,
    filesAtOnce = 1,
  ) {
    // Settling never waits: whoever is admitted after a file has ended finds what it left: its slot at its host and its report.
    this.#admits = new Batcher((requests) => this.#admitAll(requests), callsApartMs(filesAtOnce));
    this.#settles = new Batcher((requests) => this.#settleAll(requests));
  }

  admit(request: AdmitRequest): Promise<AdmitAnswer> {
    return this.#admits.ask(request);
  }

  /** Ends a file for everybody who waits for it. */
  async settle(request: SettleRequest): Promise<SettleAnswer> {
    for (let asked = request; ; ) {
      const answer = await this.#settles.ask(asked);
      if (answer.is !== "waiting") return answer;
      asked = { ...asked, waiting: answer.waiting }; // others have joined
    }
  }

  async #admitAll(requests: AdmitRequest[]): Promise<AdmitAnswer[]> {
    const hosts = new KeyTable();
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const each of requests) {
      const { runId, host } = each;
      const hostNumber = hosts.number(`${runId} ${host}`, () => [
        [
          this.keys.run(runId),
          this.keys.breaker(host),
          this.keys.limit(host),
          this.keys.slots(host),
          this.keys.turns(host),
        ],
        [host],
      ]);
      keys.push(
        this.keys.flight(each.flight),
        this.keys.lease(each.lease),
        catalogKey(this.keys, each.tree, each.name),
      );
      args.push(hostNumber, each.delivery, each.sourceHash, each.deadFence ?? "", each.name);
    }
    const allKeys = [this.keys.limit(DEFAULT_LIMIT), ...hosts.keys, ...keys];
    const allArgs = [LEASE_MS, this.probeMs, this.owner, hosts.size, ...hosts.args, ...args];
    return ((await admitScript.runForBytes(this.redis, allKeys, allArgs)) as unknown[][]).map(readAdmit);
  }

  /** As {@link settle} for one file of a run: does nothing and answers `waiting` where other runs wait for it. */
  settleAlone(request: SettleRequest): Promise<SettleAnswer | { is: "waiting"; waiting: string }> {
    return this.#settles.ask(request);
  }

  async #settleAll(requests: SettleRequest[]) {
    const hostReports = new KeyTable();
    const runOutcomes = new KeyTable();
    const keys: string[] = [];
    const args: (string | number | Buffer)[] = [];
    for (const each of requests) {
      const { host, epoch, rules, retryAfterMs, outcome } = each;
      const verdict = host === "" ? "" : each.verdict;
      const report = [
        verdict,
        epoch,
        rules.threshold,
        rules.ttlMs,
        retryAfterMs,
        each.openBreaker ? "1" : "",
      ];
      const hostReport = hostReports.number(`${host} ${report.join(" ")}`, () => [
        [this.keys.breaker(host), this.keys.limit(host), this.keys.slots(host)],
        report,
      ]);
      const runOutcome = (runId: string) =>
        runOutcomes.number(`${runId} ${outcome}`, () => [
          [
            this.keys.run(runId),
            this.keys.done(runId),
            this.keys.outcome(runId, outcome),
            this.keys.failed(runId),
            this.keys.outcomes(runId),
            this.keys.secrets(runId),
          ],
          [outcome],
        ]);
      keys.push(
        this.keys.flight(each.flight),
        this.keys.lease(each.lease),
        catalogKey(this.keys, each.tree, each.name),
      );
      const waiting = each.waiting.split(",");
      args.push(
        hostReport,
        runOutcome(each.runId),
        each.fence ?? "",
        each.bytes,
        each.failure,
        each.name,
        each.catalog,
        each.keepLease ? "1" : "",
        each.waiting,
        each.followed,
        each.forget ?? "",
        waiting.length,
      );
      for (const waiter of waiting) {
        const colon = waiter.indexOf(":");
        args.push(runOutcome(colon < 0 ? each.runId : waiter.slice(0, colon)), waiter.slice(colon + 1));
      }
    }
    const allKeys = [this.keys.limit(DEFAULT_LIMIT), ...hostReports.keys, ...runOutcomes.keys, ...keys];
    const allArgs = [hostReports.size, runOutcomes.size, ...hostReports.args, ...runOutcomes.args, ...args];
    return ((await settleScript.run(this.redis, allKeys, allArgs)) as [string, unknown][]).map((answer) =>
      answer[0] === "WAITING"
        ? ({ is: "waiting", waiting: String(answer[1]) } as const)
        : readSettled(answer),
    );
  }

  /** Gives a lease back after a try that did not end the file. */
  async release(request: ReleaseRequest): Promise<SettleAnswer> {
    const { host, rules } = request;
    const answer = await releaseScript.run(
      this.redis,
      [
        this.keys.lease(request.lease),
        this.keys.breaker(host),
        this.keys.limit(DEFAULT_LIMIT),
        this.keys.limit(host),
        this.keys.slots(host),
      ],
      [
        request.fence,
        request.staged,
        host === "" ? "" : request.verdict,
        request.epoch,
        rules.threshold,
        rules.ttlMs,
        request.retryAfterMs,
        request.fencedOff ? "1" : "",
      ],
    );
    return readSettled(answer as [string, unknown]);
  }

  /** Extends leases; answers for each whether it is still ours. `staged`: what is staged (JSON), or "" to keep. */
  async renew(leases: { lease: string; host?: string; fence: string; staged: string }[]): Promise<boolean[]> {
    const answers = await renewScript.run(
      this.redis,
      leases.flatMap((each) => [this.keys.lease(each.lease), this.keys.slots(each.host ?? "")]),
      [LEASE_MS, ...leases.flatMap((each) => [each.fence, each.staged])],
    );
    return (answers as number[]).map((each) => each === 1);
  }
}

function readAdmit(answer: unknown[]): AdmitAnswer {
  switch (String(answer[0])) {
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
    case "WAIT":
      return { is: "wait", waitMs: Number(answer[1]) };
    case "BLOCKED":
      return { is: "blocked", waitMs: Number(answer[1]) };
    default:
      return {
        is: "admitted",
        fence: String(answer[1]),
        epoch: String(answer[2]),
        catalog: answer[3] as Buffer,
        origin: String(answer[4]) as LeaseOrigin,
        predecessors: String(answer[5]) === "" ? [] : String(answer[5]).split(","),
        staged: String(answer[6]),
        waiting: String(answer[7]),
        crashes: Number(answer[8]),
        bytesPerSecond: Number(answer[9]),
        others: Number(answer[10]),
      };
  }
}

function readSettled(answer: [string, unknown]): SettleAnswer {
  return { is: answer[0].toLowerCase() as SettleAnswer["is"], blockedUntilMs: Number(answer[1]) };
}
