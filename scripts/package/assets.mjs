import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** What the pages of the HTTP service and of the dashboard need, by its name in the bundle's `assets`. */
const FILES = {
  "swagger-ui.css": "node_modules/swagger-ui-dist/swagger-ui.css",
  "swagger-ui-bundle.js": "node_modules/swagger-ui-dist/swagger-ui-bundle.js",
  "swagger-ui-LICENSE": "node_modules/swagger-ui-dist/LICENSE",
  "redoc.standalone.js": "node_modules/redoc/bundles/redoc.standalone.js",
  "redoc-LICENSE": "node_modules/redoc/LICENSE",
  ...filesBelow("packages/dashboard/assets/dashboard", "dashboard"),
  ...filesBelow("node_modules/@bull-board/ui/dist", "bull-board/dist"),
};

function filesBelow(directory, name) {
  const paths = readdirSync(directory, { recursive: true }).filter((each) => !each.endsWith(".map"));
  const files = paths.filter((each) => statSync(join(directory, each)).isFile());
  return Object.fromEntries(files.map((each) => [join(name, each), join(directory, each)]));
}

/** Whatever a page would get from a host of its maker, or has inline: the pages' policies refuse it anyway. */
const TAKEN_OUT = {
  "redoc.standalone.js": [["https://cdn.redoc.ly/redoc/logo-mini.svg", "data:,"]],
  "bull-board/dist/index.ejs": [
    [/<link href="https:\/\/fonts\.googleapis\.com[^>]*>/, ""],
    [/(<div id="root">).*?(<\/div>\s*<script defer)/s, "$1$2"],
  ],
};

/** @throws Error where what is to be taken out is not there: a new version has it in another way, perhaps. */
function withoutHosts(name, bytes) {
  return (TAKEN_OUT[name] ?? []).reduce((text, [what, instead]) => {
    const without = typeof what === "string" ? text.replaceAll(what, instead) : text.replace(what, instead);
    if (without === text) throw new Error(`${name} has no ${what} any more`);
    return without;
  }, bytes.toString());
}

/** Adds the scripts and styles of pages to a bundle, so that they come from no other host. */
export const assets = {
  name: "assets",
  generateBundle() {
    for (const [name, path] of Object.entries(FILES)) {
      const bytes = readFileSync(path);
      const source = name in TAKEN_OUT ? withoutHosts(name, bytes) : bytes;
      this.emitFile({ type: "asset", fileName: `assets/${name}`, source });
    }
  },
};

/** Bull Board looks for its page by `eval`, unless it is told where that is, as the dashboard does. */
export const withoutEval = {
  name: "without-eval",
  transform(code, id) {
    if (!id.endsWith("/@bull-board/api/dist/index.js")) return undefined;
    const without = code.replace(/eval\(`require\.resolve\([^`]*`\)/, '""');
    if (without === code) throw new Error("Bull Board has no eval any more");
    return { code: without, map: null };
  },
};
