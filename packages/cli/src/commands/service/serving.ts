import { planServices } from "@drover/producer/runs/plan/services";
import type { Engine } from "@drover/shared/engine";
import type { AvailabilityEvents } from "@drover/shared/redis/availability";
import type { RunningWorker } from "@drover/worker/runtime/start-worker";
import type { Logger } from "pino";
import { EXIT } from "../../exit.js";
import { exitWithoutRedis, untilStopped } from "../../redis-watch.js";
import { servicesRequestOf } from "../../settings/run-request.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import { carryLogged, type Work } from "../fleet/worker-actions.js";

/**
 * Carries the files of all runs in this process, unless a fleet's workers do: --redis names it, and nothing says how many at
 * once this process is to carry.
 */
export async function startOwnWorker(
  engine: Engine,
  may: Pick<Work, "roots" | "allowAddresses" | "metrics">,
  resolved: Resolved,
  log: Logger,
): Promise<RunningWorker | undefined> {
  const { redis, concurrency, "keep-runs": keepRuns } = resolved.values;
  if (redis !== undefined && resolved.origins.concurrency === "default") return undefined;
  const services = await planServices(servicesRequestOf(resolved), { read: may.roots });
  const work = { ...may, services, concurrency, keepRuns, healthPort: undefined, hostLimits: [] };
  return await carryLogged(engine, work, log);
}

interface Running {
  engine: Engine;
  /** Ends what has begun. */
  stop(): Promise<void>;
  deadlineMs: number;
  /** Told that Redis is away, and back. */
  availability: AvailabilityEvents;
}

/** Waits for a signal, then stops in an orderly way, unless Redis cannot be used. @returns the exit code. */
export async function untilSignal(
  { engine, stop, deadlineMs, availability }: Running,
  log: Logger,
): Promise<number> {
  const stopping = new AbortController();
  const drained = (async () => {
    const signal = await new Promise<string>((resolve) => onStopSignal(resolve, EXIT.interrupted));
    log.info({ signal, deadline_s: deadlineMs / 1000 }, "stopping");
    stopping.abort();
    await stop();
    log.info("stopped");
  })();
  const stopped = await untilStopped(engine.redis, drained, stopping.signal, { ...availability, deadlineMs });
  if (stopped.is === "ended") return EXIT.ok;
  log.warn("stopped while Redis cannot be used");
  return await exitWithoutRedis(EXIT.interrupted);
}
