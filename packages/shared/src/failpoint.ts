/**
 * Fault points: tests stop the process dead (SIGKILL to itself) at a named step of the way of a file, to show that
 * nothing is lost there. `DROVER_FAULT=commit:3` dies at the third passing of `commit`. Unset, this is one comparison.
 */
const [point, nth] = (process.env.DROVER_FAULT ?? "").split(":");
let left = Number(nth ?? "1");

export type Failpoint =
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
  | "taken"
  | "kept"
  | "removed"
  | "settled";

export function failpoint(name: Failpoint): void {
  if (point !== name || --left > 0) return;
  process.kill(process.pid, "SIGKILL");
  for (;;); // the signal is on its way; nothing after this line may happen
}
