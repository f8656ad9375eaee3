import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { ALERTS } from "../../../monitoring/src/alerts.ts";
import { REPOSITORY } from "../../harness/drover.js";

const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  ...readdirSync(join(REPOSITORY, "docs"), { recursive: true, encoding: "utf8" }).map(
    (name) => `docs/${name}`,
  ),
].filter((name) => name.endsWith(".md"));

/** Every file that a document may name in short. */
const FILES = globSync("{packages/*/src,monitoring/src,tests,scripts,bench,demo}/**/*.*", {
  cwd: REPOSITORY,
  exclude: (path) => /(^|\/)(node_modules|dist|\.work)(\/|$)/.test(path),
});
/** Where identifiers are declared. */
const SOURCE = ["biome.json", ...FILES.filter((path) => /^(packages|monitoring)\/.*\.ts$/.test(path))]
  .map((path) => readFileSync(join(REPOSITORY, path), "utf8"))
  .join("\n");

/** What it is deployed with: names of fields may be those of manifests and units. */
const DEPLOYMENT = globSync("{docker-compose.yml,k8s/**/*.yaml,packaging/**/*.*}", { cwd: REPOSITORY })
  .map((path) => readFileSync(join(REPOSITORY, path), "utf8"))
  .join("\n");
const ALERT_NAMES = new Set<string>(ALERTS.map(({ name }) => name));

function read(document: string): string {
  return readFileSync(join(REPOSITORY, document), "utf8");
}

/** Prose and tables, without blocks of code. */
function proseOf(document: string): string {
  return read(document).replace(/^```.*?^```$/gms, "");
}

function codeSpans(document: string): string[] {
  return [...proseOf(document).matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span);
}

/** The anchors that GitHub gives the headings of a document. */
function anchorsOf(document: string): string[] {
  return [...proseOf(document).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

describe.each(DOCUMENTS)("%s", (document) => {
  it("names only paths that are there", () => {
    const named =
      read(document).match(/(?<![\w/.-])(packages|tests|scripts|bench|demo|monitoring)\/[\w./*-]*[\w*/]/g) ??
      [];
    const missing = named.filter((path) =>
      path.includes("*")
        ? globSync(path, { cwd: REPOSITORY }).length === 0
        : !existsSync(join(REPOSITORY, path)),
    );
    expect(missing).toEqual([]);
  });

  it("names only source files and identifiers that are there", () => {
    const spans = codeSpans(document);
    const files = spans.filter((span) => /^[\w./-]+\.(ts|mjs|sh)$/.test(span));
    const missing = files.filter((file) => !FILES.some((path) => `/${path}`.endsWith(`/${file}`)));
    const names = spans
      .filter((span) => /^[A-Za-z][a-z]+([A-Z][a-z]+)+(\(.*\))?$/.test(span))
      .map((span) => span.replace(/\(.*/, ""));
    const unknown = names.filter((name) => {
      if (ALERT_NAMES.has(name)) return false;
      const declared = /^[A-Z]/.test(name) ? "(class|interface|type|function|const) " : "";
      if (new RegExp(`\\b${name}\\b`).test(DEPLOYMENT)) return false;
      return !new RegExp(`\\b${declared}${name}\\b`).test(SOURCE);
    });
    expect([...missing, ...unknown]).toEqual([]);
  });

  it("links only to what is there", () => {
    const links = [...proseOf(document).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
    const broken = links
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path = "", anchor] = target.split("#");
        const file = path === "" ? document : join(dirname(document), path);
        if (!existsSync(resolve(REPOSITORY, file))) return true;
        return anchor !== undefined && !anchorsOf(file).includes(anchor);
      });
    expect(broken).toEqual([]);
  });
});

describe("docs/coming-from.md", () => {
  /** What the second column says in other words than "the same" are options of Drover, and "the same" means the first. */
  const rows = [...read("docs/coming-from.md").matchAll(/^\| (.*?) +\| (.*?) +\|$/gm)].filter(([, theirs]) =>
    theirs?.startsWith("`"),
  );
  const sources = [
    ...["options.ts", "transfer/run-options.ts", "transfer/sync.ts"],
    ...["fleet/worker.ts", "look/ls.ts", "look/cat.ts"],
  ]
    .map((name) => read(`packages/cli/src/commands/${name}`))
    .join("\n");
  const settings = read("packages/cli/src/settings/settings.ts");
  const isKnown = (flag: string) =>
    new RegExp(`"(-\\w, )?${flag}[ "]`).test(sources) ||
    new RegExp(`^  "?${flag.replace(/^--(no-)?/, "")}"?: setting\\(`, "m").test(settings);

  it("names only options that Drover has", () => {
    expect(rows.length).toBeGreaterThan(60);
    const named = rows.flatMap(
      ([, theirs = "", ours = ""]) =>
        `${ours.startsWith("the same") ? theirs : ""} ${ours}`.match(/(?<=[`\s])--[a-z][a-z0-9-]+/g) ?? [],
    );
    expect(named.length).toBeGreaterThan(60);
    expect([...new Set(named)].filter((flag) => !isKnown(flag))).toEqual([]);
  });
});
