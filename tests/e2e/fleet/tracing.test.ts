import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";
import { Receiver } from "../../harness/receiver.js";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  status?: { code?: number };
  attributes: { key: string; value: { stringValue?: string } }[];
  events?: { name: string }[];
}

/** All spans that an endpoint of OTLP has received. */
function spansAt({ deliveries }: Receiver): Span[] {
  // biome-ignore lint/suspicious/noExplicitAny: the shape of OTLP
  const all = (body: any) => body.resourceSpans.flatMap((each: any) => each.scopeSpans);
  return deliveries.flatMap(({ body }) => all(body).flatMap((scope: { spans: Span[] }) => scope.spans));
}

describe("OpenTelemetry", () => {
  it("has one trace from the submission to the commit, in another process", {
    timeout: 90_000,
  }, async ({ box, origin, work, fleet }) => {
    await using collector = await Receiver.start();
    const endpoint = new URL(collector.url).origin;
    origin.route("/good", does.file("good"));
    origin.route("/missing", does.status(404));
    const list = work.write({
      "list.txt": [origin.url("/good?token=canary-7"), origin.url("/missing")].join("\n"),
    });
    fleet.env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_BSP_SCHEDULE_DELAY: "100" };
    const worker = await fleet.worker();
    const { code } = await box.run(["sync", "--from-file", list, "--to", work.to("out"), ...fleet.own], {
      env: { ...fleet.env, TRACEPARENT: `00-${TRACE}-${CALLER}-01` },
    });
    expect(code).toBe(1);
    worker.kill("SIGTERM");
    await worker.result;
    await until("spans", () => spansAt(collector).filter(({ name }) => name === "copy").length >= 2);

    const spans = spansAt(collector);
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([TRACE]));
    const submission = spans.find(({ name }) => name === "submit run") as Span;
    expect(submission.parentSpanId).toBe(CALLER);
    const copies = spans.filter(({ name }) => name === "copy");
    expect(new Set(copies.map(({ parentSpanId }) => parentSpanId))).toEqual(new Set([submission.spanId]));
    expect(spans.find(({ name }) => name === "find files")?.parentSpanId).toBe(submission.spanId);
    const outcome = (span: Span) =>
      span.attributes.find(({ key }) => key === "drover.outcome")?.value.stringValue;
    const good = copies.find((span) => outcome(span) === "copied");
    expect(good?.events?.map(({ name }) => name)).toEqual([
      "admitted",
      "opened",
      "staged",
      "verified",
      "committed",
    ]);
    expect(copies.find((span) => outcome(span) === "failed")?.status?.code).toBe(2);
    expect(JSON.stringify(spans)).not.toContain("canary-7");
  });

  it("is off where nobody asks for it", { timeout: 60_000 }, async ({ box, work, fleet }) => {
    await using collector = await Receiver.start();
    const endpoint = new URL(collector.url).origin;
    work.write({ "src/a": "a" });
    fleet.env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: "true" };
    await fleet.worker();
    const args = ["sync", `${work.at("src")}/`, "--to", work.to("out"), ...fleet.own];
    expect((await box.run(args, { env: fleet.env })).code).toBe(0);
    expect(collector.deliveries).toEqual([]);
  });
});
