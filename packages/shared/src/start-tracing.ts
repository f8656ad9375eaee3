import { traceWith } from "./tracing.js";

/** Whether the environment asks for traces, by the variables of OpenTelemetry. */
function isAskedFor({ env } = process): boolean {
  if (env.OTEL_SDK_DISABLED === "true" || env.OTEL_TRACES_EXPORTER === "none") return false;
  const endpoint = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_ENDPOINT;
  return env.OTEL_TRACES_EXPORTER === "otlp" || (endpoint !== undefined && endpoint !== "");
}

/** Traces what this thread does from now on, if the environment asks for it. OpenTelemetry is loaded only then. */
export async function startTracing(): Promise<void> {
  if (!isAskedFor()) return;
  const { openTelemetryTracer } = await import("./tracing-otel.js");
  traceWith(openTelemetryTracer());
}
