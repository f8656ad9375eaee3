import { report } from "./checker.js";
import { type Event, History, showEvent } from "./history.js";
import { directoryOf, keep, LONG, type Played, play, SHORT } from "./play.js";

/** Plays seeds one after the other until the time is over, see scripts/chaos.sh. Exits with 1 if one failed. */
const [first = "1", minutes = "10", size = "long"] = process.argv.slice(2);
const endMs = performance.now() + Number(minutes) * 60_000;
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    console.log(`${signal}: stopping`);
    interrupt.abort();
  });
}

let failed = 0;
let seed = Number(first);
do {
  const started = performance.now();
  const history = new History(process.env.VERBOSE ? tell : undefined);
  try {
    const played = await play({ ...(size === "short" ? SHORT : LONG), seed }, history, interrupt.signal);
    const { violations } = played;
    const seconds = Math.round((performance.now() - started) / 1000);
    console.log(
      `seed ${seed}  ${violations.length === 0 ? "ok" : "FAILED"}  ${seconds} s  ${summary(played)}`,
    );
    if (violations.length > 0) {
      failed += 1;
      keep(played);
      console.log(`${report(violations, history)}\n\nall of it: ${directoryOf(seed)}\n`);
    }
  } catch (error) {
    if (interrupt.signal.aborted) process.exit(130);
    failed += 1;
    console.log(`seed ${seed}  BROKEN`, error);
  }
  seed += 1;
} while (performance.now() < endMs && !interrupt.signal.aborted);
console.log(failed === 0 ? "every seed is ok" : `${failed} seeds failed`);
process.exit(failed === 0 ? 0 : 1);

/** The events that are few. */
function tell(event: Event): void {
  if (["get", "seen", "outcome", "published", "memory"].includes(event.is)) return;
  console.error(showEvent(event));
}

function summary({ history }: Played): string {
  const count = (...kinds: Parameters<typeof history.of>) => history.of(...kinds).length;
  const parts = [
    `${count("submitted")} runs`,
    `${count("action")} faults`,
    `${count("published")} versions`,
    `${count("get")} GETs`,
    `${count("seen")} readings`,
  ];
  return parts.join(", ");
}
