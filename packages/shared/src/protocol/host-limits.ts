import type { Redis } from "ioredis";
import { SettingsError } from "../errors.js";
import { parseSize } from "../size.js";
import { HOST_LIMIT } from "./fields.js";
import type { Keys } from "./keys.js";

/** Name that stands for every host without a limit of its own. */
export const DEFAULT_LIMIT = "*";

/** How a host was used is forgotten after this time without a limit, in milliseconds. */
const UNSET_TTL_MS = 3_600_000;

/** What a whole fleet asks of a host at most. What is left out is not limited. */
export interface HostLimit {
  /** Files that are copied at once. */
  files?: number;
  requestsPerSecond?: number;
  bytesPerSecond?: number;
}

/**
 * The hosts that a name means, as limits and breakers name them: `host:port`, both usual ports where it has none, or `*`.
 *
 * @returns undefined for what is no host.
 */
export function hostsNamed(given: string): string[] | undefined {
  const host = given.trim().toLowerCase();
  if (!/^(\*|\[[0-9a-f:]+\](:\d+)?|[^\s/:@]+(:\d+)?)$/.test(host)) return undefined;
  const hasPort = /:\d+$/.test(host) && !host.endsWith("]");
  return host === DEFAULT_LIMIT || hasPort ? [host] : [`${host}:443`, `${host}:80`];
}

/**
 * Reads `HOST=conn:8,rps:50,bw:20MB`. HOST is `*` for the default, a name (its ports 80 and 443) or `name:port`;
 * `none` instead of limits takes them away.
 *
 * @returns the hosts that are meant (`host:port` or `*`), and their limit.
 * @throws SettingsError where it reads otherwise.
 */
export function parseHostLimit(text: string): { hosts: string[]; limit: HostLimit } {
  const at = text.lastIndexOf("=");
  const bad = (why: string) =>
    new SettingsError(
      `--host-limit must be 'HOST=conn:8,rps:50,bw:20MB' or 'HOST=none', not ${text}: ${why}`,
    );
  const hosts = at <= 0 ? undefined : hostsNamed(text.slice(0, at));
  if (hosts === undefined) throw bad("no host");
  const limit: HostLimit = {};
  const rest = text.slice(at + 1).trim();
  if (rest === "none") return { hosts, limit };
  for (const term of rest.split(",")) {
    const [name, value = ""] = term.trim().split(":");
    const number = parseSize(value);
    if (!(number > 0)) throw bad(`${term} has no number`);
    if (name === "conn" && Number.isInteger(number)) limit.files = number;
    else if (name === "rps") limit.requestsPerSecond = number;
    else if (name === "bw") limit.bytesPerSecond = number;
    else throw bad(`${term} is not known`);
  }
  return { hosts, limit };
}

/** Sets the limits of hosts for the whole fleet, instead of those that they had. */
export async function setHostLimits(
  redis: Redis,
  keys: Keys,
  given: { hosts: string[]; limit: HostLimit }[],
): Promise<void> {
  for (const { hosts, limit } of given) {
    for (const host of hosts) {
      const key = keys.limit(host);
      await redis.hdel(
        key,
        HOST_LIMIT.files,
        HOST_LIMIT.requestsPerSecond,
        HOST_LIMIT.bytesPerSecond,
        HOST_LIMIT.adaptedFiles,
        HOST_LIMIT.adaptedRequestsPerSecond,
        HOST_LIMIT.set,
      );
      const { files, requestsPerSecond, bytesPerSecond } = limit;
      const fields = {
        ...(files === undefined ? {} : { [HOST_LIMIT.files]: files }),
        ...(requestsPerSecond === undefined ? {} : { [HOST_LIMIT.requestsPerSecond]: requestsPerSecond }),
        ...(bytesPerSecond === undefined ? {} : { [HOST_LIMIT.bytesPerSecond]: bytesPerSecond }),
      };
      if (Object.keys(fields).length === 0) {
        await redis.pexpire(key, UNSET_TTL_MS);
        continue;
      }
      await redis.hset(key, { ...fields, [HOST_LIMIT.set]: 1 });
      await redis.persist(key);
    }
  }
}
