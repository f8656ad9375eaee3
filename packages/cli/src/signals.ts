const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Requests an orderly stop at the first SIGINT or SIGTERM; a second one ends the process at once.
 *
 * @param stop called with the first signal.
 * @param exitCode of the process after a second signal.
 * @returns a function that stops listening; it has no effect once a signal has come, because a second may
 *   follow.
 */
export function onStopSignal(stop: (signal: NodeJS.Signals) => void, exitCode: number): () => void {
  let asked = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (asked) process.exit(exitCode);
    asked = true;
    stop(signal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    if (!asked) for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}
