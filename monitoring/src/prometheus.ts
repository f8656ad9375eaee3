import { ALERTS, type Alert } from "./alerts.ts";
import { CASES, type Case } from "./cases.ts";
import { RUNBOOKS_URL } from "./places.ts";
import { RECORDINGS } from "./recording.ts";

/** Interval of the samples of a test's series. */
const SAMPLES = "1m";
const EVALUATED = "1m";
/** Who silences others does so until these have heard, too, that it is over. */
const SILENCES_FOR = "1m";
const SILENCERS: ReadonlySet<string> = new Set(ALERTS.flatMap(({ silencedBy }) => silencedBy));

/** Prometheus' recording rules. */
export function recordingRules(): object {
  const rules = RECORDINGS.map(({ record, expression }) => ({ record, expr: expression }));
  return { groups: [{ name: "drover-recording", rules }] };
}

/** Prometheus' alerting rules, for those who have an Alertmanager. */
export function alertingRules(): object {
  const rules = ALERTS.map((alert) => ({
    alert: alert.name,
    expr: alert.expression,
    for: alert.for,
    ...(SILENCERS.has(alert.name) && { keep_firing_for: SILENCES_FOR }),
    labels: { severity: alert.severity },
    annotations: annotationsOf(alert, (format) => `{{ $value | ${format} }}`),
  }));
  return { groups: [{ name: "drover", rules }] };
}

/** @param shown how a value is written in a format. */
export function annotationsOf(
  { summary, description, runbook }: Alert,
  shown: (format: string) => string,
): Record<string, string> {
  return {
    summary,
    ...(description && { description: description.text.replace("{value}", shown(description.format)) }),
    runbook_url: `${RUNBOOKS_URL}/${runbook}.md`,
  };
}

/** Tests of the alerting rules, for promtool. */
export function ruleTests(): object {
  return {
    rule_files: ["../rules.yml", "../alerts.yml"],
    evaluation_interval: EVALUATED,
    tests: ALERTS.flatMap((alert) => {
      const { fires, quiet, missing } = CASES[alert.name];
      return [
        ...fires.map((each) => ruleTest(alert, "fires", each)),
        ...quiet.map((each) => ruleTest(alert, "does not fire", each)),
        ...missing.map((each) => ruleTest(alert, "meets missing series", each)),
      ];
    }),
  };
}

function ruleTest(alert: Alert, what: string, { when, series, at, firing = [] }: Case): object {
  return {
    name: `${alert.name} ${what}: ${when}`,
    interval: SAMPLES,
    input_series: series.map(([name, values]) => ({ series: name, values })),
    alert_rule_test: [
      {
        eval_time: at,
        alertname: alert.name,
        exp_alerts: firing.map(({ labels = {}, value }) => ({
          exp_labels: { severity: alert.severity, ...labels },
          exp_annotations: annotationsOf(alert, () => value ?? ""),
        })),
      },
    ],
  };
}
