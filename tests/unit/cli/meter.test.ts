import { Meter } from "@drover/cli/display/meter";
import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { afterEach, expect, test, vi } from "vitest";

const job = (i: number) => ({ i, s: "/s", d: `f${i}` }) as TransferJob;
const outcome = (index: number) => ({ index, outcome: "copied", bytes: 1_000 }) as Outcome;

afterEach(() => void vi.useRealTimers());

test("what had ended before is shown, and is no progress of this process", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const meter = new Meter();
  meter.line();
  meter.endedBefore(1_200);
  meter.queued(801);
  meter.sealed();
  vi.advanceTimersByTime(1_000);
  expect(meter.line()).toBe("1200/2001 files · 0 B · 0 B/s");
  for (let index = 0; index < 10; index++) meter.settled(outcome(index));
  vi.advanceTimersByTime(1_000);
  expect(meter.line()).toBe("1210/2001 files · 10 kB · 5 kB/s · ETA 2m38s");
});

test("bytes of a file in progress count, also where its start was not told", () => {
  const meter = new Meter();
  meter.queued(2);
  meter.started(job(0), 1);
  meter.receiving(0, { receivedBytes: 1_000, sizeBytes: 5_000 });
  meter.receiving(1, { receivedBytes: 2_000, sizeBytes: 5_000 });
  expect(meter.line()).toMatch(/^0\/2\+ files · 3 kB · /);
  meter.waiting(job(1));
  expect(meter.line()).toMatch(/^0\/2\+ files · 1 kB · /);
});
