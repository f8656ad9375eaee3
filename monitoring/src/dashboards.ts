import { FLEET_ROWS, HOST_ROWS, type Panel, type Query, type Row, RUN_ROWS } from "./panels.ts";

/** Grafana's dashboards, as their JSON model has them. */

/** Version of the model that this is written for; newer Grafanas bring it up to theirs. */
const SCHEMA_VERSION = 39;
/** Grafana's grid has this many columns. */
const COLUMNS = 24;
const SIZES = { number: { w: 3, h: 4 }, graph: { w: 8, h: 8 } } as const;

/** As chosen at the top of a dashboard. */
const DATASOURCE = { type: "prometheus", uid: "$datasource" };

interface Made {
  uid: string;
  title: string;
  description: string;
  rows: Row[];
  /** What is told of one thing alone is not in metrics: it is asked for by name. */
  variables?: Variable[];
  links?: { title: string; url: string }[];
}

interface Variable {
  name: string;
  label: string;
  value: string;
}

const DROVER: Variable = { name: "drover", label: "Drover's address", value: "http://localhost:8888" };

export const DASHBOARDS: Record<"fleet" | "run" | "host", object> = {
  fleet: dashboard({
    uid: "drover-fleet",
    title: "Drover: fleet",
    description: "What the whole fleet does.",
    rows: FLEET_ROWS,
  }),
  run: dashboard({
    uid: "drover-run",
    title: "Drover: runs",
    description:
      "How runs and their files go, all together: metrics have no label for a run. One run is behind the link, by its id.",
    rows: RUN_ROWS,
    variables: [DROVER, { name: "run", label: "Run", value: "latest" }],
    links: [
      { title: "This run", url: "$drover/api/v1/runs/$run" },
      { title: "Its failures", url: "$drover/api/v1/runs/$run/files?outcome=failed" },
    ],
  }),
  host: dashboard({
    uid: "drover-host",
    title: "Drover: hosts",
    description:
      "Breakers, limits and what hosts do wrong, all together: metrics have no label for a host. Single hosts are behind the links.",
    rows: HOST_ROWS,
    variables: [DROVER, { name: "host", label: "Host", value: "example.com:443" }],
    links: [
      { title: "All hosts", url: "$drover/api/v1/hosts" },
      { title: "Failures of this host", url: "$drover/api/v1/failures?host=$host" },
    ],
  }),
};

function dashboard({ uid, title, description, rows, variables = [], links = [] }: Made): object {
  return {
    uid,
    title,
    description,
    tags: ["drover"],
    schemaVersion: SCHEMA_VERSION,
    version: 1,
    editable: false,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-3h", to: "now" },
    timezone: "browser",
    templating: {
      list: [
        {
          name: "datasource",
          label: "Data source",
          type: "datasource",
          query: "prometheus",
          current: {},
          hide: 0,
        },
        ...variables.map(({ name, label, value }) => ({
          name,
          label,
          type: "textbox",
          query: value,
          current: { text: value, value },
          hide: 0,
        })),
      ],
    },
    annotations: { list: [] },
    links: [
      {
        title: "Drover",
        type: "dashboards",
        tags: ["drover"],
        asDropdown: true,
        includeVars: false,
        keepTime: true,
        targetBlank: false,
      },
      ...links.map((link) => ({
        ...link,
        type: "link",
        targetBlank: true,
        includeVars: false,
        keepTime: false,
      })),
    ],
    panels: placed(rows),
  };
}

/** Gives the rows and panels their places, from left to right and from top to bottom. */
function placed(rows: Row[]): object[] {
  const all: object[] = [];
  let y = 0;
  for (const row of rows) {
    all.push({
      id: all.length + 1,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    let height = 0;
    for (const panel of row.panels) {
      const { w, h } = SIZES[panel.kind];
      // Panels of another height begin a new line.
      if (x + w > COLUMNS || (height !== 0 && h !== height)) {
        x = 0;
        y += height;
      }
      height = h;
      all.push(grafanaPanel(panel, all.length + 1, { x, y, w, h }));
      x += w;
    }
    y += height;
  }
  return all;
}

function grafanaPanel(panel: Panel, id: number, gridPos: object): object {
  const { title, unit, queries, kind, badFrom } = panel;
  const empty = queries.flatMap(({ legend, emptyWhen }) =>
    emptyWhen === undefined ? [] : [`${legend}: no data where ${emptyWhen}.`],
  );
  const steps = [
    { color: "green", value: null },
    ...(badFrom === undefined ? [] : [{ color: "red", value: badFrom }]),
  ];
  return {
    id,
    type: kind === "number" ? "stat" : "timeseries",
    title,
    ...(empty.length === 0 ? {} : { description: empty.join("\n\n") }),
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: { defaults: { unit, thresholds: { mode: "absolute", steps } }, overrides: [] },
    options:
      kind === "number"
        ? {
            reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
            colorMode: badFrom === undefined ? "none" : "value",
            graphMode: "area",
            textMode: "value",
          }
        : {
            legend: { displayMode: "list", placement: "bottom", showLegend: true, calcs: [] },
            tooltip: { mode: "multi", sort: "desc" },
          },
    targets: queries.map((query, at) => target(query, at)),
  };
}

function target({ expression, legend }: Query, at: number): object {
  return {
    refId: String.fromCharCode("A".charCodeAt(0) + at),
    datasource: DATASOURCE,
    expr: expression,
    legendFormat: legend,
    editorMode: "code",
    range: true,
  };
}
