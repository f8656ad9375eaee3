import { type Overview, waitingFiles } from "@drover/service/operate/overview";
import { verdictOf } from "@drover/service/operate/verdict";
import { describe, expect, it } from "vitest";

const NOW_MS = 1_790_000_000_000;

/** A fleet in which nothing happens, and nobody leads. */
function overview(over: Partial<Overview>): Overview {
  return {
    atMs: NOW_MS,
    queue: { waiting: 0, active: 0, delayed: 0 },
    leader: undefined,
    openFiles: 0,
    waitingSinceMs: undefined,
    workers: [],
    runs: { running: 0, interrupted: 0 },
    pause: undefined,
    redis: { usedBytes: 1, limitBytes: 0, evicts: false, persistenceFails: false } as Overview["redis"],
    ...over,
  };
}

describe("what waits in a fleet without a leader", () => {
  it("is what has not ended of its runs", () => {
    const stuck = overview({ openFiles: 12_400, queue: { waiting: 100, active: 0, delayed: 0 } });
    expect(waitingFiles(stuck)).toBe(12_400);
    expect(verdictOf(stuck)).toEqual({
      level: "critical",
      sentence: "Stuck: no workers, 12,400 files wait",
    });
  });

  it("is at least what is in the queue, of whatever run that is", () => {
    const left = overview({ queue: { waiting: 100_000, active: 0, delayed: 0 } });
    expect(verdictOf(left)).toEqual({ level: "critical", sentence: "Stuck: no workers, 100,000 files wait" });
    expect(verdictOf(overview({}))).toMatchObject({ level: "ok", sentence: expect.stringMatching(/^Idle/) });
  });
});
