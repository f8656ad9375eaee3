import type { Redis } from "ioredis";
import { pipelined } from "../redis/script.js";
import { BREAKER, BREAKER_STATE, HOST_LIMIT } from "./fields.js";
import { DEFAULT_LIMIT, type HostLimit } from "./host-limits.js";
import type { Keys } from "./keys.js";
import { closeBreakerScript } from "./lua/close-breaker.lua.js";

/** Keys that are looked at in one call, and calls that are made at most. */
const SCAN_COUNT = 10_000;
const MOST_SCANS = 500;
/** Hosts that are found at most. */
const MOST_HOSTS = 10_000;
/** Hosts that are read in one call. */
const PAGE = 200;

/** How a host stands. */
export interface HostState {
  /** `host:port`. */
  host: string;
  /** `half-open`: its next files are probes. */
  breaker: "open" | "half-open" | "closed";
  /** Until when an open breaker lets nothing through (Unix ms); undefined for one that is not open. */
  openUntilMs: number | undefined;
  /** Failures in a row, while it is closed. */
  failures: number;
  /** How often it opened. */
  opens: number;
  /** Its own limits, as a person set them; empty where it has none. */
  limit: HostLimit;
  /** What is left of them since the host asked for less. */
  adapted: Pick<HostLimit, "files" | "requestsPerSecond">;
  /** The host asked to be left alone until then (Unix ms); undefined where it did not. */
  notBeforeMs: number | undefined;
}

/**
 * Names of the hosts that have a breaker or limits, in order.
 *
 * @returns also whether there may be more: then Redis has too many keys to look at all, or there are too many hosts.
 */
export async function findHosts(
  redis: Redis,
  keys: Keys,
): Promise<{ hosts: string[]; isTruncated: boolean }> {
  const prefixes = [keys.breaker(""), keys.limit("")];
  // Of the fleet's keys, these alone begin with one of `bl`, `ri` and `em` in turn: there are a million others.
  const pattern = `${keys.namespace.replace(/[*?[\]\\]/g, "\\$&")}:[bl][ri][em]*`;
  const hosts = new Set<string>();
  let cursor = "0";
  for (let scans = 0; scans < MOST_SCANS && hosts.size <= MOST_HOSTS; scans++) {
    // SCAN names no key: on a Cluster the command before it leads both to the node that has the fleet's keys.
    const [, page] = await pipelined(redis, () =>
      redis.pipeline().exists(keys.runs()).scan(cursor, "MATCH", pattern, "COUNT", SCAN_COUNT),
    );
    const [next, names] = page as [string, string[]];
    cursor = next;
    for (const name of names)
      for (const prefix of prefixes) if (name.startsWith(prefix)) hosts.add(name.slice(prefix.length));
    if (cursor === "0") break;
  }
  hosts.delete(DEFAULT_LIMIT);
  const found = [...hosts].sort();
  return { hosts: found.slice(0, MOST_HOSTS), isTruncated: cursor !== "0" || found.length > MOST_HOSTS };
}

/** How hosts stand, in their order; `*` has limits alone. */
export async function readHosts(redis: Redis, keys: Keys, hosts: string[]): Promise<HostState[]> {
  const states: HostState[] = [];
  for (let from = 0; from < hosts.length; from += PAGE) {
    const page = hosts.slice(from, from + PAGE);
    const answers = await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const host of page)
        pipeline
          .hmget(keys.breaker(host), BREAKER.state, BREAKER.openUntilMs, BREAKER.failures, BREAKER.opens)
          .hmget(
            keys.limit(host),
            HOST_LIMIT.files,
            HOST_LIMIT.requestsPerSecond,
            HOST_LIMIT.bytesPerSecond,
            HOST_LIMIT.adaptedFiles,
            HOST_LIMIT.adaptedRequestsPerSecond,
            HOST_LIMIT.notBeforeMs,
          );
      return pipeline;
    });
    for (const [at, host] of page.entries())
      states.push(stateOf(host, answers[at * 2] as Fields, answers[at * 2 + 1] as Fields));
  }
  return states;
}

type Fields = (string | null)[];

function stateOf(host: string, breaker: Fields, limits: Fields): HostState {
  const [state, until, failures, opens] = breaker;
  const [files, rate, bytes, adaptedFiles, adaptedRate, notBefore] = limits;
  const nowMs = Date.now();
  const untilMs = Number(until ?? 0);
  const isOpen = state === BREAKER_STATE.open && untilMs > nowMs;
  const notBeforeMs = Number(notBefore ?? 0);
  return {
    host,
    breaker: isOpen ? "open" : state ? "half-open" : "closed",
    openUntilMs: isOpen ? untilMs : undefined,
    failures: Number(failures ?? 0),
    opens: Number(opens ?? 0),
    limit: {
      ...(files ? { files: Number(files) } : {}),
      ...(rate ? { requestsPerSecond: Number(rate) } : {}),
      ...(bytes ? { bytesPerSecond: Number(bytes) } : {}),
    },
    adapted: {
      ...(adaptedFiles ? { files: Math.floor(Number(adaptedFiles)) } : {}),
      ...(adaptedRate ? { requestsPerSecond: Number(adaptedRate) } : {}),
    },
    notBeforeMs: notBeforeMs > nowMs ? notBeforeMs : undefined,
  };
}

/**
 * Closes the breaker of a host and forgets its failures. What its files report that began before changes nothing.
 *
 * @returns whether it was not closed.
 */
export async function closeBreaker(redis: Redis, keys: Keys, host: string): Promise<boolean> {
  return (await closeBreakerScript.run(redis, [keys.breaker(host)], [])) !== "";
}
