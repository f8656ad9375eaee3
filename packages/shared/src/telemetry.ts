/**
 * Telemetry: counters, histograms, gauges and spans. This module knows no exporter: an exporter calls {@link
 * listen}. Without a listener, a call costs one comparison: labels are not built, nothing is allocated or
 * kept.
 *
 * Each thread has its own telemetry, so an exporter must listen in each worker thread.
 *
 * Names and labels are in the tables below. A label has a small set of known values (an outcome, an error
 * class, an operation, a state); it is never a URL, a key, an id of a job or run, or the name of a host.
 */

/** Counters: number of events since the process began. */
export interface Counters {
  /** Answers to admission requests of copies. */
  "admission.answers": { answer: "admitted" | "done" | "cancelled" | "busy" | "blocked" | "wait" };
  /** Files that this process settled; one per file, however many runs wait for it. */
  "files.settled": { outcome: string };
  /**
   * Leases that this process no longer had, by the operation that found out. A file that was settled during a
   * renewal counts under `renew`.
   */
  "leases.lost": { operation: "renew" | "settle" | "release" };
  /** Circuit breakers that a report of this process opened. */
  "breakers.opened": undefined;
  /** Batches of files registered with a run. A repeated batch counts again. */
  "backlog.batches": undefined;
  /** Jobs added to BullMQ. A job that existed counts too. */
  "queue.jobs_added": undefined;
  /** Jobs finished by batched calls. */
  "queue.jobs_finished": undefined;
  /** Jobs whose worker was silent for too long, and that went back to the queue. */
  "queue.jobs_stalled": undefined;
  /**
   * Attempts at files that ended, by their outcome, or `retried` for what will be tried again; and by the class of the
   * error, `none` without one.
   */
  "attempts.ended": { operation: "copy" | "remove" | "pair"; outcome: string; class: string };
  /** Bytes of the files that this process copied. */
  "files.copied_bytes": undefined;
  /** Events of storages, by who sent them and what became of them. */
  "events.received": { origin: string; result: "accepted" | "ignored" | "dead" };
  /** Runs that this process ended. */
  "runs.ended": undefined;
  /** Broken (`away`) and restored (`back`) connections to Redis. */
  "redis.connection": { state: "away" | "back" };
  /** Commands and pipelines sent again after an interruption had left them unanswered. */
  "redis.resent": undefined;
}

/** Histograms: a value per event. */
export interface Histograms {
  /** Files per batch registered with a run. */
  "backlog.batch_files": undefined;
  /** Requests that shared a call to Redis. */
  "redis.requests_per_call": { operation: string };
  /** Time from the first attempt at a file to its end, in seconds. */
  "files.seconds": { operation: "copy" | "remove" | "pair"; outcome: string };
  /** Time from the start of a run to its end, in seconds. */
  "runs.seconds": undefined;
  /** Time from a change in a storage, by its clock, to the arrival of its notification, in seconds. */
  "events.lag_seconds": undefined;
  /** Time from the arrival of an event to the run that acts on it, in seconds. */
  "events.wait_seconds": undefined;
  /** Time of a request to the HTTP service, in seconds. `route` is the path with its parameters unnamed. */
  "http.request_seconds": { method: string; route: string; status: string };
}

/** Gauges: current values. */
export interface Gauges {
  /** Connections to Redis that are being restored. */
  "redis.connections_away": undefined;
  /** Followers of runs by server-sent events. */
  "http.event_streams": undefined;
}

/** Spans: operations with a duration and a result. An exporter may also turn durations into histograms. */
export interface Spans {
  /** A script, from its hand-over to the connection to its answer, including the wait for an absent Redis. */
  "redis.script": { operation: string };
}

export type Labels = Readonly<Record<string, string>>;

/** A ready value, or a function that is called only while there is a listener. */
type Given<Needed> = Needed | (() => Needed);
type Labelled<Table> = { [Name in keyof Table]: Table[Name] extends undefined ? never : Name }[keyof Table];
type Plain<Table> = { [Name in keyof Table]: Table[Name] extends undefined ? Name : never }[keyof Table];

/**
 * The exporter's interface. Its methods are called in the middle of the work, so they must be quick and must
 * not throw.
 */
export interface TelemetrySink {
  count(name: keyof Counters, by: number, labels: Labels): void;
  observe(name: keyof Histograms, value: number, labels: Labels): void;
  /** @returns the span, whose `end` is called when it ends. */
  startSpan(name: keyof Spans, attributes: Labels): Span;
}

/** A running span. */
export interface Span {
  /** @param error the failure; absent on success. */
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
 * Sends all telemetry of this thread to a sink from now on. There is one sink at a time.
 *
 * @returns a function that ends this.
 * @throws Error if there is a sink already.
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
 * @param by increment. Default 1.
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

/** Adds a value to a histogram, in the unit of the histogram's description. */
export function observe(name: Plain<Histograms>, value: number): void;
export function observe<Name extends Labelled<Histograms>>(
  name: Name,
  value: number,
  labels: Given<Histograms[Name]>,
): void;
export function observe(name: keyof Histograms, value: number, labels?: Given<Labels>): void {
  if (sink !== undefined) sink.observe(name, value, made(labels));
}

/** Starts a span; call its `end`. */
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
 * Registers the reader of a gauge, called only when gauges are read. Exporters show the sum of gauges with
 * the same name and labels.
 *
 * @param labels default none.
 * @returns a function that removes it.
 */
export function gauge(name: keyof Gauges, read: () => number, labels = NO_LABELS): () => void {
  const registered = { name, labels, read };
  gauges.add(registered);
  return () => {
    gauges.delete(registered);
  };
}

/** Reads every gauge. For exporters. */
export function readGauges(): GaugeReading[] {
  return Array.from(gauges, ({ name, labels, read }) => ({ name, labels, value: read() }));
}

function made(labels: Given<Labels> | undefined): Labels {
  return typeof labels === "function" ? labels() : (labels ?? NO_LABELS);
}
