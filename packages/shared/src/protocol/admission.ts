import type { Redis } from "ioredis";
import { OUTCOMES, type OutcomeName } from "../outcome.js";
import { Batcher, callsApartMs } from "../redis/batcher.js";
import { count } from "../telemetry.js";
import { catalogKey } from "./catalog.js";
import type { HostVerdict } from "./flights.js";
import { DEFAULT_LIMIT } from "./host-limits.js";
import { KeyTable } from "./key-table.js";
import type { Keys } from "./keys.js";
import { admitScript } from "./lua/admit.lua.js";
import { holdPathScript } from "./lua/hold-path.lua.js";
import { releaseScript } from "./lua/release.lua.js";
import { renewScript } from "./lua/renew.lua.js";
import { settleScript } from "./lua/settle.lua.js";

/** Time that a lease is held without renewal, in milliseconds. */
export const LEASE_MS = 30_000;

/** Instead of a catalog entry: the file is gone. */
export const NO_ENTRY = "-";

/** Rules of a host's circuit breaker, as the asking run wants them. */
export interface BreakerRules {
  /** Failures in a row that open it. */
  threshold: number;
  /** Time that it stays open, in milliseconds. */
  ttlMs: number;
  /** Time that a probe may take before another one is let through, in milliseconds. */
  probeMs: number;
}

/** What the keys of a file are made of. One value per file, made once. */
export interface FileKeys {
  runId: string;
  /** Flight id, see {@link Flights.of}. */
  flight: string;
  /** Hash of the destination. */
  lease: string;
  /** Id of the destination tree. */
  tree: string;
  /** Name within its tree: the field in the catalog. */
  name: string;
  /** `host:port`, or "" for a local source. */
  host: string;
}

export interface AdmitRequest extends FileKeys {
  /** Names this delivery of the job: the same one asking again gets the same fence. */
  delivery: string;
  /** Hash of the source, so that others see what the holder copies. */
  sourceHash: string;
  /** Fence of a lease whose owner is known to be dead. Default: nobody is. */
  deadFence?: string;
}

/**
 * After whom a lease was had: after nobody, the same delivery asking again, or a predecessor who gave it back, died,
 * or let it expire. Decides whether staged bytes can be trusted.
 */
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
  /** What is known of the staged bytes (JSON), or "". */
  staged: string;
  /** Everybody who waits for this file, see {@link Flights.waiter}. Nobody can join them any more. */
  waiting: string;
  /** Holders of the lease that died over this file. */
  crashes: number;
  /** Limit of its host for the whole fleet in bytes per second, or 0; and how many files share it. */
  bytesPerSecond: number;
  others: number;
  /** Streams that the limit of its host leaves to the file; 0 where that has none. */
  mostStreams: number;
}

export type AdmitAnswer =
  | Admitted
  | { is: "done" }
  | { is: "cancelled" }
  | { is: "busy"; owner: string; sourceHash: string; fence: string; leftMs: number }
  /** The host's breaker is open: ask again then. */
  | { is: "blocked"; waitMs: number }
  /** The host's limit is reached: the file's turn is then. */
  | { is: "wait"; waitMs: number };

export interface SettleRequest extends FileKeys {
  /** Absent where no lease is held. */
  fence?: string;
  /** Who waits for the file, as far as the caller knows, see {@link Flights.waiter}. */
  waiting: string;
  /** The outcome (JSON) for those who follow a run or ask later what it did, or "". */
  told: string;
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
  /** Opens the breaker at once, whatever its threshold. */
  openBreaker: boolean;
  /** Where the file was moved from: the catalog entry of that goes, and its lease ends. Default: it was not moved. */
  from?: PathKeys & { fence: string };
  /** Keeps the lease's record: what its predecessors staged could not be removed. */
  keepLease: boolean;
  /**
   * Flight whose source with its secrets is not needed any more. It is dropped in the same step: should Redis forget
   * that the file has ended, it has not forgotten the secrets either.
   */
  forget?: string;
}

/** A path beside that of a file: the one that the file is moved from. */
export type PathKeys = Pick<FileKeys, "lease" | "tree" | "name">;

export interface HoldRequest extends PathKeys {
  /** Names this delivery of the job: the same one asking again gets the same fence. */
  delivery: string;
  sourceHash: string;
  /** Fence of a lease whose owner is known to be dead. Default: nobody is. */
  deadFence?: string;
}

export type HoldAnswer =
  | ({ is: "held" } & Pick<Admitted, "fence" | "catalog" | "origin" | "predecessors" | "staged">)
  | Extract<AdmitAnswer, { is: "busy" }>;

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
  /** Whether nothing that the lease's predecessors staged is left. */
  fencedOff: boolean;
}

export interface RenewRequest {
  lease: string;
  /** `host:port`; default none. */
  host?: string;
  fence: string;
  /** What is known of the staged bytes (JSON), or "" to leave it as it is. */
  staged: string;
}

export interface SettleAnswer {
  /** `stale`: the lease is somebody else's by now, and nothing was done. */
  is: "ok" | "already" | "stale";
  /** Until when the host is blocked now (Unix ms), or 0. */
  blockedUntilMs: number;
}

type SettleReply = SettleAnswer | { is: "waiting"; waiting: string };

/** The steps of a file that Redis decides: flights, leases with fences, breaker, ledger and catalog, atomically. */
export class Admission {
  readonly #admits: Batcher<AdmitRequest, AdmitAnswer>;
  readonly #settles: Batcher<SettleRequest, SettleReply>;

  /**
   * @param owner name of this process, see process-name.ts.
   * @param probeMs time that a probe of a half-open breaker may take, in milliseconds.
   * @param filesAtOnce that are copied. Default 1.
   */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly owner: string,
    private readonly probeMs: number,
    filesAtOnce = 1,
  ) {
    // Settling never waits for more requests: whoever is admitted after a file has ended finds the slot at the host
    // that it left, and its report.
    this.#admits = new Batcher("admit", (requests) => this.#admitAll(requests), callsApartMs(filesAtOnce));
    this.#settles = new Batcher("settle", (requests) => this.#settleAll(requests));
  }

  /** Asks for the lease on a file's destination, and for leave to use its host. */
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

  /** As {@link settle} for one file of a run: does nothing and answers `waiting` where other runs wait for it. */
  settleAlone(request: SettleRequest): Promise<SettleReply> {
    return this.#settles.ask(request);
  }

  async #admitAll(requests: AdmitRequest[]): Promise<AdmitAnswer[]> {
    const runHosts = new KeyTable();
    const keys: string[] = [];
    const args: (string | number)[] = [];
    for (const each of requests) {
      const { runId, host } = each;
      const runHost = runHosts.number(`${runId} ${host}`, () => [
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
      args.push(runHost, each.delivery, each.sourceHash, each.deadFence ?? "", each.name);
    }
    const allKeys = [this.keys.limit(DEFAULT_LIMIT), ...runHosts.keys, ...keys];
    const allArgs = [LEASE_MS, this.probeMs, this.owner, runHosts.size, ...runHosts.args, ...args];
    const answers = (await admitScript.runForBytes(this.redis, allKeys, allArgs)) as unknown[][];
    return answers.map((each) => {
      const answer = readAdmit(each);
      count("admission.answers", 1, ANSWER_LABELS[answer.is]);
      return answer;
    });
  }

  async #settleAll(requests: SettleRequest[]): Promise<SettleReply[]> {
    const hostReports = new KeyTable();
    const runOutcomes = new KeyTable();
    const keys: string[] = [];
    const formerKeys: string[] = [];
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
            this.keys.failureGroups(runId),
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
      const { from } = each;
      if (from) formerKeys.push(this.keys.lease(from.lease), catalogKey(this.keys, from.tree, from.name));
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
        each.told,
        each.forget ?? "",
        from?.fence ?? "",
        from?.name ?? "",
        waiting.length,
      );
      for (const waiter of waiting) {
        const colon = waiter.indexOf(":");
        args.push(runOutcome(colon < 0 ? each.runId : waiter.slice(0, colon)), waiter.slice(colon + 1));
      }
    }
    const allKeys = [
      this.keys.limit(DEFAULT_LIMIT),
      ...hostReports.keys,
      ...runOutcomes.keys,
      ...keys,
      ...formerKeys,
    ];
    const head = [hostReports.size, runOutcomes.size, requests.length];
    const allArgs = [...head, ...hostReports.args, ...runOutcomes.args, ...args];
    const answers = (await settleScript.run(this.redis, allKeys, allArgs)) as [string, unknown][];
    return answers.map((reply, at) => {
      if (reply[0] === "WAITING") return { is: "waiting", waiting: String(reply[1]) };
      const answer = readSettled(reply);
      reportToTelemetry("settle", answer);
      if (answer.is === "ok")
        count("files.settled", 1, OUTCOME_LABELS[(requests[at] as SettleRequest).outcome]);
      return answer;
    });
  }

  /** Takes the lease on a path that a file is moved from. The lease ends with {@link settle}, or {@link release}. */
  async hold(request: HoldRequest): Promise<HoldAnswer> {
    const { lease, tree, name, delivery, sourceHash, deadFence = "" } = request;
    const answer = (await holdPathScript.runForBytes(
      this.redis,
      [this.keys.lease(lease), catalogKey(this.keys, tree, name)],
      [LEASE_MS, delivery, this.owner, sourceHash, deadFence, name],
    )) as unknown[];
    if (String(answer[0]) === "BUSY") return readBusy(answer);
    return {
      is: "held",
      fence: String(answer[1]),
      catalog: answer[2] as Buffer,
      origin: String(answer[3]) as LeaseOrigin,
      predecessors: fencesOf(answer[4]),
      staged: String(answer[5]),
    };
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
    const settled = readSettled(answer as [string, unknown]);
    reportToTelemetry("release", settled);
    return settled;
  }

  /** Extends leases. @returns for each whether it is still ours. */
  async renew(leases: RenewRequest[]): Promise<boolean[]> {
    const answers = await renewScript.run(
      this.redis,
      leases.flatMap((each) => [this.keys.lease(each.lease), this.keys.slots(each.host ?? "")]),
      [LEASE_MS, ...leases.flatMap((each) => [each.fence, each.staged])],
    );
    const held = (answers as number[]).map((each) => each === 1);
    const lost = held.filter((each) => !each).length;
    if (lost > 0) count("leases.lost", lost, OPERATION_LABELS.renew);
    return held;
  }
}

const ANSWER_LABELS = {
  admitted: { answer: "admitted" },
  done: { answer: "done" },
  cancelled: { answer: "cancelled" },
  busy: { answer: "busy" },
  blocked: { answer: "blocked" },
  wait: { answer: "wait" },
} as const;
const OPERATION_LABELS = {
  renew: { operation: "renew" },
  settle: { operation: "settle" },
  release: { operation: "release" },
} as const;
const OUTCOME_LABELS = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, { outcome }])) as {
  [Outcome in OutcomeName]: { outcome: Outcome };
};

function reportToTelemetry(operation: "settle" | "release", answer: SettleAnswer): void {
  if (answer.is === "stale") count("leases.lost", 1, OPERATION_LABELS[operation]);
  if (answer.is === "ok" && answer.blockedUntilMs > 0) count("breakers.opened");
}

function readAdmit(answer: unknown[]): AdmitAnswer {
  switch (String(answer[0])) {
    case "DONE":
      return { is: "done" };
    case "CANCELLED":
      return { is: "cancelled" };
    case "BUSY":
      return readBusy(answer);
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
        predecessors: fencesOf(answer[5]),
        staged: String(answer[6]),
        waiting: String(answer[7]),
        crashes: Number(answer[8]),
        bytesPerSecond: Number(answer[9]),
        others: Number(answer[10]),
        mostStreams: Number(answer[11]),
      };
  }
}

function readBusy(answer: unknown[]): Extract<AdmitAnswer, { is: "busy" }> {
  return {
    is: "busy",
    owner: String(answer[1]),
    sourceHash: String(answer[2]),
    fence: String(answer[3]),
    leftMs: Number(answer[4]),
  };
}

function fencesOf(text: unknown): string[] {
  return String(text) === "" ? [] : String(text).split(",");
}

function readSettled(answer: [string, unknown]): SettleAnswer {
  return { is: answer[0].toLowerCase() as SettleAnswer["is"], blockedUntilMs: Number(answer[1]) };
}
