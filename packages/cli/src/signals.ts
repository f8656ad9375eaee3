const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Asks the command to stop in order at the first SIGINT or SIGTERM; a second one ends the process at once.
 *
 * @param stop called with the first signal.
 * @param exitCode of the process where a second one comes.
 * @returns stops listening, unless a signal has come: then a second one may still come.
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
