import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { PairRequest } from "@drover/producer/pair/pair-session";
import { rollback } from "@drover/producer/pair/rollback";
import { type PairResult, syncPair } from "@drover/producer/pair/sync-pair";
import { SILENT } from "@drover/producer/runs/carry/run-handle";
import { planRun } from "@drover/producer/runs/plan/plan";
import { type Engine, openEngine } from "@drover/shared/engine";
import type { Outcome } from "@drover/shared/outcome";
import type { PairTerms } from "@drover/shared/pair/decide";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { DroverProcess, filesBelow } from "../drover.js";
import type { UserTree } from "./trees.js";

/** What a sync told of itself. */
export interface Told {
  result: PairResult;
  settled: Outcome[];
  left: { name: string; why: string }[];
  listed: string[];
  warnings: string[];
}

export interface WorldOptions {
  /** Short: sockets are in it. */
  directory: string;
  local: UserTree;
  remote: UserTree;
  /** Where the backup of the remote side is, to be read by a test. */
  remoteBackups: UserTree;
  /** Environment by which S3 is found. */
  env: Record<string, string>;
  /** Terms of the syncs in this process, where the usual ones would wait too long. */
  impatience?: { timeoutMs: number; retries: number; backoffBaseMs: number };
}

/** Two trees and what Drover keeps of them, synced by this process or by others. */
export class PairWorld {
  readonly stateDir: string;
  readonly runtime: string;

  private constructor(
    readonly options: WorldOptions,
    readonly engine: Engine,
    shared?: PairWorld,
  ) {
    this.stateDir = shared?.stateDir ?? join(options.directory, "state");
    this.runtime = join(options.directory, "run");
  }

  /**
   * @param more gives the options for a directory of the world's own.
   * @param shared a world whose Redis and S3 it has.
   */
  static async open(
    more: (directory: string) => Omit<WorldOptions, "directory">,
    shared?: PairWorld,
  ): Promise<PairWorld> {
    const directory = mkdtempSync(shared ? join(shared.options.directory, "w-") : "/tmp/dvp-");
    if (shared) return new PairWorld({ directory, ...more(directory) }, shared.engine, shared);
    mkdirSync(join(directory, "run"), { mode: 0o700 });
    const options = { directory, ...more(directory) };
    Object.assign(process.env, options.env, { XDG_RUNTIME_DIR: join(directory, "run") });
    const engine = await openEngine({ stateDir: join(directory, "state") });
    return new PairWorld(options, engine);
  }

  get local(): UserTree {
    return this.options.local;
  }

  get remote(): UserTree {
    return this.options.remote;
  }

  async #planned() {
    const { local, remote, env, impatience } = this.options;
    return await planRun({
      directory: this.options.directory,
      stateDir: this.stateDir,
      carriedBy: "process",
      selection: { sources: [`${remote.root}/`] },
      destination: { root: local.root, durability: "rename" },
      terms: { retries: 8, backoffFactor: 1, ...impatience },
      ...(impatience ? { breaker: { threshold: 1_000_000 } } : {}),
      s3: { endpoint: env.AWS_ENDPOINT_URL_S3, region: "us-east-1", pathStyle: true },
    });
  }

  request(terms: PairTerms, adopt = false): PairRequest {
    return {
      terms,
      adopt,
      limits: { maxDelete: { percent: 100 }, maxChangePercent: 100, allowEmpty: undefined },
      backupDirs: {},
      stateDir: this.stateDir,
      waitMs: 60_000,
      suffixed: false,
    };
  }

  /** Syncs in this process. */
  async sync(terms: PairTerms, { adopt = false, dryRun = false } = {}): Promise<Told> {
    const told: Omit<Told, "result"> = { settled: [], left: [], listed: [], warnings: [] };
    const events = {
      ...SILENT,
      planned: () => {},
      wouldDo: () => {},
      settled: (outcome: Outcome) => void told.settled.push(outcome),
      left: (each: { name: string; why: string }) => void told.left.push(each),
      listed: (path: string) => void told.listed.push(path),
      warn: (message: string) => void told.warnings.push(message),
    };
    const result = await syncPair(this.engine, await this.#planned(), this.request(terms, adopt), {
      startPool: startLocalPool,
      stateDir: this.stateDir,
      dryRun,
      events,
      signal: new AbortController().signal,
    });
    return { ...told, result };
  }

  /** Takes back a run. @returns what became of each path. */
  async rollback(terms: PairTerms, runId: string): Promise<Outcome[]> {
    const settled: Outcome[] = [];
    await rollback(this.engine, await this.#planned(), this.request(terms), runId, {
      startPool: startLocalPool,
      stateDir: this.stateDir,
      dryRun: false,
      wouldDo: () => {},
      events: { ...SILENT, settled: (outcome) => void settled.push(outcome) },
      signal: new AbortController().signal,
    });
    return settled;
  }

  /** Syncs in a process of its own, which kills itself at a point where it comes by. @returns whether it was killed. */
  async syncKilled(terms: PairTerms, fault: string, { adopt = false } = {}): Promise<boolean> {
    const { direction, strategy, backups, noDelete } = terms;
    const { env, local, remote } = this.options;
    const args = [
      ...["bisync", local.root, remote.root, "--state-dir", this.stateDir, "--direction", direction],
      ...["--conflict", strategy, "--backup", backups, "--max-delete", "100%", "--max-change", "100%"],
      ...(noDelete ? ["--no-delete"] : []),
      ...(adopt ? ["--adopt"] : []),
      "--json",
    ];
    const from = {
      ...process.env,
      ...env,
      XDG_RUNTIME_DIR: this.runtime,
      DROVER_FAULT: fault,
      NODE_OPTIONS: "",
    };
    const child = new DroverProcess(args, from, { cwd: this.options.directory });
    const { code, signal, stderr, stdout } = await child.result;
    if (signal !== "SIGKILL" && code !== 0 && code !== 1 && code !== 3)
      throw new Error(`bisync ended with ${code}\n${stdout}\n${stderr}`);
    return signal === "SIGKILL";
  }

  /** As if another process had taken the pair for dead. */
  async dropLease(): Promise<void> {
    const { redis, keys } = this.engine;
    const leases = await redis.keys(`${keys.pair("*", "lease").replace(/[{}]/g, "?")}`);
    if (leases.length > 0) await redis.del(leases);
  }

  /** All that Redis knows, to be restored later. */
  async saved(): Promise<Map<string, Buffer>> {
    const { redis } = this.engine;
    const all = new Map<string, Buffer>();
    for (const key of await redis.keys("*")) {
      const bytes = await redis.dumpBuffer(key);
      if (bytes) all.set(key, bytes);
    }
    return all;
  }

  async restore(saved: Map<string, Buffer>): Promise<void> {
    const { redis } = this.engine;
    await redis.flushdb();
    for (const [key, bytes] of saved) await redis.restore(key, 0, bytes);
  }

  /** Contents of everything that is kept in backups. */
  async backups(): Promise<string[]> {
    const kept: string[] = [];
    const { readFileSync } = await import("node:fs");
    for (const path of filesBelow(join(this.stateDir, "backups"))) kept.push(readFileSync(path, "utf8"));
    kept.push(...(await this.options.remoteBackups.all()).values());
    return kept;
  }

  async close(): Promise<void> {
    this.engine.close();
    rmSync(this.options.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}
