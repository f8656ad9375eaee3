import { runDaemon } from "@drover/mirror/sync/daemon";
import { isRedisAway } from "@drover/shared/redis/errors";
import { streamLogger } from "../../log/open-log.js";
import { mirrorConfigOf } from "../../settings/mirror-settings.js";
import type { Resolved } from "../../settings/settings.js";
import { withEngine } from "../engine.js";
import { startOwnWorker, untilSignal } from "../service/serving.js";
import { type MirrorFlags, opened, postReport } from "./mirror-actions.js";

/** `drover mirror daemon`: syncs by the clock until a signal. Logs are JSON lines on standard output. */
export async function mirrorDaemon(flags: MirrorFlags, resolved: Resolved): Promise<number> {
  const config = mirrorConfigOf(flags.mirror, resolved);
  const log = streamLogger(1, "info", { mirror: config.name });
  return await withEngine(resolved.values, async (engine) => {
    const context = await opened(engine, config, resolved);
    context.tell = (message) => log.info(message);
    context.warn = (message) => log.warn(message);
    const roots = [config.root, ...(config.backup === undefined ? [] : [config.backup])];
    const worker =
      resolved.values.redis === undefined
        ? undefined
        : await startOwnWorker(engine, { roots, allowAddresses: [] }, resolved, log);
    const stopping = new AbortController();
    const running = runDaemon(
      context,
      postReport(config),
      {
        synced({ mirror, failures, state_file, runs, ...report }) {
          const isQuiet = report.sync === "incremental" && report.status === "success";
          const isIdle = isQuiet && report.events_processed + report.operations_executed === 0;
          const fields = { ...report, failures: failures.slice(0, 20), state_file, runs };
          log[report.status === "success" ? (isIdle ? "debug" : "info") : "warn"](
            fields,
            `${report.sync} sync`,
          );
        },
        failed: (error) => log.error({ error }, "the sync failed, and is tried again"),
      },
      stopping.signal,
    );
    running.catch((error) => isRedisAway(error) || log.error(error));
    log.info({ source: `s3://${config.bucket}/${config.prefix}`, destination: config.root }, "daemon ready");
    const deadlineMs = resolved.values["drain-deadline"] * 1000;
    const stop = async () => {
      stopping.abort();
      await Promise.all([running, worker?.drain(deadlineMs)]);
    };
    const availability = {
      away: (message: string) => log.warn(message),
      back: (message: string) => log.info(message),
    };
    return await untilSignal({ engine, stop, deadlineMs, availability }, log);
  });
}
