import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as names from "@drover/shared/metrics/names";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { ALERTS } from "../../../monitoring/src/alerts.ts";
import { CASES } from "../../../monitoring/src/cases.ts";
import { generatedFiles } from "../../../monitoring/src/files.ts";
import { series } from "../../../monitoring/src/promql.ts";
import { RECORDINGS } from "../../../monitoring/src/recording.ts";
import { REPOSITORY } from "../../harness/drover.js";

const MONITORING = join(REPOSITORY, "monitoring");
const FILES = generatedFiles();

interface Metric {
  name: string;
  labels?: readonly string[];
  buckets?: readonly number[];
}

const isMetric = (value: object): value is Metric => "name" in value && typeof value.name === "string";
/** Every metric that Drover tells, with its labels. */
const METRICS: Metric[] = Object.values<object>(names).flatMap((value) =>
  isMetric(value) ? [value] : Object.values<Metric>(value as Record<string, Metric>),
);
const LABELS = new Map<string, readonly string[]>(
  METRICS.flatMap(({ name, labels = [], buckets }): [string, readonly string[]][] =>
    buckets === undefined
      ? [[name, labels]]
      : [
          [`${name}_bucket`, [...labels, "le"]],
          [`${name}_sum`, labels],
          [`${name}_count`, labels],
        ],
  ),
);
for (const { record } of RECORDINGS) LABELS.set(record, []);
LABELS.set("up", []);

/** Every expression in the files that are generated, by where it is. */
const EXPRESSIONS: [where: string, expression: string][] = [...FILES].flatMap(([path, text]) =>
  expressionsIn(path.endsWith(".json") ? JSON.parse(text) : parse(text)).map(
    (expression): [string, string] => [path, expression],
  ),
);

function expressionsIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) =>
    key === "expr" ? [each as string] : expressionsIn(each),
  );
}

/** Names of metrics in an expression, and the labels that are asked of them. */
function selectorsIn(expression: string): { name: string; labels: string[] }[] {
  const selectors = expression.matchAll(/\b((?:drover[_:][\w:]*)|up)\b(?:\{([^}]*)\})?/g);
  return [...selectors].map(([, name = "", matchers = ""]) => ({
    name,
    labels: [...matchers.matchAll(/(\w+)(?==)/g)].map(([, label = ""]) => label),
  }));
}

describe("what is generated", () => {
  it("is what is checked in, and nothing else is there", () => {
    const differ = [...FILES].filter(([path, text]) => {
      const file = join(MONITORING, path);
      return !existsSync(file) || readFileSync(file, "utf8") !== text;
    });
    expect(
      differ.map(([path]) => path),
      "npm run build && npm run generate:monitoring makes them",
    ).toEqual([]);
    const there = globSync("{prometheus,alertmanager,grafana}/**/*.{yml,yaml,json}", { cwd: MONITORING });
    const others = there.filter((path) => !FILES.has(path) && path !== "prometheus/prometheus.yml");
    expect(others).toEqual([]);
  });

  it("asks only for metrics that Drover tells, with their labels", () => {
    expect(EXPRESSIONS.length).toBeGreaterThan(100);
    for (const [where, expression] of EXPRESSIONS) {
      const selectors = selectorsIn(expression);
      expect(selectors, `${where}: ${expression}`).not.toEqual([]);
      for (const { name, labels } of selectors) {
        const known = LABELS.get(name);
        expect(known, `${where}: ${name}`).toBeDefined();
        for (const label of labels) expect([...(known ?? []), "job", "instance"]).toContain(label);
      }
    }
  });

  it("never sums what each server tells of the whole fleet", () => {
    const once =
      /(max|min)( by \(\w+\))? \($|(max|min)\($|absent\($|max by \(\w+\) \($|min\(min_over_time\($/;
    const shared = new Set<string>(Object.values(names.FLEET_METRICS).map(({ name }) => name));
    for (const [where, expression] of EXPRESSIONS)
      for (const { index, 0: name } of expression.matchAll(/\bdrover_\w+/g))
        if (shared.has(name)) expect(expression.slice(0, index), `${where}: ${expression}`).toMatch(once);
  });

  it("uses every metric somewhere, or says why not", () => {
    const used = new Set(
      EXPRESSIONS.flatMap(([, expression]) => selectorsIn(expression)).map((each) => each.name),
    );
    const unused = METRICS.filter(
      ({ name }) => !["", "_bucket", "_sum", "_count"].some((suffix) => used.has(name + suffix)),
    );
    expect(unused.map(({ name }) => name)).toEqual([]);
  });

  it("refuses a label that a metric does not have", () => {
    expect(() => series(names.FLEET_METRICS.workers, { host: "x" })).toThrow("no label host");
  });
});

describe("docs/monitoring.md", () => {
  const text = readFileSync(join(REPOSITORY, "docs/monitoring.md"), "utf8");
  const between = (name: string) => {
    const [, part = ""] = new RegExp(`<!-- ${name}: .* -->\\n([^]*)<!-- ${name} end -->`).exec(text) ?? [];
    return part.trim();
  };

  it("has every alert", () => {
    const rows = ALERTS.map(
      ({ name, runbook, severity, for: time, summary }) =>
        `| [${name}](runbooks/${runbook}.md) | ${severity} | ${time} | ${summary} |`,
    );
    const head = [
      "| Alert | Severity | After | What it says |",
      "| ----- | -------- | ----- | ------------ |",
    ];
    expect(between("alerts")).toBe([...head, ...rows].join("\n"));
  });

  it("has every metric", () => {
    const process = new Set<string>(Object.values(names.PROCESS_METRICS).map(({ name }) => name));
    const rows = (METRICS as (Metric & { help: string })[])
      .filter(({ name }) => !process.has(name))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, labels = [], buckets, help }) => {
        const kind = buckets === undefined ? (name.endsWith("_total") ? "counter" : "gauge") : "histogram";
        const all = labels.map((label) => `\`${label}\``).join(", ");
        return `| \`${name}\` | ${kind} | ${all} | ${help} |`;
      });
    const head = ["| Metric | Kind | Labels | What it says |", "| ------ | ---- | ------ | ------------ |"];
    expect(between("metrics")).toBe([...head, ...rows].join("\n"));
  });
});

describe("alerts", () => {
  it("have names and identifiers of their own, that Grafana takes", () => {
    const all = ALERTS.map(({ name }) => name);
    expect(new Set(all).size).toBe(all.length);
    for (const name of all) expect(name).toMatch(/^Drover([A-Z][a-z]+)+$/);
  });

  it.each(ALERTS.map((alert) => [alert.name, alert] as const))(
    "%s has a case in which it fires, one in which it does not, and one with missing series",
    (name) => {
      const { fires, quiet, missing } = CASES[name];
      expect(fires.length).toBeGreaterThan(0);
      expect(quiet.length).toBeGreaterThan(0);
      expect(missing.length).toBeGreaterThan(0);
      for (const { firing = [], series: given } of fires) {
        expect(firing.length).toBeGreaterThan(0);
        expect(given.length).toBeGreaterThan(0);
      }
      for (const { firing = [], series: given } of quiet) {
        expect(firing).toEqual([]);
        expect(given.length).toBeGreaterThan(0);
      }
      expect(missing.some(({ series: given }) => given.length === 0 || given.length < 2)).toBe(true);
      const { tests } = parse(FILES.get("prometheus/tests/alerts.yml") as string) as {
        tests: { name: string }[];
      };
      for (const what of ["fires", "does not fire", "meets missing series"])
        expect(tests.some((test) => test.name.startsWith(`${name} ${what}: `))).toBe(true);
    },
  );

  it.each(ALERTS.map((alert) => [alert.name, alert] as const))("%s has a runbook", (name, alert) => {
    const path = join(REPOSITORY, `docs/runbooks/${alert.runbook}.md`);
    expect(existsSync(path), path).toBe(true);
    const text = readFileSync(path, "utf8");
    expect(text).toContain(`\`${name}\``);
    for (const heading of ["What it means", "Look", "Do", "When it is no fault"])
      expect(text, path).toContain(`\n## ${heading}\n`);
  });

  it("are what runbooks are for: there is none without an alert", () => {
    const needed = new Set(ALERTS.map(({ runbook }) => `${runbook}.md`));
    const there = globSync("*.md", { cwd: join(REPOSITORY, "docs/runbooks") });
    expect(there.filter((name) => !needed.has(name))).toEqual([]);
  });

  it("are silenced only by what fires sooner, and by Redis being away all of them", () => {
    for (const { name, silencedBy, for: time } of ALERTS) {
      if (name !== "DroverRedisDown") expect(silencedBy).toContain("DroverRedisDown");
      expect(silencedBy).not.toContain(name);
      for (const silencer of silencedBy) {
        const other = ALERTS.find((each) => each.name === silencer);
        expect(other, silencer).toBeDefined();
        expect(secondsOf(other?.for ?? "")).toBeLessThan(secondsOf(time));
      }
    }
  });
});

function secondsOf(time: string): number {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(time) ?? [];
  return Number(count) * ({ s: 1, m: 60, h: 3_600, d: 86_400 }[unit ?? ""] ?? Number.NaN);
}

/** As Grafana's documentation of its provisioning has them; what is not known there is refused here. */
const duration = z.string().regex(/^\d+[smhd]$/);
const queryModel = z.strictObject({
  refId: z.string(),
  expr: z.string(),
  instant: z.literal(true),
  range: z.literal(false),
});
const expressionModel = z.strictObject({
  refId: z.string(),
  datasource: z.strictObject({ type: z.literal("__expr__"), uid: z.literal("__expr__") }),
  type: z.enum(["reduce", "math"]),
  expression: z.string(),
  reducer: z.literal("last").optional(),
});
const ruleSchema = z.strictObject({
  uid: z.string().regex(/^[\w-]{1,40}$/),
  title: z.string().max(190),
  condition: z.string(),
  data: z.array(
    z.strictObject({
      refId: z.string(),
      relativeTimeRange: z.strictObject({ from: z.int().min(0), to: z.literal(0) }),
      datasourceUid: z.string(),
      model: z.union([queryModel, expressionModel]),
    }),
  ),
  for: duration,
  noDataState: z.enum(["OK", "NoData", "Alerting", "KeepLast"]),
  execErrState: z.enum(["OK", "Error", "Alerting", "KeepLast"]),
  labels: z.record(z.string(), z.string()),
  annotations: z.record(z.string(), z.string()),
  isPaused: z.boolean(),
});
const read = <T>(path: string, schema: z.ZodType<T>): T => schema.parse(parse(FILES.get(path) as string));

describe("what Grafana provisions", () => {
  const { datasources } = read(
    "grafana/provisioning/datasources/drover.yml",
    z.strictObject({
      apiVersion: z.literal(1),
      datasources: z.array(
        z.strictObject({
          name: z.string(),
          type: z.literal("prometheus"),
          uid: z.string(),
          access: z.literal("proxy"),
          url: z.url(),
          isDefault: z.boolean(),
          jsonData: z.strictObject({ timeInterval: duration, httpMethod: z.literal("POST") }),
        }),
      ),
    }),
  );
  const { groups } = read(
    "grafana/provisioning/alerting/rules.yml",
    z.strictObject({
      apiVersion: z.literal(1),
      groups: z.array(
        z.strictObject({
          orgId: z.literal(1),
          name: z.string(),
          folder: z.string(),
          interval: duration,
          rules: z.array(ruleSchema),
        }),
      ),
    }),
  );
  const { contactPoints } = read(
    "grafana/provisioning/alerting/contact-points.yml",
    z.strictObject({
      apiVersion: z.literal(1),
      contactPoints: z.array(
        z.strictObject({
          orgId: z.literal(1),
          name: z.string(),
          receivers: z.array(
            z.strictObject({
              uid: z.string().regex(/^[\w-]{1,40}$/),
              type: z.literal("webhook"),
              settings: z.strictObject({ url: z.url(), httpMethod: z.literal("POST") }),
            }),
          ),
        }),
      ),
    }),
  );
  const { policies } = read(
    "grafana/provisioning/alerting/policies.yml",
    z.strictObject({
      apiVersion: z.literal(1),
      policies: z.array(
        z.strictObject({
          orgId: z.literal(1),
          receiver: z.string(),
          group_by: z.array(z.string()),
          group_wait: duration,
          group_interval: duration,
          repeat_interval: duration,
          routes: z.array(
            z.strictObject({
              receiver: z.string(),
              object_matchers: z.array(z.tuple([z.string(), z.enum(["=", "!=", "=~", "!~"]), z.string()])),
            }),
          ),
        }),
      ),
    }),
  );

  it("has a rule for each alert, with parts that refer to each other", () => {
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.map(({ title }) => title)).toEqual(ALERTS.map(({ name }) => name));
    expect(new Set(rules.map(({ uid }) => uid)).size).toBe(rules.length);
    for (const { condition, data, annotations, labels } of rules) {
      expect(data.map(({ refId }) => refId)).toContain(condition);
      for (const [at, { refId, datasourceUid, model }] of data.entries()) {
        expect(model.refId).toBe(refId);
        expect([datasources[0]?.uid, "__expr__"]).toContain(datasourceUid);
        if (!("expression" in model)) continue;
        expect(model.expression).toContain(data[at - 1]?.refId);
      }
      expect(annotations.runbook_url).toMatch(/^https:\/\/.*\/runbooks\/[a-z-]+\.md$/);
      expect(["page", "ticket"]).toContain(labels.severity);
      // Grafana puts its environment into labels.
      expect(JSON.stringify(labels)).not.toContain("$");
    }
  });

  it("guards each rule by what silences it", () => {
    for (const { title, data } of groups.flatMap((group) => group.rules)) {
      const alert = ALERTS.find(({ name }) => name === title);
      const [query] = data;
      const expression = query && "expr" in query.model ? query.model.expr : "";
      expect(expression.split(" unless on () (").length - 1).toBe(alert?.silencedBy.length);
    }
  });

  it("tells contact points that are there", () => {
    const there = contactPoints.map(({ name }) => name);
    const told = policies.flatMap(({ receiver, routes }) => [
      receiver,
      ...routes.map((route) => route.receiver),
    ]);
    expect(there).toEqual(expect.arrayContaining(told));
    const all = [...FILES]
      .filter(([path]) => /grafana\/provisioning.*(points|policies|drover)/.test(path))
      .map(([, text]) => text);
    expect(all.join("")).not.toMatch(/\$[A-Z{]/);
  });
});

const panelSchema = z.strictObject({
  id: z.int().min(1),
  type: z.enum(["stat", "timeseries", "row"]),
  title: z.string().min(1),
  description: z.string().optional(),
  collapsed: z.literal(false).optional(),
  panels: z.tuple([]).optional(),
  datasource: z.strictObject({ type: z.literal("prometheus"), uid: z.literal("$datasource") }).optional(),
  gridPos: z.strictObject({ x: z.int(), y: z.int(), w: z.int(), h: z.int() }),
  fieldConfig: z
    .strictObject({
      defaults: z.strictObject({
        unit: z.enum(["none", "ops", "Bps", "bytes", "s", "percentunit", "reqps", "bool_yes_no"]),
        thresholds: z.strictObject({
          mode: z.literal("absolute"),
          steps: z.array(z.strictObject({ color: z.string(), value: z.number().nullable() })),
        }),
      }),
      overrides: z.tuple([]),
    })
    .optional(),
  options: z.record(z.string(), z.unknown()).optional(),
  targets: z
    .array(
      z.strictObject({
        refId: z.string().regex(/^[A-Z]$/),
        datasource: z.strictObject({ type: z.literal("prometheus"), uid: z.literal("$datasource") }),
        expr: z.string(),
        legendFormat: z.string().min(1),
        editorMode: z.literal("code"),
        range: z.literal(true),
      }),
    )
    .optional(),
});
const dashboardSchema = z.object({
  uid: z.string().regex(/^[\w-]{1,40}$/),
  title: z.string().min(1),
  schemaVersion: z.int(),
  templating: z.object({
    list: z.array(z.object({ name: z.string(), type: z.enum(["datasource", "textbox"]) })),
  }),
  links: z.array(z.object({ type: z.enum(["link", "dashboards"]), url: z.string().optional() })),
  panels: z.array(panelSchema),
});

describe.each(["fleet", "run", "host"])("the dashboard %s", (name) => {
  const text = FILES.get(`grafana/dashboards/${name}.json`) as string;
  const { panels, templating } = dashboardSchema.parse(JSON.parse(text));

  it("has panels that do not lie upon each other", () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { gridPos, title } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), `${title} at ${x},${y}`).toBe(false);
          taken.add(`${x},${y}`);
        }
    }
  });

  it("has titles of their own, and queries in each panel", () => {
    for (const panel of panels.filter(({ type }) => type !== "row")) {
      expect(panel.targets?.length, panel.title).toBeGreaterThan(0);
      const ids = panel.targets?.map(({ refId }) => refId);
      expect(new Set(ids).size).toBe(ids?.length);
    }
  });

  it("uses only variables that it has", () => {
    const known = [...templating.list.map((each) => each.name), "__rate_interval"];
    const used = [...text.matchAll(/\$(\w+)/g)].map(([, each = ""]) => each);
    expect(used.filter((each) => !known.includes(each))).toEqual([]);
  });
});
