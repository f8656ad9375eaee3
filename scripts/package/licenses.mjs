import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Adds THIRD-PARTY-LICENSES to a bundle: the names, versions and licences of the packages whose code is in it. */
export const licenses = {
  name: "licenses",
  generateBundle(_options, bundle) {
    const directories = new Set();
    for (const { moduleIds = [] } of Object.values(bundle)) {
      for (const id of moduleIds) {
        const directory = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0];
        if (directory !== undefined) directories.add(directory);
      }
    }
    const source = [...directories]
      .sort()
      .map(notice)
      .join(`\n${"-".repeat(80)}\n\n`);
    this.emitFile({ type: "asset", fileName: "THIRD-PARTY-LICENSES", source });
  },
};

function notice(directory) {
  const { name, version, license } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const file = readdirSync(directory).find((each) => /^licen[cs]e/i.test(each));
  const text = file === undefined ? "" : `\n${readFileSync(join(directory, file), "utf8").trim()}\n`;
  return `${name} ${version} (${license})\n${text}`;
}
