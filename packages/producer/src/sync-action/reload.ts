import { spawn } from "node:child_process";
import { once } from "node:events";
import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import { HttpClient } from "@drover/shared/storage/http/client";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import type { Cache } from "./cache.js";

/** How the program is told to load its settings again. All that are given are done, in this order. */
export interface ReloadTarget {
  /** http(s) URL that JSON is posted to. */
  url?: string;
  /** A program and its arguments. It comes from the settings of this machine alone, never from a request of others. */
  command?: readonly string[];
  /** A channel of the cache that JSON is published on. */
  channel?: string;
}

/** What the program is told. */
export interface ReloadMessage {
  event: "settings.changed";
  /** Adapters whose files were changed; empty where an earlier sync owed it. */
  adapters: string[];
  /** Ids of the runs. */
  runs: string[];
}

export interface ReloadMeans {
  guard: AddressGuard;
  /** Needed for a channel. */
  cache: Cache | undefined;
  /** Time limit of each way. */
  timeoutMs: number;
  signal: AbortSignal;
}

/** Whether there is any way to tell the program. */
export function canReload({ url, command, channel }: ReloadTarget): boolean {
  return url !== undefined || (command !== undefined && command.length > 0) || channel !== undefined;
}

/** @throws SettingsError for what cannot work. */
export function checkReload({ url, channel }: ReloadTarget, hasCache: boolean): void {
  if (url !== undefined && !(URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)))
    throw new SettingsError(`a reload URL must be http(s)://…, not ${redactUrl(url)}`);
  if (channel !== undefined && !hasCache)
    throw new SettingsError("a reload channel is one of the cache: name its Redis with --cache");
}

/** Tells the program. @throws Error, or a TransferError, if a way does not work. */
export async function reload(
  target: ReloadTarget,
  message: ReloadMessage,
  means: ReloadMeans,
): Promise<void> {
  const text = JSON.stringify(message);
  if (target.url !== undefined) await post(target.url, text, means);
  if (target.command !== undefined && target.command.length > 0) await run(target.command, means);
  if (target.channel !== undefined) await means.cache?.publish(target.channel, text);
}

async function post(url: string, text: string, { guard, timeoutMs, signal }: ReloadMeans): Promise<void> {
  const http = new HttpClient({ timeoutMs, connections: 1, guard });
  const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const answer = await http.post(url, Buffer.from(text), { "content-type": "application/json" }, within);
    answer.body.discard(0);
    if (answer.status < 200 || answer.status > 299)
      throw new Error(`${redactUrl(url)} answered HTTP ${answer.status}`);
  } finally {
    await http.close();
  }
}

/** Runs a program without a shell, in a process group of its own, which ends with it at the latest at the time limit. */
async function run(command: readonly string[], { timeoutMs, signal }: ReloadMeans): Promise<void> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    shell: false,
    detached: true,
    stdio: ["ignore", "ignore", "inherit"],
  });
  let isLate = false;
  const end = () => {
    try {
      process.kill(-(child.pid as number), "SIGKILL");
    } catch {
      // it has ended by itself
    }
  };
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeoutMs);
  signal.addEventListener("abort", end);
  try {
    const [code, killedBy] = (await once(child, "close")) as [number | null, string | null];
    if (isLate) throw new Error(`the reload command took more than ${timeoutMs / 1000} seconds`);
    if (code !== 0)
      throw new Error(`the reload command ended with ${code === null ? killedBy : `exit code ${code}`}`);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
