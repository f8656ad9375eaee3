import type { RunSummary } from "@drover/producer/runs/summary";
import { z } from "zod";

/** A rate is that of the last while, in milliseconds. */
const WINDOW_MS = 60_000;
/** Least time between two samples of a run, and between the two that a rate is of, in milliseconds. */
const SPACING_MS = 2_000;
const MOST_RUNS = 1_000;

interface Sample {
  atMs: number;
  settled: number;
}

export const rateShape = {
  files_per_second: z
    .number()
    .nullable()
    .meta({ description: "Files that end, on average of the last minute; null while it does not run." }),
  eta_seconds: z.int().min(0).nullable().meta({
    description: "Until its end at this rate; null before all its files are found, and where nothing moves.",
  }),
};
export type ShownRate = z.infer<z.ZodObject<typeof rateShape>>;

/** How fast runs go: of what this server saw of them, for as long as somebody looks. */
export class RunRates {
  readonly #samples = new Map<string, Sample[]>();

  /** The rate of a run, which is noted with its counts. @param nowMs Unix ms. */
  of({ run, counts }: RunSummary, nowMs = Date.now()): ShownRate {
    if (run.state !== "running") {
      this.#samples.delete(run.id);
      return { files_per_second: null, eta_seconds: null };
    }
    const rate = this.#rate(run.id, { atMs: nowMs, settled: counts.settled }, run.startedMs);
    const left = counts.files - counts.settled;
    return {
      files_per_second: Math.round(rate * 100) / 100,
      eta_seconds: run.sealed && rate > 0 ? Math.ceil(left / rate) : null,
    };
  }

  #rate(id: string, now: Sample, startedMs: number): number {
    const samples = (this.#samples.get(id) ?? []).filter(({ atMs }) => atMs > now.atMs - WINDOW_MS);
    const last = samples.at(-1);
    if (last !== undefined && last.settled > now.settled) samples.length = 0; // files are tried again
    if (last === undefined || samples.length === 0 || now.atMs - last.atMs >= SPACING_MS) samples.push(now);
    this.#samples.delete(id); // the run that nobody asked for longest comes first
    this.#samples.set(id, samples);
    if (this.#samples.size > MOST_RUNS) this.#samples.delete(this.#samples.keys().next().value as string);
    // A run that is new to this server: its average so far.
    const first = samples[0] as Sample;
    const from = now.atMs - first.atMs >= SPACING_MS ? first : { atMs: startedMs, settled: 0 };
    return ((now.settled - from.settled) * 1_000) / Math.max(now.atMs - from.atMs, 1_000);
  }
}
