import { startSqsIntake } from "@drover/service/intake/sqs-intake";
import { SettingsError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { OptionError } from "../../settings/option-error.js";
import { serviceSettingsOf } from "../../settings/service-settings.js";
import type { Resolved } from "../../settings/settings.js";
import { parseDuration } from "../../settings/units.js";
import { withEngine } from "../engine.js";
import { serviceConfigOf } from "./service-config.js";
import { serviceLogger } from "./service-log.js";
import { startOwnWorker, untilSignal } from "./serving.js";

export interface EventsFlags {
  sqs: string;
  visibility: string;
  downloadDir?: string;
  root?: string[];
  allowAddress?: string[];
}

/** Bounds of SQS for what a person may ask for, in seconds; shorter times leave none to extend them. */
const LEAST_HIDDEN_S = 3;
const MOST_HIDDEN_S = 43_200;

/** `drover events`: acts on the notifications of a queue until a signal. Without a fleet's Redis it carries the files itself. */
export async function events(flags: EventsFlags, resolved: Resolved): Promise<number> {
  const hiddenS = hiddenOf(flags.visibility);
  const settings = serviceSettingsOf(flags, resolved);
  const { values } = resolved;
  const config = serviceConfigOf(flags.root ?? [], settings, resolved);
  if (config.events.routes.length === 0)
    throw new SettingsError(
      "no route says where objects go: set S3_BUCKET_NAME, or events.routes in drover.yaml (docs/events.md)",
    );
  const guard = new AddressGuard(flags.allowAddress);
  const log = serviceLogger(settings);
  return await withEngine(values, async (engine) => {
    const intake = await startSqsIntake({ engine, config, url: flags.sqs, hiddenS, guard, log });
    const { roots } = config;
    const worker = await startOwnWorker(
      engine,
      { roots, allowAddresses: flags.allowAddress ?? [] },
      resolved,
      log,
    );
    log.info(
      { queue: flags.sqs, concurrency: worker === undefined ? 0 : values.concurrency, roots },
      "events ready",
    );
    const deadlineMs = values["drain-deadline"] * 1000;
    const stop = async () => {
      await Promise.all([intake.stop(), worker?.drain(deadlineMs)]);
    };
    const availability = {
      away: (message: string) => log.warn(message),
      back: (message: string) => log.info(message),
    };
    return await untilSignal({ engine, stop, deadlineMs, availability }, log);
  });
}

/** @returns seconds. @throws OptionError if SQS has no such time. */
function hiddenOf(given: string): number {
  const seconds = Math.ceil(parseDuration("--visibility", given) / 1000);
  if (seconds >= LEAST_HIDDEN_S && seconds <= MOST_HIDDEN_S) return seconds;
  throw new OptionError(`--visibility must be a time from 3s to 12h, not ${JSON.stringify(given)}`);
}
