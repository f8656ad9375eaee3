import { randomBytes } from "node:crypto";
import { shortHash } from "@drover/shared/ids";
import { PROCESS_NAME } from "@drover/shared/process-name";
import {
  Admission,
  type AdmitRequest,
  type Admitted,
  type BreakerRules,
  type FileKeys,
  type SettleRequest,
} from "@drover/shared/protocol/admission";
import { Backlog, type EnqueueFile } from "@drover/shared/protocol/backlog";
import { flightHash } from "@drover/shared/protocol/flights";
import type { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { recordRun } from "@drover/shared/protocol/record-run";
import { SecretStore } from "@drover/shared/protocol/secret-store";
import type { RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import type { Redis } from "ioredis";

export const RULES: BreakerRules = { threshold: 3, ttlMs: 60_000, probeMs: 10_000 };

/** Name of a dead process on this machine; no kernel assigns this pid. */
export const DEAD_PROCESS = PROCESS_NAME.split(".").with(2, "4194305").join(".");
/** Name of a process of another machine, whose state is unknown here. */
export const FAR_PROCESS = PROCESS_NAME.split(".").with(0, "00000000").join(".");

export function specOf(over: Partial<RunSpec> = {}): RunSpec {
  return {
    root: "/nowhere",
    directory: "/",
    sources: [],
    listIsStdin: false,
    patterns: ["*"],
    filters: [],
    backlogHighWater: 200_000,
    layout: "name",
    checksums: {},
    retries: 5,
    timeoutMs: 5_000,
    backoffFactor: 1.5,
    jitter: "full",
    circuitTtlMs: 60_000,
    circuitThreshold: 5,
    breakerWaitMs: 60_000,
    openWhenSpent: false,
    whenBusy: "wait",
    maxWorkers: 8,
    resume: true,
    durable: false,
    fleet: false,
    ownFlights: false,
    ...over,
  };
}

/** One process of a fleet as Redis sees it, with shortcuts to add files. */
export class Member {
  readonly admission: Admission;
  readonly ledger: Ledger;
  readonly secrets: SecretStore;
  readonly backlog: Backlog;
  #batches = new Map<string, number>();

  constructor(
    readonly redis: Redis,
    readonly keys: Keys,
    readonly owner: string = PROCESS_NAME,
    probeMs = RULES.probeMs,
  ) {
    this.admission = new Admission(redis, keys, owner, probeMs);
    this.ledger = new Ledger(redis, keys, owner);
    this.secrets = new SecretStore(redis, keys);
    this.backlog = new Backlog(redis, keys, owner);
  }

  newRun(over: Partial<RunSpec> = {}): Promise<string> {
    return recordRun(this.ledger, specOf(over), { headers: {}, sources: [] });
  }

  /** Registers queued files of a run, by destination and source. @returns their keys. */
  async files(runId: string, names: Record<string, string>): Promise<FileKeys[]> {
    const batch = (this.#batches.get(runId) ?? 0) + 1;
    this.#batches.set(runId, batch);
    const entries = Object.entries(names);
    await this.backlog.enqueue(
      runId,
      batch,
      "",
      entries.map(([d, s]) => queued(runId, s, d)),
    );
    return entries.map(([d, s]) => keysOf(runId, s, d));
  }

  /** Registers one file. */
  async file(runId: string, name = "a", source = `http://host/${name}`): Promise<FileKeys> {
    const [file] = await this.files(runId, { [name]: source });
    return file as FileKeys;
  }

  async admit(file: FileKeys, delivery = "d:1", over: Partial<AdmitRequest> = {}): Promise<Admitted> {
    const answer = await this.admission.admit(request(file, delivery, over));
    if (answer.is !== "admitted") throw new Error(`not admitted: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Admits a file, reports a verdict to the breaker of `host`, and ends the file. */
  async tell(
    runId: string,
    host: string,
    verdict: "ok" | "fail",
    over: Partial<SettleRequest> & { index?: number } = {},
  ) {
    const name = randomBytes(6).toString("hex");
    const file = await this.file(runId, name, `http://${host}/${name}`);
    const admitted = await this.admit(file);
    return await this.admission.settle(settling(file, admitted, { verdict, ...over }));
  }
}

export function request(file: FileKeys, delivery = "d:1", over: Partial<AdmitRequest> = {}): AdmitRequest {
  return { ...file, delivery, sourceHash: shortHash(file.name), ...over };
}

export function keysOf(runId: string, source: string, name: string, generation = 0): FileKeys {
  return {
    runId,
    flight: flightHash(runId, source, name, generation),
    lease: shortHash(name),
    tree: "tree",
    name,
    host: hostOf(source),
  };
}

export function queued(
  runId: string,
  source: string,
  name: string,
  over: Partial<EnqueueFile> = {},
): EnqueueFile {
  return {
    kind: "queued",
    host: hostOf(source),
    destination: shortHash(name),
    source: shortHash(source),
    job: JSON.stringify({ s: source, d: name }),
    bytes: 0,
    failure: "",
    flight: flightHash(runId, source, name, 0),
    ownFlight: flightHash(runId, source, name, 0),
    ...over,
  };
}

export function settling(
  file: FileKeys,
  admitted: Pick<Admitted, "fence" | "epoch"> | undefined,
  { index = 0, ...over }: Partial<SettleRequest> & { index?: number } = {},
): SettleRequest {
  return {
    ...file,
    ...(admitted ? { fence: admitted.fence } : {}),
    waiting: String(index),
    told: "",
    outcome: "copied",
    bytes: 0,
    failure: "",
    catalog: "",
    verdict: "none",
    epoch: admitted?.epoch ?? "0",
    rules: RULES,
    retryAfterMs: 0,
    openBreaker: false,
    keepLease: false,
    ...over,
  };
}

/** A failure as the ledger stores it. */
export function failureOf(source: string, name: string, cls = "server"): string {
  return JSON.stringify({ job: { s: source, d: name }, error: { class: cls, message: "no" }, attempts: 2 });
}

/** Expires a lease now, instead of after half a minute. */
export async function expireLease(member: Member, file: FileKeys): Promise<void> {
  await member.redis.hset(member.keys.lease(file.lease), "e", "1");
}

/** Everything in the test's namespace, to show that a call changed nothing. */
export async function dump(redis: Redis, keys: Keys): Promise<Record<string, unknown>> {
  const names: string[] = [];
  let cursor = "0";
  do {
    const [next, page] = await redis.scan(cursor, "MATCH", `${keys.namespace}:*`, "COUNT", 1000);
    cursor = next;
    names.push(...page);
  } while (cursor !== "0");
  const all: Record<string, unknown> = {};
  for (const name of names.sort()) {
    const type = await redis.type(name);
    if (type === "hash") all[name] = await redis.hgetall(name);
    else if (type === "string") all[name] = (await redis.getBuffer(name))?.toString("hex");
    else if (type === "zset") all[name] = await redis.zrange(name, "0", "-1", "WITHSCORES");
    else all[name] = type;
  }
  return all;
}

/** The clock of Redis, in Unix ms. */
export async function redisMs(redis: Redis): Promise<number> {
  const [seconds = 0, micros = 0] = await redis.time();
  return seconds * 1_000 + Math.floor(micros / 1_000);
}

export async function collect<T>(all: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of all) items.push(item);
  return items;
}
