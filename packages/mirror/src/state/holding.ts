import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "@drover/shared/engine";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import { resignScript } from "@drover/shared/protocol/lua/resign.lua";
import { resent } from "@drover/shared/redis/script";
import { holdMirrorScript, renewMirrorScript } from "./hold.lua.js";
import { MirrorKeys } from "./mirror-keys.js";
import { MirrorLostError } from "./mirror-state.js";

/** Time in ms after which a silent sync is replaced; it is prolonged in a third of that. */
const TERM_MS = 15_000;
const LOOK_MS = 500;

/** The right to sync a mirror, which one process of the fleet has at a time. */
export interface Holding {
  /** Greater than that of every sync before: Redis refuses changes with an older one. */
  fence: number;
  /** Aborted when the mirror is lost, or the process is to stop. */
  signal: AbortSignal;
}

/**
 * Runs a sync while nobody else syncs the mirror.
 *
 * @param stop ends it early.
 * @param wait told who has the mirror; false gives up instead of waiting.
 * @returns undefined where another one has the mirror and is not waited for.
 * @throws MirrorLostError if the mirror was lost on the way.
 */
export async function whileHolding<T>(
  engine: Pick<Engine, "redis" | "keys">,
  name: string,
  options: { stop: AbortSignal; wait: ((holder: string) => void) | false },
  use: (holding: Holding) => Promise<T>,
): Promise<T | undefined> {
  const { redis } = engine;
  const keys = new MirrorKeys(engine.keys, name);
  const { stop, wait } = options;
  const places = [keys.holder(), keys.state()];
  let fence: number | undefined;
  for (let told = false; fence === undefined; ) {
    const answer = await resent(redis, () => holdMirrorScript.run(redis, places, [PROCESS_NAME, TERM_MS]));
    if (typeof answer === "number") fence = answer;
    else if (isProcessDead(String(answer))) await resignScript.run(redis, [keys.holder()], [String(answer)]);
    else if (wait === false || stop.aborted) return undefined;
    else {
      if (!told) wait(String(answer));
      told = true;
      await sleep(LOOK_MS, undefined, { signal: stop }).catch(() => {});
    }
  }
  const lost = new AbortController();
  const renew = async () => {
    const answer = await renewMirrorScript
      .run(redis, places, [PROCESS_NAME, TERM_MS, fence as number])
      .catch(() => 1); // Redis is away: what is written meanwhile is held against the fence
    if (answer === 0) lost.abort(new MirrorLostError(name));
  };
  const timer = setInterval(() => void renew(), TERM_MS / 3);
  try {
    return await use({ fence, signal: AbortSignal.any([stop, lost.signal]) });
  } finally {
    clearInterval(timer);
    await resignScript.run(redis, [keys.holder()], [PROCESS_NAME]).catch(() => {}); // else the term expires
  }
}
