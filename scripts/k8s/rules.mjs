/**
 * Prints the PrometheusRule of the overlay monitoring-operator, made of the rules that Prometheus has without the operator:
 * node scripts/k8s/rules.mjs >k8s/overlays/monitoring-operator/rules.yaml
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";

const from = join(import.meta.dirname, "../../monitoring/prometheus");
const groups = ["rules.yml", "alerts.yml"]
  .map((name) => join(from, name))
  .filter((path) => existsSync(path))
  .flatMap((path) => parse(readFileSync(path, "utf8")).groups);
const rule = {
  apiVersion: "monitoring.coreos.com/v1",
  kind: "PrometheusRule",
  metadata: { name: "drover" },
  spec: { groups },
};
process.stdout.write(
  `# Made by scripts/k8s/rules.mjs of monitoring/prometheus.\n${stringify(rule, { lineWidth: 0 })}`,
);
