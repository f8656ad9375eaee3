import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { it, type TestRedis } from "../../harness/redis.js";

const run = promisify(execFile);
/** Where npm asks if it asks anybody: nobody listens there. */
const NO_REGISTRY = "http://127.0.0.1:9/";

let directory = "";
let tarball = "";
/** The installed command. */
let drover = "";
/** All that a process here has: the Node of this test first, so that npm and the launcher find it. */
let bare: Record<string, string> = {};

const urlOf = ({ address }: TestRedis) => ("url" in address ? address.url : `unix://${address.socketPath}`);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "drover-package-"));
  const [home, prefix] = [join(directory, "home"), join(directory, "prefix")];
  mkdirSync(home);
  bare = {
    HOME: home,
    PATH: `${dirname(process.execPath)}:/usr/bin:/bin:/usr/sbin`,
    DROVER_EMBEDDED_IDLE_MS: "1",
  };
  const made = await run(join(REPOSITORY, "scripts/package.sh"), [
    relative(REPOSITORY, join(directory, "made")),
  ]);
  expect(made.stdout).toMatch(/^\/.*\.tgz\n$/); // npm takes dist/name.tgz for a repository of GitHub
  const [name = ""] = readdirSync(join(directory, "made")).filter((each) => each.endsWith(".tgz"));
  tarball = join(directory, "made", name);
  await npm(["install", "--global", "--prefix", prefix, tarball], directory);
  drover = join(prefix, "bin/drover");
});

afterAll(() => rmSync(directory, { recursive: true }));

async function npm(args: string[], cwd: string) {
  return run("npm", [...args, "--registry", NO_REGISTRY, "--no-audit", "--no-fund"], { cwd, env: bare });
}

/** An empty directory of its own. */
function empty(name: string): string {
  const made = join(directory, name);
  mkdirSync(made);
  return made;
}

describe("the package", () => {
  it("is one small file, which depends on nothing", () => {
    expect(tarball).toMatch(/drover-\d+\.\d+\.\d+\.tgz$/);
    expect(statSync(tarball).size).toBeLessThan(5_000_000);
    const manifest = JSON.parse(readFileSync(join(directory, "made/package/package.json"), "utf8"));
    expect(manifest).toMatchObject({ name: "drover", license: "MIT", engines: { node: ">=22.22" } });
    expect(manifest.dependencies).toBeUndefined();
    const notices = readFileSync(join(directory, "made/package/dist/THIRD-PARTY-LICENSES"), "utf8");
    for (const name of ["bullmq", "ioredis", "zod", "undici", "commander"])
      expect(notices).toMatch(new RegExp(`^${name} [\\d.]+ \\(MIT\\)$`, "m"));
  });

  it("gives a command that tells its version and copies with a Redis of its own", async () => {
    const cwd = empty("copies");
    writeFileSync(join(cwd, "a"), "content");
    const { version } = JSON.parse(readFileSync(join(REPOSITORY, "packages/cli/package.json"), "utf8"));
    expect((await run(drover, ["--version"], { cwd, env: bare })).stdout).toBe(`${version}\n`);
    await run(drover, ["cp", "a", "b"], { cwd, env: bare });
    expect(readFileSync(join(cwd, "b"), "utf8")).toBe("content");
  });

  it("gives a worker that carries a fleet's run", async ({ server }) => {
    const cwd = empty("fleet");
    mkdirSync(join(cwd, "in"));
    mkdirSync(join(cwd, "out"));
    for (const name of ["a", "b"]) writeFileSync(join(cwd, "in", name), name);
    const env = { ...bare, REDIS_URL: urlOf(server) };
    const worker = spawn(drover, ["worker", "--root", join(cwd, "out")], {
      cwd,
      env,
      stdio: ["ignore", "ignore", "inherit"],
    });
    try {
      const { stdout } = await run(drover, ["sync", "in", "--to", "out", "--json"], { cwd, env });
      expect(JSON.parse(stdout).map(({ outcome }: { outcome: string }) => outcome)).toEqual([
        "copied",
        "copied",
      ]);
      expect(readdirSync(join(cwd, "out")).sort()).toEqual(["a", "b"]);
    } finally {
      worker.kill("SIGTERM");
      await once(worker, "exit");
    }
  });

  it("has the manual, which npm puts where man looks, and the completions", () => {
    const manual = join(directory, "prefix/share/man/man1");
    expect(readdirSync(manual)).toEqual(expect.arrayContaining(["drover.1", "drover-sync.1"]));
    expect(readFileSync(join(manual, "drover-sync.1"), "utf8")).toMatch(/^\.TH DROVER\\-SYNC 1 /);
    const completions = readdirSync(join(directory, "prefix/lib/node_modules/drover/completions"));
    expect(completions.sort()).toEqual(["_drover", "drover.bash", "drover.fish"]);
  });

  it("holds all that the command loads while it runs: threads, and the keeper of its own Redis", () => {
    const installed = readdirSync(join(directory, "prefix/lib/node_modules/drover/dist"));
    expect(installed).toEqual(expect.arrayContaining(readdirSync(join(REPOSITORY, "packages/cli/bundle"))));
  });

  it("says that Node is too old where it is", async () => {
    const old = empty("old");
    // Only what the launcher and the first module look at: the version.
    const preload = join(old, "old.cjs");
    writeFileSync(preload, 'Object.defineProperty(process.versions, "node", { value: "20.20.2" });');
    const env = { ...bare, NODE_OPTIONS: `--require=${preload}` };
    const failed = await run(drover, ["--version"], { cwd: old, env }).catch((error) => error);
    expect(failed).toMatchObject({ code: 2, stdout: "" });
    expect(failed.stderr).toMatch(/^drover: needs Node 22\.22 or newer, but \/\S+ is v\S+\n$/);
  });

  it("says that there is no Node where there is none", async () => {
    const cwd = empty("without");
    for (const name of ["sh", "readlink"]) symlinkSync(`/bin/${name}`, join(cwd, name));
    const failed = await run(drover, ["--version"], { cwd, env: { PATH: cwd } }).catch((error) => error);
    expect(failed).toMatchObject({
      code: 2,
      stderr: "drover: no node on the PATH: install Node 22.22 or newer\n",
    });
  });
});

describe("the library of the package", () => {
  it("runs the programs of the document", async ({ server }) => {
    const cwd = empty("library");
    writeFileSync(join(cwd, "package.json"), "{}");
    await npm(["install", tarball], cwd);
    expect(readdirSync(join(cwd, "node_modules")).filter((name) => !name.startsWith("."))).toEqual([
      "drover",
    ]);
    mkdirSync(join(cwd, "in"));
    writeFileSync(join(cwd, "in/a.csv"), "first");
    const document = readFileSync(join(REPOSITORY, "docs/library.md"), "utf8");
    const programs = [...document.matchAll(/^```js file=(\S+)\n(.*?)^```$/gms)];
    expect(programs.map(([, name]) => name)).toEqual(["sync.mjs", "fleet.mjs", "client.mjs"]);
    for (const [, name = "", text = ""] of programs) {
      writeFileSync(join(cwd, name), text);
      if (name === "client.mjs") continue; // it needs a service, see below
      const env = { ...bare, REDIS_URL: urlOf(server) };
      const { stdout } = await run(process.execPath, [name, "in", `out-${name}`, "state"], { cwd, env });
      expect(JSON.parse(stdout.trimEnd().split("\n").pop() ?? "").counts).toMatchObject({
        files: 1,
        copied: 1,
      });
      expect(readFileSync(join(cwd, `out-${name}`, "a.csv"), "utf8")).toBe("first");
    }
  });

  it("speaks to the service of the package", async () => {
    const cwd = empty("client");
    writeFileSync(join(cwd, "package.json"), "{}");
    await npm(["install", tarball], cwd);
    mkdirSync(join(cwd, "in"));
    writeFileSync(join(cwd, "in/a.csv"), "first");
    const document = readFileSync(join(REPOSITORY, "docs/library.md"), "utf8");
    const [, text = ""] = /^```js file=client\.mjs\n(.*?)^```$/ms.exec(document) ?? [];
    writeFileSync(join(cwd, "client.mjs"), text);
    const service = spawn(
      process.execPath,
      [join(cwd, "node_modules/drover/dist/main.js"), "serve", "--port", "0", "--root", cwd],
      {
        cwd,
        env: { ...bare, ENABLE_PERIODIC_SYNC: "false" },
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    try {
      const port = await new Promise<string>((resolve, reject) => {
        let log = "";
        service.once("exit", () => reject(new Error(log)));
        service.stdout.on("data", (chunk: Buffer) => {
          log += chunk;
          const ready = /"port":(\d+).*"service ready"/.exec(log);
          if (ready) resolve(ready[1] as string);
        });
      });
      const args = ["client.mjs", join(cwd, "in"), join(cwd, "out"), `http://127.0.0.1:${port}`];
      const { stdout } = await run(process.execPath, args, { cwd, env: bare });
      expect(JSON.parse(stdout.trimEnd().split("\n").pop() ?? "")).toEqual({
        state: "done",
        files: 1,
        copied: 1,
      });
      expect(readFileSync(join(cwd, "out/a.csv"), "utf8")).toBe("first");
      const page = await fetch(`http://127.0.0.1:${port}/docs/assets/swagger-ui-bundle.js`);
      expect(page.status).toBe(200);
    } finally {
      service.kill();
      await once(service, "exit");
    }
  });

  it("has types, which need nothing else to be installed", async () => {
    const cwd = empty("types");
    writeFileSync(join(cwd, "package.json"), '{ "type": "module" }');
    await npm(["install", tarball], cwd);
    writeFileSync(join(cwd, "program.ts"), PROGRAM);
    const tsc = join(REPOSITORY, "node_modules/.bin/tsc");
    const flags = [
      "--noEmit",
      "--strict",
      "--module",
      "nodenext",
      "--exactOptionalPropertyTypes",
      "program.ts",
    ];
    const checked = await run(tsc, flags, { cwd, env: bare }).catch((error) => error);
    expect(checked.stdout).toBe("");
  });
});

/** What must not compile is marked so: it would not be noticed if the types were `any`. */
const PROGRAM = `
import { openEngine, planRun, type RunRequest, type RunRequestInput, SILENT, startLocalPool, submit } from "drover";
const paths = { directory: "/", stateDir: "/state" };
const request: RunRequestInput = {
  ...paths, selection: { sources: ["a"] }, destination: { root: "b" }, terms: { retries: 3, timeoutMs: 60_000 },
};
// @ts-expect-error a root is a text
export const number: RunRequestInput = { ...paths, selection: {}, destination: { root: 1 } };
// @ts-expect-error there must be a destination
export const lacking: RunRequestInput = { ...paths, selection: {} };
// @ts-expect-error an unknown field
export const unknown: RunRequestInput = { ...paths, selection: {}, destination: { root: "b" }, terms: { tries: 3 } };
export const layoutOf = ({ destination }: RunRequest): "name" | "url" => destination.layout;
// @ts-expect-error it is a number
export const retriesOf = ({ terms }: RunRequest): string => terms.retries;

const planned = await planRun(request);
const engine = await openEngine({ stateDir: "/state" });
const handle = await submit(engine, planned, { startPool: startLocalPool, stateDir: "/state", warn: console.warn });
const events = { ...SILENT, settled: ({ name, outcome }: { name: string; outcome: string }) => console.log(name, outcome) };
const { end } = await handle.follow(events, new AbortController().signal);
console.log(end satisfies string);
engine.close();
`;

describe("scripts/install.sh", () => {
  const install = join(REPOSITORY, "scripts/install.sh");
  const toolchain = join(REPOSITORY, ".toolchain/node_modules/.bin/node");

  it("puts the command below the prefix, again over itself, and takes it away", async () => {
    const prefix = empty("usr-local");
    for (let time = 0; time < 2; time++) {
      const { stdout } = await run(install, ["install", prefix, tarball], { cwd: directory, env: bare });
      expect(stdout).toContain(`as ${prefix}/bin/drover\n${prefix}/bin is not on the PATH\n`);
    }
    expect(readlinkSync(join(prefix, "bin/drover"))).toBe("../lib/drover/drover");
    expect(existsSync(join(prefix, "lib/drover/node"))).toBe(false);
    expect((await run(join(prefix, "bin/drover"), ["--version"], { env: bare })).stdout).toMatch(/^\d/);
    const share = join(prefix, "share");
    for (const name of [
      "man/man1/drover-sync.1",
      "bash-completion/completions/drover",
      "zsh/site-functions/_drover",
      "fish/vendor_completions.d/drover.fish",
    ])
      expect(readFileSync(join(share, name), "utf8")).toContain("drover");
    writeFileSync(join(share, "man/man1/other.1"), "somebody's");
    await run(install, ["uninstall", prefix], { env: bare });
    const left = readdirSync(share, { recursive: true, withFileTypes: true }).filter(
      (each) => !each.isDirectory(),
    );
    expect(left.map(({ name }) => name)).toEqual(["other.1"]);
    expect([readdirSync(join(prefix, "bin")), readdirSync(join(prefix, "lib"))]).toEqual([[], []]);
  });

  it.skipIf(!existsSync(toolchain))("brings a Node where PATH's is none or too old", async () => {
    const prefix = empty("with-node");
    const old = empty("old-node");
    writeFileSync(join(old, "node"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const env = { ...bare, PATH: `${old}:/usr/bin:/bin` };
    await run(install, ["install", prefix, tarball], { env });
    expect((await run(join(prefix, "bin/drover"), ["--version"], { env })).stdout).toMatch(/^\d/);
    expect(existsSync(join(prefix, "lib/drover/node/bin/node"))).toBe(true);
  });

  it.each(["install", "uninstall"])("leaves what is not Drover's: %s", async (action) => {
    const prefix = empty(`foreign-${action}`);
    mkdirSync(join(prefix, "bin"));
    writeFileSync(join(prefix, "bin/drover"), "somebody's");
    const failed = await run(install, [action, prefix, tarball], { env: bare }).catch((error) => error);
    expect(failed).toMatchObject({ code: 1, stderr: `install: ${prefix}/bin/drover is not Drover's\n` });
    expect(readdirSync(prefix)).toEqual(["bin"]);
  });
});
