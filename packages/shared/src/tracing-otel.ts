import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { SettingsError } from "./errors.js";
import { TRACEPARENT, type TracedWork, type Tracer } from "./tracing.js";
import { droverVersion } from "./version.js";

/** Of each trace, this process sends so many attempts that went well; those that failed are always sent. */
const MOST_PER_TRACE = 1_000;
/** Traces whose attempts are counted. */
const MOST_TRACES = 10_000;
/** What is left is sent within this time at the end, in milliseconds. */
const CLOSE_MS = 3_000;

/**
 * Sends traces by OTLP over HTTP, to where the standard variables say (OTEL_EXPORTER_OTLP_ENDPOINT, …). They decide about
 * sampling, too (OTEL_TRACES_SAMPLER).
 */
export function openTelemetryTracer(): Tracer {
  const provider = new TracerProvider({
    sampler: samplerOf(process.env),
    resource: resourceFromAttributes({
      "service.name": process.env.OTEL_SERVICE_NAME ?? "drover",
      "service.version": droverVersion(),
    }),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  const tracer = provider.getTracer("drover", droverVersion());
  const sent = new Map<string, number>();
  const isTooMuch = ({ parent, error }: TracedWork) => {
    if (parent === undefined || error !== undefined) return false;
    const count = (sent.get(parent) ?? 0) + 1;
    if (sent.size >= MOST_TRACES) sent.clear();
    sent.set(parent, count);
    return count > MOST_PER_TRACE;
  };
  return {
    record(work) {
      if (isTooMuch(work)) return work.parent as string;
      const span = tracer.startSpan(
        work.name,
        { startTime: work.startMs, kind: SpanKind.INTERNAL, attributes: work.attributes },
        contextOf(work.parent),
      );
      for (const { name, atMs } of work.events) span.addEvent(name, undefined, atMs);
      if (work.error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: work.error });
      span.end(work.endMs);
      const { traceId, spanId, traceFlags } = span.spanContext();
      return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
    },
    async close() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref());
      await Promise.race([provider.shutdown().catch(() => {}), late]); // nobody is left to be told
    },
  };
}

/**
 * The sampler that the environment names.
 *
 * @throws SettingsError for one that there is not.
 */
function samplerOf({
  OTEL_TRACES_SAMPLER: name,
  OTEL_TRACES_SAMPLER_ARG: argument,
}: NodeJS.ProcessEnv): Sampler {
  const ratio = () => new TraceIdRatioBasedSampler(Number(argument ?? 1));
  switch (name) {
    case "always_on":
      return new AlwaysOnSampler();
    case "always_off":
      return new AlwaysOffSampler();
    case "traceidratio":
      return ratio();
    case "parentbased_traceidratio":
      return new ParentBasedSampler({ root: ratio() });
    case "parentbased_always_off":
      return new ParentBasedSampler({ root: new AlwaysOffSampler() });
    case undefined:
    case "":
    case "parentbased_always_on":
      return new ParentBasedSampler({ root: new AlwaysOnSampler() });
    default:
      throw new SettingsError(`OTEL_TRACES_SAMPLER ${name} is not known here: use parentbased_traceidratio`);
  }
}

function contextOf(traceparent: string | undefined) {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent ?? "") ?? [];
  if (traceId === undefined || spanId === undefined) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags ?? "00", 16) & TraceFlags.SAMPLED;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}
