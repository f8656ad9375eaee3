import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";

const pod = (container: object = {}) => ({
  metadata: { labels: { app: "a" } },
  spec: { containers: [{ name: "a", image: "a", ...container }] },
});
const deployment = (spec: object = {}) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "worker" },
  spec: { selector: { matchLabels: { app: "a" } }, template: pod(), ...spec },
});
const scaled = (spec: object = {}) => ({
  apiVersion: "keda.sh/v1alpha1",
  kind: "ScaledObject",
  metadata: { name: "worker" },
  spec: {
    scaleTargetRef: { name: "worker" },
    triggers: [{ type: "redis", name: "units", metadata: { listName: "a" } }],
    ...spec,
  },
});
const monitor = (endpoint: object) => ({
  apiVersion: "monitoring.coreos.com/v1",
  kind: "ServiceMonitor",
  metadata: { name: "api" },
  spec: { selector: {}, endpoints: [endpoint] },
});
const formula = (text: string) => ({ advanced: { scalingModifiers: { formula: text, target: "1" } } });

/** @returns the exit code of the checker for a file with these objects, and what it says. */
function check(...objects: object[]) {
  const dir = mkdtempSync("/tmp/dv-");
  try {
    const file = join(dir, "rendered.yaml");
    writeFileSync(file, objects.map((each) => stringify(each)).join("---\n"));
    const { status, stdout, stderr } = spawnSync("node", ["scripts/k8s/check.mjs", file], {
      encoding: "utf8",
    });
    return { status, says: `${stdout}${stderr}` };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

describe("the checker of manifests", () => {
  it("takes what is right", () => {
    expect(
      check(deployment(), scaled(formula("max([units * 100, 5])")), monitor({ port: "http" })),
    ).toMatchObject({
      status: 0,
      says: expect.stringMatching(/^3 objects, 0 errors$/m),
    });
  });

  it("refuses no object at all", () => {
    expect(check().status).toBe(1);
  });

  it.for([
    { what: "an unknown field", objects: [deployment({ replicaz: 3 })], says: /'"replicaz"' does not exist/ },
    {
      what: "one deep within",
      objects: [deployment({ template: pod({ securityContext: { readOnlyRootFileSystem: true } }) })],
      says: /"readOnlyRootFileSystem"/,
    },
    { what: "one of KEDA", objects: [deployment(), scaled({ minReplicas: 1 })], says: /"minReplicas"/ },
    { what: "one of the operator", objects: [monitor({ prot: "http" })], says: /"prot"/ },
    { what: "a value of another type", objects: [deployment({ replicas: "3" })], says: /replicas/ },
    {
      what: "a missing field",
      objects: [deployment({ template: { spec: { containers: [{ image: "a" }] } } })],
      says: /name/,
    },
    { what: "an unknown kind", objects: [{ ...deployment(), kind: "Deploymint" }], says: /no schema of/ },
    {
      what: "a formula with a trigger that does not exist",
      objects: [deployment(), scaled(formula("unit * 100"))],
      says: /names unit, which is no trigger/,
    },
    { what: "a scaler of nothing", objects: [scaled()], says: /no Deployment worker/ },
    {
      what: "a scaler of what says how many it is itself",
      objects: [deployment({ replicas: 2 }), scaled()],
      says: /sets replicas itself/,
    },
  ])("refuses $what", ({ objects, says }) => {
    const answer = check(...objects);
    expect(answer.says).toMatch(says);
    expect(answer.status).toBe(1);
  });
});
