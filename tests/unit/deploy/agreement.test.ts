import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { SETTINGS } from "@drover/cli/settings/settings";
import { FLEET_METRICS } from "@drover/shared/metrics/names";
import { Keys } from "@drover/shared/protocol/keys";
import { FILES_PER_SCALING_UNIT } from "@drover/shared/protocol/scaling";
import { describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";

/** Time in seconds that a process needs beside its drain deadline: to hear of the signal, and to say good-bye to Redis. */
const MARGIN_SECONDS = 15;

const read = (path: string) => parseAllDocuments(readFileSync(path, "utf8")).map((each) => each.toJS());
// biome-ignore lint/suspicious/noExplicitAny: manifests of any kind
const objects: any[] = readdirSync("k8s", { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".yaml"))
  .flatMap((path) => read(`k8s/${path}`));
const triggers = objects.filter(({ kind }) => kind === "ScaledObject").flatMap(({ spec }) => spec.triggers);
const deadline = SETTINGS["drain-deadline"].default;

/** The deadline that a command line sets, else the default. */
function deadlineOf(args: string[]): number {
  const at = args.indexOf("--drain-deadline");
  return at < 0 ? deadline : Number(args[at + 1]);
}

describe("what the manifests and the code both name", () => {
  it("is one list of KEDA's Redis trigger", () => {
    const lists = triggers.filter(({ type }) => type === "redis").map(({ metadata }) => metadata.listName);
    expect(lists).toEqual([new Keys().scaling()]);
  });

  it("is one metric of KEDA's Prometheus trigger", () => {
    const queries = triggers
      .filter(({ type }) => type === "prometheus")
      .map(({ metadata }) => metadata.query);
    expect(queries).toEqual([`max(${FLEET_METRICS.scalingFiles.name}{namespace="drover"})`]);
  });

  it("is how many files an element of that list stands for", () => {
    const scaled = objects.find(
      ({ kind, spec }) => kind === "ScaledObject" && spec.advanced.scalingModifiers,
    );
    expect(scaled.spec.advanced.scalingModifiers.formula).toBe(`units * ${FILES_PER_SCALING_UNIT}`);
  });
});

it("has the rules of Prometheus for its operator, too", () => {
  const made = execFileSync("node", ["scripts/k8s/rules.mjs"], { encoding: "utf8" });
  expect(readFileSync("k8s/overlays/monitoring-operator/rules.yaml", "utf8")).toBe(made);
});

describe("the overlays monitoring and alertmanager", () => {
  const kubectl = spawnSync("scripts/k8s/kubectl.sh", { encoding: "utf8" }).stdout.trim();
  // biome-ignore lint/suspicious/noExplicitAny: manifests of any kind
  const rendered = (overlay: string): any[] =>
    parseAllDocuments(
      execFileSync(kubectl, ["kustomize", `k8s/overlays/${overlay}`], { encoding: "utf8" }),
    ).map((each) => each.toJS());

  /** Who carries the alerts: Grafana with its rules, Prometheus with alerts and somebody to tell. */
  function carriers(overlay: string) {
    const made = rendered(overlay);
    const pod = (name: string) =>
      made.find(({ kind, metadata }) => kind === "StatefulSet" && metadata.name === name)?.spec.template.spec;
    // biome-ignore lint/suspicious/noExplicitAny: a manifest
    const volumes = (name: string) => (pod(name)?.volumes ?? []) as any[];
    const rules = volumes("prometheus").find(({ name }) => name === "rules").configMap.items;
    const { env } = pod("grafana").containers[0];
    return {
      // biome-ignore lint/suspicious/noExplicitAny: a manifest
      rules: rules.map(({ key }: any) => key),
      alertmanager: pod("alertmanager") !== undefined,
      // biome-ignore lint/suspicious/noExplicitAny: a manifest
      grafana: env.find(({ name }: any) => name === "GF_UNIFIED_ALERTING_ENABLED").value,
      provisioned: volumes("grafana").some(({ name }) => name === "alerting"),
    };
  }

  it.runIf(kubectl)("have one who carries the alerts, never both", () => {
    expect(carriers("monitoring")).toEqual({
      rules: ["rules.yml"],
      alertmanager: false,
      grafana: "true",
      provisioned: true,
    });
    expect(carriers("alertmanager")).toEqual({
      rules: ["rules.yml", "alerts.yml"],
      alertmanager: true,
      grafana: "false",
      provisioned: false,
    });
  });
});

describe("drain deadline and the time until the kill", () => {
  it("agree in every Deployment", () => {
    const pods = objects.filter(({ kind }) => kind === "Deployment").map(({ spec }) => spec.template.spec);
    expect(pods.length).toBe(3);
    for (const { terminationGracePeriodSeconds, containers } of pods)
      for (const { args, lifecycle } of containers) {
        const before = lifecycle?.preStop.sleep.seconds ?? 0;
        expect(terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
          before + deadlineOf(args) + MARGIN_SECONDS,
        );
      }
  });

  it("agree in Compose", () => {
    const { services } = parse(readFileSync("docker-compose.yml", "utf8"), { merge: true });
    for (const name of ["api", "worker", "dashboard", "sync-service", "file-manager"]) {
      const { stop_grace_period: grace, command } = services[name];
      expect(Number.parseInt(grace, 10)).toBeGreaterThanOrEqual(deadlineOf(command) + MARGIN_SECONDS);
    }
  });

  it("agree in systemd", () => {
    const units = readdirSync("packaging/systemd").filter((name) => name.endsWith(".service"));
    expect(units.length).toBeGreaterThan(0);
    for (const name of units) {
      const unit = readFileSync(`packaging/systemd/${name}`, "utf8");
      const seconds = Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]);
      expect(seconds).toBeGreaterThanOrEqual(deadlineOf(unit.split(/\s+/)) + MARGIN_SECONDS);
    }
  });
});

describe("every pod", () => {
  const pods = objects
    .filter(({ kind }) => kind === "Deployment" || kind === "StatefulSet")
    .map(({ metadata, spec }) => ({ name: metadata.name, ...spec.template.spec }));

  it.for(pods)("$name has no right that it does not need", (pod) => {
    expect(pod).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    });
    for (const container of pod.containers) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      expect(container.livenessProbe?.exec).toBeUndefined(); // never asks Redis
    }
  });
});

describe("the manifests", () => {
  const ofKind = (kind: string) => objects.filter((each) => each.kind === kind);

  it("spread the pods of every Deployment, and bound its disruptions", () => {
    const bounded = ofKind("PodDisruptionBudget").map(({ spec }) => spec.selector.matchLabels);
    for (const { spec } of ofKind("Deployment")) {
      const labels = spec.selector.matchLabels;
      expect(bounded).toContainEqual(labels);
      const constraints = spec.template.spec.topologySpreadConstraints;
      // biome-ignore lint/suspicious/noExplicitAny: a manifest
      expect(constraints.map((each: any) => [each.topologyKey, each.labelSelector.matchLabels])).toEqual([
        ["kubernetes.io/hostname", labels],
        ["topology.kubernetes.io/zone", labels],
      ]);
    }
  });

  it("let nothing in or out that no policy allows, and nothing out to private networks", () => {
    const policies = ofKind("NetworkPolicy").map(({ spec }) => spec);
    expect(policies).toContainEqual({ podSelector: {}, policyTypes: ["Ingress", "Egress"] });
    // biome-ignore lint/suspicious/noExplicitAny: a manifest
    const blocks = policies.flatMap(({ egress = [] }) => egress.flatMap((rule: any) => rule.to));
    const outside = blocks.filter(({ ipBlock }) => ipBlock).map(({ ipBlock }) => ipBlock);
    expect(outside.map(({ cidr }) => cidr)).toEqual(["0.0.0.0/0", "::/0"]);
    expect(outside.flatMap(({ except }) => except)).toEqual(
      expect.arrayContaining([
        ...["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"],
        ...["fc00::/7", "fe80::/10"],
      ]),
    );
  });

  it("never scale to none, and know what to do where the number is not to be had", () => {
    for (const { spec } of ofKind("ScaledObject")) {
      expect(spec.minReplicaCount).toBeGreaterThanOrEqual(1);
      expect(spec.fallback.replicas).toBeGreaterThanOrEqual(spec.minReplicaCount);
      for (const { type, metadata } of spec.triggers)
        if (type === "prometheus") expect(metadata.ignoreNullValues).toBe("false");
    }
  });

  it("keep all of Valkey's writes and evict nothing", () => {
    const conf = readFileSync("k8s/base/valkey.conf", "utf8");
    for (const line of ["appendonly yes", "maxmemory-policy noeviction", "hash-max-listpack-value 1024"])
      expect(conf.split("\n")).toContain(line);
  });
});
