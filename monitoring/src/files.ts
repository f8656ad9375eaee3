import {
  type CreateNodeOptions,
  type DocumentOptions,
  type SchemaOptions,
  stringify,
  type ToStringOptions,
} from "yaml";
import { alertmanagerConfig } from "./alertmanager.ts";
import { DASHBOARDS } from "./dashboards.ts";
import {
  contactPoints,
  dashboardProvider,
  datasources,
  grafanaRules,
  notificationPolicies,
} from "./grafana-alerting.ts";
import { alertingRules, recordingRules, ruleTests } from "./prometheus.ts";

const HEAD = "# Made by monitoring/src/generate.ts: change it there.\n";
const STYLE: DocumentOptions & SchemaOptions & CreateNodeOptions & ToStringOptions = {
  lineWidth: 0,
  aliasDuplicateObjects: false,
};
/** Where Grafana finds the dashboards. */
const DASHBOARDS_PATH = "/var/lib/grafana/dashboards";

/** ConfigMaps of `k8s/`, by the directory of their files: Kustomize reads no files but those below its own. */
const CONFIG_MAPS: Readonly<Record<string, Readonly<Record<string, string[]>>>> = {
  prometheus: { "prometheus-rules": ["rules.yml", "alerts.yml"] },
  alertmanager: { alertmanager: ["alertmanager.yml"] },
  grafana: {
    "grafana-datasources": ["provisioning/datasources/drover.yml"],
    "grafana-providers": ["provisioning/dashboards/drover.yml"],
    "grafana-dashboards": Object.keys(DASHBOARDS).map((name) => `dashboards/${name}.json`),
    "grafana-alerting": ["rules", "contact-points", "policies"].map(
      (name) => `provisioning/alerting/${name}.yml`,
    ),
  },
};

function kustomization(maps: Readonly<Record<string, string[]>>): object {
  return {
    apiVersion: "kustomize.config.k8s.io/v1beta1",
    kind: "Kustomization",
    configMapGenerator: Object.entries(maps).map(([name, files]) => ({ name, files })),
  };
}

/**
 * The files that are made of the tables: their text by their path below `monitoring/`. Grafana puts variables of its environment into
 * what it provisions, but not into queries and annotations of rules, which alone have a dollar here.
 */
export function generatedFiles(): Map<string, string> {
  const yaml = (content: object) => HEAD + stringify(content, STYLE);
  const provisioning = "grafana/provisioning";
  const files = new Map([
    ["prometheus/rules.yml", yaml(recordingRules())],
    ["prometheus/alerts.yml", yaml(alertingRules())],
    ["prometheus/tests/alerts.yml", yaml(ruleTests())],
    ["alertmanager/alertmanager.yml", yaml(alertmanagerConfig())],
    [`${provisioning}/datasources/drover.yml`, yaml(datasources())],
    [`${provisioning}/dashboards/drover.yml`, yaml(dashboardProvider(DASHBOARDS_PATH))],
    [`${provisioning}/alerting/rules.yml`, yaml(grafanaRules())],
    [`${provisioning}/alerting/contact-points.yml`, yaml(contactPoints())],
    [`${provisioning}/alerting/policies.yml`, yaml(notificationPolicies())],
  ]);
  for (const [name, dashboard] of Object.entries(DASHBOARDS))
    files.set(`grafana/dashboards/${name}.json`, `${JSON.stringify(dashboard, null, 2)}\n`);
  for (const [directory, maps] of Object.entries(CONFIG_MAPS))
    files.set(`${directory}/kustomization.yaml`, yaml(kustomization(maps)));
  return files;
}
