import { redactUrl } from "../redact.js";

/**
 * Where Redis is: a URL (see {@link parseRedisUrl}) or the path of a unix socket. It is plain data, because threads
 * get it too.
 */
export type RedisAddress = { url: string } | { socketPath: string };

/** An address as it may be shown: without secrets. */
export function showAddress(address: RedisAddress): string {
  return "url" in address ? redactUrl(address.url) : address.socketPath;
}

/**
 * Reads what a person gives as a Redis: a URL, see {@link parseRedisUrl}, or `unix:///path/of/a/socket`.
 *
 * @throws Error whose message says what is expected.
 */
export function parseAddress(given: string): RedisAddress {
  const socket = /^unix:(?:\/\/)?(\/.+)$/i.exec(given)?.[1];
  if (socket !== undefined) return { socketPath: socket };
  parseRedisUrl(given);
  return { url: given };
}

export interface RedisNode {
  host: string;
  port: number;
}

export interface RedisCredentials {
  username: string | undefined;
  password: string | undefined;
}

interface TargetBase {
  /** The Redis itself, the Sentinels, or some nodes of the Cluster. */
  nodes: [RedisNode, ...RedisNode[]];
  tls: boolean;
  /** Of the servers that have the data; those of Sentinels are apart. */
  credentials: RedisCredentials;
}

/** What a Redis URL names. */
export type RedisTarget =
  | (TargetBase & { kind: "single"; db: number })
  | (TargetBase & { kind: "sentinel"; db: number; master: string; sentinelCredentials: RedisCredentials })
  | (TargetBase & { kind: "cluster" });

const FORMS =
  "redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/MASTER or redis+cluster://HOST:PORT,HOST:PORT " +
  "(rediss for TLS)";

/**
 * Reads the URL of a Redis:
 *
 *     redis://[user:password@]host[:port][/db]
 *     redis+sentinel://[user:password@]host[:port],…/master[/db][?sentinel-user=…&sentinel-password=…]
 *     redis+cluster://[user:password@]host[:port],…
 *
 * and the same with `rediss` for TLS. Ports default to 6379, those of Sentinels to 26379. What is special in a URL is
 * percent-encoded in user, password and master; IPv6 addresses are in brackets.
 *
 * @throws Error whose message says what is expected ("a URL such as …") and repeats nothing of the URL, which may
 *   hold a password.
 */
export function parseRedisUrl(url: string): RedisTarget {
  // Nothing but a password may hold an @, so the last one ends the credentials.
  const parts =
    /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^/?#]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(
      url,
    );
  if (!parts) throw new Error(FORMS);
  const [, secure, named, user = "", hosts = "", path = "", query = ""] = parts;
  const kind = (named?.toLowerCase() ?? "single") as RedisTarget["kind"];
  const nodes = hosts.split(",").map((text) => parseNode(text, kind === "sentinel" ? 26_379 : 6379));
  if (kind === "single" && nodes.length > 1)
    throw new Error("a redis:// URL with a single host (or redis+sentinel://, redis+cluster://)");
  const common: TargetBase = {
    nodes: nodes as [RedisNode, ...RedisNode[]],
    tls: secure !== "",
    credentials: parseCredentials(user),
  };
  const asked = new URLSearchParams(query.replaceAll("+", "%2B"));
  const known = kind === "sentinel" ? ["sentinel-user", "sentinel-password"] : [];
  if ([...asked.keys()].some((name) => !known.includes(name)))
    throw new Error(
      known.length > 0 ? `a URL with no parameters but ${known.join(" and ")}` : "a URL with no parameters",
    );
  if (kind === "cluster") {
    if (path !== "")
      throw new Error("a redis+cluster:// URL with nothing after its hosts: a Cluster has one database");
    return { kind, ...common };
  }
  if (kind === "single") return { kind, ...common, db: parseDb(path) };
  const [master = "", db = "", ...more] = path.split("/");
  if (master === "" || more.length > 0)
    throw new Error(
      "a redis+sentinel:// URL that names the master after its hosts: redis+sentinel://HOST:PORT/MASTER",
    );
  return {
    kind,
    ...common,
    db: parseDb(db),
    master: decoded(master),
    sentinelCredentials: {
      username: asked.get("sentinel-user") ?? undefined,
      password: asked.get("sentinel-password") ?? undefined,
    },
  };
}

function parseNode(text: string, usual: number): RedisNode {
  const parts = /^(?:\[([0-9a-f:.%]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text);
  const port = Number(parts?.[3] ?? usual);
  if (!parts || port < 1 || port > 65_535) throw new Error(FORMS);
  return { host: parts[1] ?? (parts[2] as string), port };
}

function parseDb(text: string): number {
  if (text === "") return 0;
  if (!/^\d{1,9}$/.test(text)) throw new Error("a URL that ends with the number of a database, if with any");
  return Number(text);
}

function parseCredentials(text: string): RedisCredentials {
  const colon = text.indexOf(":");
  const username = decoded(colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? "" : decoded(text.slice(colon + 1));
  return { username: username || undefined, password: password || undefined };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error("a URL in which % stands before two hexadecimal digits (%25 is the sign itself)");
  }
}
