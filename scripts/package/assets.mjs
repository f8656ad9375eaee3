import { readFileSync } from "node:fs";

/** What the pages of the HTTP service need, by its name in the bundle's `assets`. */
const FILES = {
  "swagger-ui.css": "node_modules/swagger-ui-dist/swagger-ui.css",
  "swagger-ui-bundle.js": "node_modules/swagger-ui-dist/swagger-ui-bundle.js",
  "swagger-ui-LICENSE": "node_modules/swagger-ui-dist/LICENSE",
  "redoc.standalone.js": "node_modules/redoc/bundles/redoc.standalone.js",
  "redoc-LICENSE": "node_modules/redoc/LICENSE",
};

/** ReDoc's one picture comes from a host of its maker; the page's policy refuses it anyway. */
function withoutHosts(bytes) {
  const text = bytes.toString();
  return text.replaceAll("https://cdn.redoc.ly/redoc/logo-mini.svg", "data:,");
}

/** Adds the scripts and styles of the HTTP service's pages to a bundle, so that they come from no other host. */
export const assets = {
  name: "assets",
  generateBundle() {
    for (const [name, path] of Object.entries(FILES))
      this.emitFile({ type: "asset", fileName: `assets/${name}`, source: withoutHosts(readFileSync(path)) });
  },
};
