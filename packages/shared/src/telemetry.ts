/**
 * Telemetry: counters, histograms, gauges and spans, for whoever exports them. This module knows no exporter: one
 * calls {@link listen}. While nobody listens a call costs one comparison: labels are not built, nothing is allocated
 * or kept, and what happened meanwhile is not made up for later.
 *
 * Each thread has its own: a worker thread that is to be seen needs a listener of its own.
 *
 * Names and labels are in the tables below. A label has few values that are known beforehand (an outcome, an error
 * class, an operation, a state); it is never a URL, a key, an id of a job or run, or the name of a host.
 */

/** Counters: how often something happened since the process began. */
export interface Counters {
  /** Answers to files that asked to be copied. */
  "admission.answers": { answer: "admitted" | "done" | "cancelled" | "busy" | "blocked" | "wait" };
  /** Files that this process recorded as ended, one per file however many runs wait for it. */
  "files.settled": { outcome: string };
  /**
   * Leases that were not this process's any more, by what it wanted to do with them. A file that ended while a
   * renewal was on its way counts under `renew`.
   */
  "leases.lost": { operation: "renew" | "settle" | "release" };
  /** Circuit breakers of hosts that a report of this process opened. */
  "breakers.opened": undefined;
  /** Batches of files that were registered with a run. One that was sent again counts again. */
  "backlog.batches": undefined;
  /** Jobs that were given to BullMQ. One that was there already counts too. */
  "queue.jobs_added": undefined;
  /** Jobs that were finished by calls for many. */
  "queue.jobs_finished": undefined;
  /** Runs that this process ended. */
  "runs.ended": undefined;
  /** Times that a connection to Redis broke (`away`) and was there again (`back`). */
  "redis.connection": { state: "away" | "back" };
  /** Commands and pipelines that were sent again, because an interruption had left them unanswered. */
  "redis.resent": undefined;
}

/** Histograms: how large something was, each time. */
export interface Histograms {
  /** Files of a batch that was registered with a run. */
  "backlog.batch_files": undefined;
  /** Requests that shared a call to Redis. */
  "redis.requests_per_call": { operation: string };
}

/** Gauges: how much there is of something now. */
export interface Gauges {
  /** Connections to Redis that are broken and are being made again. */
  "redis.connections_away": undefined;
}

/**
 * Spans: something that takes time and may fail. Their durations are histograms, too, where an exporter makes them
 * so.
 */
export interface Spans {
  /** A script, from when it is handed to the connection to its answer; waiting for a Redis that is away included. */
  "redis.script": { operation: string };
}

export type Labels = Readonly<Record<string, string>>;

/** An object that was made once, or a function that is called only while somebody listens. */
type Given<Needed> = Needed | (() => Needed);
type Labelled<Table> = { [Name in keyof Table]: Table[Name] extends undefined ? never : Name }[keyof Table];
type Plain<Table> = { [Name in keyof Table]: Table[Name] extends undefined ? Name : never }[keyof Table];

/** Whoever exports telemetry. It is called in the middle of the work: it must be quick, and must not throw. */
export interface TelemetrySink {
  count(name: keyof Counters, by: number, labels: Labels): void;
  observe(name: keyof Histograms, value: number, labels: Labels): void;
  /** @returns whose `end` is called when the span ends. */
  startSpan(name: keyof Spans, attributes: Labels): Span;
}

/** A span that has begun. */
export interface Span {
  /** @param error why it failed; left out where it did not. */
  end(error?: unknown): void;
}

/** One value of a gauge. */
export interface GaugeReading {
  name: keyof Gauges;
  labels: Labels;
  value: number;
}

let sink: TelemetrySink | undefined;

const NO_LABELS: Labels = Object.freeze({});
const NO_SPAN: Span = Object.freeze({ end() {} });

/**
 * Hands all telemetry of this thread to a sink from now on. There is one at a time.
 *
 * @returns ends it.
 * @throws Error when somebody listens already.
 */
export function listen(to: TelemetrySink): () => void {
  if (sink !== undefined) throw new Error("somebody listens to the telemetry already");
  sink = to;
  return () => {
    if (sink === to) sink = undefined;
  };
}

/**
 * Adds to a counter.
 *
 * @param by how much. Default 1.
 */
export function count(name: Plain<Counters>, by?: number): void;
export function count<Name extends Labelled<Counters>>(
  name: Name,
  by: number,
  labels: Given<Counters[Name]>,
): void;
export function count(name: keyof Counters, by = 1, labels?: Given<Labels>): void {
  if (sink !== undefined) sink.count(name, by, made(labels));
}

/** Adds a value to a histogram, in the unit that the histogram's description names. */
export function observe(name: Plain<Histograms>, value: number): void;
export function observe<Name extends Labelled<Histograms>>(
  name: Name,
  value: number,
  labels: Given<Histograms[Name]>,
): void;
export function observe(name: keyof Histograms, value: number, labels?: Given<Labels>): void {
  if (sink !== undefined) sink.observe(name, value, made(labels));
}

/** Begins a span, which its `end` ends. */
export function span<Name extends keyof Spans>(name: Name, attributes: Given<Spans[Name]>): Span {
  return sink === undefined ? NO_SPAN : sink.startSpan(name, made(attributes));
}

interface RegisteredGauge {
  name: keyof Gauges;
  labels: Labels;
  read: () => number;
}

const gauges = new Set<RegisteredGauge>();

/**
 * Registers how a gauge is read: when somebody asks, and never otherwise. Of several with the same name and labels an
 * exporter shows the sum.
 *
 * @param labels default none.
 * @returns takes it out again.
 */
export function gauge(name: keyof Gauges, read: () => number, labels = NO_LABELS): () => void {
  const registered = { name, labels, read };
  gauges.add(registered);
  return () => {
    gauges.delete(registered);
  };
}

/** Every gauge as it is now. For exporters. */
export function readGauges(): GaugeReading[] {
  return Array.from(gauges, ({ name, labels, read }) => ({ name, labels, value: read() }));
}

function made(labels: Given<Labels> | undefined): Labels {
  return typeof labels === "function" ? labels() : (labels ?? NO_LABELS);
}
