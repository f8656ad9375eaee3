import { carried, type Overview, oldestWaitingMs, waitingFiles } from "./overview.js";

/** With workers, and nothing that ends, files wait for too long after this time, in milliseconds. */
const STUCK_MS = 300_000;
/** Redis's memory is nearly full from this part on. */
const FULL = 0.9;

/** The state of a fleet in one sentence, for people. */
export interface Verdict {
  level: "ok" | "warning" | "critical";
  sentence: string;
}

/** What is most urgent comes first; what is less so is said after it. */
export function verdictOf(overview: Overview): Verdict {
  const [first, ...others] = [...critical(overview), ...warnings(overview)];
  if (first === undefined) return { level: "ok", sentence: healthy(overview) };
  const rest = others.map(({ sentence }) => sentence.charAt(0).toLowerCase() + sentence.slice(1));
  return { level: first.level, sentence: [first.sentence, ...rest].join("; ") };
}

function* critical(overview: Overview): Generator<Verdict> {
  const { workers, redis } = overview;
  const waiting = waitingFiles(overview);
  const level = "critical";
  if (redis.evicts) yield { level, sentence: "Redis throws keys away when it is full: set noeviction" };
  if (redis.persistenceFails) yield { level, sentence: "Redis cannot write to its disk" };
  if (redis.limitBytes > 0 && redis.usedBytes >= redis.limitBytes * FULL)
    yield { level, sentence: `Redis's memory is ${percent(redis.usedBytes / redis.limitBytes)} full` };
  if (waiting === 0) return;
  const taking = workers.filter(({ draining }) => !draining);
  if (taking.length === 0) yield { level, sentence: `Stuck: no workers, ${waits(waiting)}` };
  else if (overview.pause === undefined && carried(workers).filesPerSecond === 0) {
    const ageMs = oldestWaitingMs(overview);
    if (ageMs >= STUCK_MS)
      yield {
        level,
        sentence: `Stuck: nothing has ended for a while, ${waits(waiting)}, one for ${minutes(ageMs)}`,
      };
  }
}

function* warnings(overview: Overview): Generator<Verdict> {
  const { leader, pause, runs } = overview;
  const level = "warning";
  if (pause !== undefined) {
    const waiting = waitingFiles(overview);
    yield { level, sentence: `Dispatch is paused${waiting > 0 ? `, ${waits(waiting)}` : ""}` };
  }
  const blocked = leader?.hosts.length ?? 0;
  if (blocked > 0) yield { level, sentence: `${blocked} ${blocked === 1 ? "host" : "hosts"} blocked` };
  if (runs.interrupted > 0)
    yield { level, sentence: `${runs.interrupted} ${runs.interrupted === 1 ? "run" : "runs"} interrupted` };
}

function healthy(overview: Overview): string {
  const { workers, openFiles } = overview;
  if (openFiles > 0) return `Healthy: ${files(openFiles)} to go`;
  return workers.length === 0 ? "Idle: nothing waits, and no worker is alive" : "Healthy: nothing waits";
}

function files(count: number): string {
  return `${count.toLocaleString("en")} ${count === 1 ? "file" : "files"}`;
}

function waits(count: number): string {
  return `${files(count)} ${count === 1 ? "waits" : "wait"}`;
}

function minutes(ms: number): string {
  const count = Math.round(ms / 60_000);
  return count < 120 ? `${count} minutes` : `${Math.round(count / 60)} hours`;
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}
