/**
 * Checks rendered manifests: node scripts/k8s/check.mjs FILE... Each object is held against the published schema of its kind
 * (Kubernetes, KEDA, the Prometheus operator). That says nothing of fields it does not know, so the object is also compiled as a
 * literal of the published type, which refuses these. What objects say of each other is checked as well. Prints what is wrong
 * and exits with 1.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseAllDocuments } from "yaml";

const root = join(import.meta.dirname, "../..");
const PACKAGES = {
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};

/** Module that has the kind of an object, without the kind. */
function moduleOf({ apiVersion }) {
  const group = apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
  return `${PACKAGES[group] ?? "kubernetes-models"}/${apiVersion}`;
}

async function againstSchema(object, name) {
  const kinds = await import(moduleOf(object)).catch(() => ({}));
  const Kind = kinds[object.kind];
  if (Kind === undefined) return [`${name}: no schema of ${object.apiVersion} ${object.kind}`];
  try {
    new Kind(object).validate();
    return [];
  } catch (error) {
    return [`${name}: ${error.message}`];
  }
}

/** Compiles objects as literals of their types. @returns what the compiler says, with the object's name in place of the file's. */
function againstTypes(objects) {
  mkdirSync(join(root, "reports"), { recursive: true });
  const work = mkdtempSync(join(root, "reports/k8s-")); // within the checkout, where its packages are found
  try {
    for (const [at, { object }] of objects.entries()) {
      const type = `import("${moduleOf(object)}").I${object.kind}`;
      writeFileSync(
        join(work, `${at}.ts`),
        `export const object: ${type} = ${JSON.stringify(object, null, 2)};\n`,
      );
    }
    const compilerOptions = {
      noEmit: true,
      strict: true,
      module: "esnext",
      moduleResolution: "bundler",
      skipLibCheck: true,
      types: [],
    };
    writeFileSync(join(work, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
    execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", work, "--pretty", "false"], {
      cwd: work,
      encoding: "utf8",
    });
    return [];
  } catch (error) {
    if (!error.stdout) throw error;
    return error.stdout
      .trim()
      .split("\n")
      .map((line) =>
        line.replace(
          /^(\d+)\.ts\((\d+),\d+\): error TS\d+/,
          (_, at, line) => `${objects[at].name}: line ${line} as JSON`,
        ),
      );
  } finally {
    rmSync(work, { recursive: true });
  }
}

const podSpecOf = (object) =>
  (object.kind === "CronJob" ? object.spec.jobTemplate : object).spec?.template?.spec;

/** What objects of one rendering say of each other, and of themselves beyond their schemas. */
function relations(objects) {
  const wrong = [];
  const has = (kind, name) =>
    objects.some(({ object }) => object.kind === kind && object.metadata.name === name);
  const labels = objects.flatMap(({ object }) => object.spec?.template?.metadata?.labels ?? []);
  const selects = (selector) =>
    labels.some((each) => Object.entries(selector ?? {}).every(([key, value]) => each[key] === value));
  for (const { name, object } of objects) {
    const say = (what) => wrong.push(`${name}: ${what}`);
    const { spec } = object;
    const pod = podSpecOf(object);
    for (const { configMap, persistentVolumeClaim } of pod?.volumes ?? []) {
      if (configMap && !has("ConfigMap", configMap.name)) say(`no ConfigMap ${configMap.name}`);
      const claim = persistentVolumeClaim?.claimName;
      if (claim && !has("PersistentVolumeClaim", claim)) say(`no PersistentVolumeClaim ${claim}`);
    }
    if (pod?.serviceAccountName && !has("ServiceAccount", pod.serviceAccountName))
      say("no such ServiceAccount");
    for (const { configMapRef } of pod?.containers.flatMap((each) => each.envFrom ?? []) ?? [])
      if (configMapRef && !has("ConfigMap", configMapRef.name)) say(`no ConfigMap ${configMapRef.name}`);
    if (object.kind === "Service" && !selects(spec.selector)) say("its selector selects nothing");
    if (object.kind === "PodDisruptionBudget" && !selects(spec.selector.matchLabels))
      say("its selector selects nothing");
    if (object.kind === "ScaledObject" || object.kind === "HorizontalPodAutoscaler") {
      const { kind = "Deployment", name: target } = spec.scaleTargetRef;
      const scaled = objects.find(({ object: each }) => each.kind === kind && each.metadata.name === target);
      if (!scaled) say(`no ${kind} ${target}`);
      else if (scaled.object.spec.replicas !== undefined) say(`${kind} ${target} sets replicas itself`);
    }
    if (object.kind === "ScaledObject") {
      const names = spec.triggers.map((trigger) => trigger.name);
      const formula = spec.advanced?.scalingModifiers?.formula ?? "";
      // Names of the language of formulas, expr, that are followed by a parenthesis are its functions.
      for (const word of formula.match(/\b[a-zA-Z_]\w*\b(?!\s*\()/g) ?? [])
        if (!names.includes(word)) say(`its formula names ${word}, which is no trigger of it`);
      for (const { authenticationRef } of spec.triggers)
        if (authenticationRef && !has("TriggerAuthentication", authenticationRef.name))
          say("no such TriggerAuthentication");
    }
  }
  return wrong;
}

const wrong = [];
let count = 0;
for (const file of process.argv.slice(2)) {
  const objects = parseAllDocuments(readFileSync(file, "utf8"))
    .map((document) => document.toJS())
    .filter((object) => object)
    .map((object) => ({ object, name: `${basename(file)}: ${object.kind} ${object.metadata?.name}` }));
  count += objects.length;
  const unknown = [];
  for (const { object, name } of objects) unknown.push(...(await againstSchema(object, name)));
  wrong.push(...unknown, ...againstTypes(objects), ...relations(objects));
}
for (const each of wrong) console.error(each);
console.log(`${count} objects, ${wrong.length} errors`);
process.exit(wrong.length > 0 || count === 0 ? 1 : 0);
