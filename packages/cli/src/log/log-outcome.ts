import { isSuccess, type Outcome } from "@drover/shared/outcome";
import { commandLog } from "./log.js";

/** Logs how a file of a run ended: an unchanged one at level debug, what did not succeed as a warning. */
export function logOutcome(outcome: Outcome, about: { run?: string } = {}): void {
  const log = commandLog();
  if (log === undefined) return;
  const { outcome: is, source, destination, bytes, attempts, durationMs, error } = outcome;
  const level = is === "unchanged" ? "debug" : isSuccess(is) ? "info" : "warn";
  const duration_ms = Math.round(durationMs);
  const failure = error === undefined ? {} : { class: error.class, error: error.message };
  log[level](
    { ...about, source, destination, outcome: is, bytes, attempts, duration_ms, ...failure },
    "settled",
  );
}
