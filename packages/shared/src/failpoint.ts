/**
 * Fault points for tests: the process kills itself (SIGKILL) at a named step, to show that nothing is lost
 * there. `DROVER_FAULT=commit:3` dies at the third `commit`. Unset, a fault point costs one comparison.
 */
const [point, nth] = (process.env.DROVER_FAULT ?? "").split(":");
let left = Number(nth ?? "1");

export type Failpoint =
  | "events"
  | "expand"
  | "enqueue"
  | "dispatch"
  | "admit"
  | "open"
  | "probe"
  | "upload"
  | "part"
  | "stage"
  | "verify"
  | "commit"
  | "committed"
  | "delete"
  | "move"
  | "linked"
  | "moved"
  | "taken"
  | "keep"
  | "kept"
  | "removed"
  | "settled"
  | "claimed"
  | "created"
  | "scheduled"
  | "posted"
  | "received"
  | "accepted"
  | "noted"
  | "pair-delete"
  | "set-aside"
  | "mirror-listed"
  | "mirror-replayed"
  | "mirror-exported"
  | "mirror-applied"
  | "mirror-reported";

export function failpoint(name: Failpoint): void {
  if (point !== name || --left > 0) return;
  process.kill(process.pid, "SIGKILL");
  for (;;); // the signal is pending; nothing after this line may run
}
