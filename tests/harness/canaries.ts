import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Redis } from "ioredis";

/** A word that appears in every secret and may appear nowhere else. */
export const CANARY = "c4n4ry";

/** The word as it looks inside of something in base64, where it may begin at any of three places of a group. */
const ENCODED = [0, 1, 2].map((before) =>
  Buffer.from(" ".repeat(before) + CANARY)
    .toString("base64")
    .slice(Math.ceil((before * 8) / 6), Math.floor(((before + CANARY.length) * 8) / 6)),
);

/** Where in a text a secret stands, plain or in base64, with what is around it. */
export function canariesIn(text: string): string[] {
  return [CANARY, ...ENCODED].flatMap((word) => {
    const at = text.indexOf(word);
    return at < 0 ? [] : [text.slice(Math.max(at - 80, 0), at + 40)];
  });
}

/** Everything that a Redis holds, a line for each key: its name, and all that is in it. */
export async function redisContents(redis: Redis): Promise<{ key: string; text: string }[]> {
  const contents: { key: string; text: string }[] = [];
  for await (const names of redis.scanStream({ count: 1000 }) as AsyncIterable<string[]>) {
    for (const key of names) {
      contents.push({ key, text: `${key} ${JSON.stringify(await contentOf(redis, key))}` });
    }
  }
  return contents;
}

async function contentOf(redis: Redis, key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case "string":
      return (await redis.getBuffer(key))?.toString("latin1");
    case "hash":
      return await redis.hgetall(key);
    case "list":
      return await redis.lrange(key, 0, -1);
    case "set":
      return await redis.smembers(key);
    case "zset":
      return await redis.zrange(key, "0", "-1", "WITHSCORES");
    case "stream":
      return await redis.xrange(key, "-", "+");
    default:
      return undefined; // it is gone meanwhile
  }
}

/** Names of the keys that commands of an append-only file write a secret to. */
export function keysWithCanaries(appendOnly: Buffer): string[] {
  const text = appendOnly.toString("latin1");
  const commands = text.split(/(?=^\*\d+\r\n)/m).filter((command) => canariesIn(command).length > 0);
  return commands.map((command) => command.split("\r\n")[4] ?? command);
}

/**
 * A process that becomes another program seems for a moment to have those of its parent, or neither command line nor
 * environment. Only what is seen so often is believed.
 */
const ENOUGH_LOOKS = 5;
/** Whether the system shows processes in this way. */
export const hasProc = existsSync("/proc/self/environ");

/** Looks again and again at processes whose environment or command line names a directory. Sees none without /proc. */
export class ProcessWatch {
  /** What was found: a process' command line, and which secret it or its environment had. */
  readonly found = new Set<string>();
  /** Command lines without secrets that were seen, for a test to know that it has looked. */
  readonly seen = new Set<string>();
  readonly #timer: NodeJS.Timeout | undefined;
  /** How often a secret was seen in a process. */
  readonly #suspected = new Map<string, number>();
  /** How often a process was seen to have nothing to do with the directory, by its id. */
  readonly #strange = new Map<number, number>();

  /**
   * @param typed process ids of commands that the user typed, whose own command lines and environments are theirs.
   */
  constructor(
    private readonly directory: string,
    private readonly typed: ReadonlySet<number>,
  ) {
    if (hasProc) this.#timer = setInterval(() => this.#look(), 20);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const pid of readdirSync("/proc").map(Number)) {
      if (Number.isNaN(pid) || pid === process.pid || this.typed.has(pid)) continue;
      const looks = this.#strange.get(pid) ?? 0;
      if (looks >= ENOUGH_LOOKS) continue;
      try {
        const commandLine = readFileSync(`/proc/${pid}/cmdline`, "latin1");
        const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
        if (!commandLine.includes(this.directory) && !environment.includes(this.directory)) {
          this.#strange.set(pid, looks + 1);
          continue;
        }
        this.seen.add(commandLine);
        for (const text of [commandLine, environment])
          for (const canary of canariesIn(text)) this.#suspect(`${pid} ${commandLine}: ${canary}`);
      } catch {
        // it has ended
      }
    }
  }

  #suspect(what: string): void {
    const looks = (this.#suspected.get(what) ?? 0) + 1;
    this.#suspected.set(what, looks);
    if (looks >= ENOUGH_LOOKS) this.found.add(what);
  }
}
