/**
 * Traces of runs. This module knows no exporter: {@link traceWith} gives it one (tracing-otel.ts for OpenTelemetry). Without
 * one, a call costs one comparison.
 *
 * A run carries the context of its submission as a `traceparent` (W3C Trace Context), so that what its workers do is in
 * the trace of whoever submitted it. Attributes never contain secrets.
 */

/** `00-TRACE-SPAN-FLAGS`, see https://www.w3.org/TR/trace-context/#traceparent-header. */
export const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

export type TraceAttributes = Record<string, string | number>;

/** Something that took time and is over. */
export interface TracedWork {
  name: string;
  /** `traceparent` that it belongs to; undefined begins a trace. */
  parent: string | undefined;
  startMs: number;
  endMs: number;
  attributes: TraceAttributes;
  /** What happened meanwhile, and when (Unix ms). */
  events: { name: string; atMs: number }[];
  /** Why it failed; undefined if it did not. */
  error: string | undefined;
}

export interface Tracer {
  /** @returns the `traceparent` of what may follow from it. */
  record(work: TracedWork): string;
  /** Sends what was recorded. It never throws. */
  close(): Promise<void>;
}

let tracer: Tracer | undefined;

/** Sends all traces of this thread to a tracer from now on. */
export function traceWith(to: Tracer): void {
  tracer = to;
}

/** Ends tracing: what was recorded is sent. */
export async function endTracing(): Promise<void> {
  const former = tracer;
  tracer = undefined;
  await former?.close();
}

/** Work that is going on. */
export interface Trace {
  /** Notes a step. */
  step(name: string): void;
  /**
   * Ends it.
   *
   * @param error why it failed.
   * @returns its `traceparent`; undefined without a tracer.
   */
  end(attributes: () => TraceAttributes, error?: string): string | undefined;
}

const UNTRACED: Trace = { step() {}, end: () => undefined };

/** Begins a piece of work. @param parent `traceparent` that it belongs to; undefined begins a trace. */
export function trace(name: string, parent: string | undefined): Trace {
  if (tracer === undefined) return UNTRACED;
  const startMs = Date.now();
  const events: TracedWork["events"] = [];
  return {
    step: (step) => void events.push({ name: step, atMs: Date.now() }),
    end: (attributes, error) =>
      tracer?.record({ name, parent, startMs, endMs: Date.now(), attributes: attributes(), events, error }),
  };
}
