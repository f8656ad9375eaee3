import { GROUPING } from "./alertmanager.ts";
import { ALERTS, type Alert } from "./alerts.ts";
import { DATASOURCE, RECEIVER_URLS } from "./places.ts";
import { annotationsOf } from "./prometheus.ts";

/** Grafana's rules, contact points and notification policy, and its data source and dashboards, to be provisioned. */

const FOLDER = "Drover";
const ORG = 1;
/** Data before the evaluation that a query may look at, in seconds; an instant query needs none of it. */
const RANGE_SECONDS = 600;

export function datasources(): object {
  return {
    apiVersion: 1,
    datasources: [
      {
        name: "Prometheus",
        type: "prometheus",
        uid: DATASOURCE.uid,
        access: "proxy",
        url: DATASOURCE.url,
        isDefault: true,
        jsonData: { timeInterval: "15s", httpMethod: "POST" },
      },
    ],
  };
}

/** @param path where Grafana finds the dashboards. */
export function dashboardProvider(path: string): object {
  return {
    apiVersion: 1,
    providers: [
      {
        name: "drover",
        orgId: ORG,
        folder: FOLDER,
        type: "file",
        disableDeletion: true,
        allowUiUpdates: false,
        options: { path },
      },
    ],
  };
}

export function grafanaRules(): object {
  return {
    apiVersion: 1,
    groups: [{ orgId: ORG, name: "drover", folder: FOLDER, interval: "1m", rules: ALERTS.map(grafanaRule) }],
  };
}

/**
 * Grafana has no inhibition: what silences an alert in Alertmanager is a part of its query here. The query gives a series
 * for each thing that is wrong, of any value, 0 too; so what makes it fire is that there is a number.
 */
function grafanaRule(alert: Alert): object {
  return {
    uid: uidOf(alert),
    title: alert.name,
    condition: "C",
    data: [
      {
        refId: "A",
        relativeTimeRange: { from: RANGE_SECONDS, to: 0 },
        datasourceUid: DATASOURCE.uid,
        model: { refId: "A", expr: guarded(alert), instant: true, range: false },
      },
      expression("B", { type: "reduce", expression: "A", reducer: "last" }),
      expression("C", { type: "math", expression: "is_number($B)" }),
    ],
    for: alert.for,
    noDataState: "OK",
    execErrState: "Error",
    labels: { severity: alert.severity },
    annotations: annotationsOf(alert, (format) => `{{ ${format} $values.B.Value }}`),
    isPaused: false,
  };
}

function expression(refId: string, model: Record<string, string>): object {
  return {
    refId,
    relativeTimeRange: { from: 0, to: 0 },
    datasourceUid: "__expr__",
    model: { refId, datasource: { type: "__expr__", uid: "__expr__" }, ...model },
  };
}

/** The expression of an alert, which is empty while one that explains it would fire. */
export function guarded({ expression, silencedBy }: Alert): string {
  const guards = silencedBy.map((name) => {
    const silencer = ALERTS.find((each) => each.name === name);
    if (!silencer) throw new Error(`there is no alert ${name}`);
    return ` unless on () (${silencer.expression})`;
  });
  return guards.length === 0 ? expression : `(${expression})${guards.join("")}`;
}

/** At most 40 characters, as Grafana has it. */
function uidOf({ name }: Alert): string {
  return name.replace(/(?!^)[A-Z]/g, "-$&").toLowerCase();
}

export function contactPoints(): object {
  return {
    apiVersion: 1,
    contactPoints: Object.entries(RECEIVER_URLS).map(([name, url]) => ({
      orgId: ORG,
      name,
      receivers: [{ uid: `drover-${name}`, type: "webhook", settings: { url, httpMethod: "POST" } }],
    })),
  };
}

export function notificationPolicies(): object {
  return {
    apiVersion: 1,
    policies: [
      {
        orgId: ORG,
        receiver: "ticket",
        group_by: ["grafana_folder", "alertname"],
        ...GROUPING,
        routes: [{ receiver: "page", object_matchers: [["severity", "=", "page"]] }],
      },
    ],
  };
}
