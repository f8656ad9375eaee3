import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  utimesSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { main } from "@drover/cli/program";
import { type Engine, openEngine } from "@drover/shared/engine";
import { afterAll, beforeAll, expect, it } from "vitest";
import { DroverProcess } from "../drover.js";
import { FakeS3 } from "../fake-s3.js";
import { DirectoryTree, FakeTree, type QuickTree } from "./trees.js";

/** Content by name. */
export type Files = Readonly<Record<string, string>>;

/** Something that went wrong with another tool, and what a sync is to do there. */
export interface ReportedCase {
  /** What is to be: the title of the test. */
  name: string;
  /** What goes wrong elsewhere: the tool, and where that was reported. */
  elsewhere: string;
  /** The other side: a prefix of S3 (default), or a directory. */
  with?: "s3" | "directory";
  /** What both sides hold after a first sync. Without it none was made: `when` begins with two empty sides. */
  given?: Files;
  /** What is done before the sync that counts. */
  when: (pair: Pair) => void | Promise<void>;
  /** Options of that sync. */
  sync?: readonly string[] | ((pair: Pair) => readonly string[]);
  expected: Expected;
}

export interface Expected {
  /** What both sides hold. A conflict copy is called `a.conflict-local.txt`, without its time and hash. */
  both?: Files;
  /** What one side holds, where they differ. */
  local?: Files;
  remote?: Files;
  /** Conflicts that wait for a person. */
  listed?: readonly string[];
  /** Paths that are left as they are. */
  left?: readonly string[];
  /** Contents that are kept in a backup, beside others. */
  kept?: readonly string[];
  /** The guard that stops the sync, or `listing`: then nothing is changed. */
  stopped?: string;
  /** How many paths something is done with; undefined where that is not looked at. */
  done?: number;
  /** What else is to be true. */
  check?: (pair: Pair) => void | Promise<void>;
  /** The exit code. Defaults to 0. */
  code?: number;
  /** Whether the next sync has still something to do. Defaults to false: the same options again change nothing. */
  goesOn?: boolean;
}

/** What `drover bisync --json` prints. */
export interface Told {
  code: number;
  stderr: string;
  run: string | null;
  in_sync: boolean;
  items: {
    path: string;
    action: string;
    status: string;
    why?: string;
    conflict?: true;
    copies?: string[];
    backup?: string;
  }[];
  failed?: number;
  stopped?: { code?: string; message: string };
}

/** A pair of a case, as its users see it. */
export class Pair {
  readonly local: DirectoryTree;
  readonly remote: QuickTree;
  /** The state directory: another machine has another one. */
  stateDir: string;

  constructor(
    /** A directory of the case's own. */
    readonly directory: string,
    /** The prefix of the other side. */
    readonly prefix: string,
    readonly s3: FakeS3,
    { other, stateDir }: { other: "s3" | "directory"; stateDir: string },
  ) {
    this.local = new DirectoryTree(join(directory, "local"));
    this.remote = other === "s3" ? new FakeTree(s3, prefix) : new DirectoryTree(join(directory, "remote"));
    this.stateDir = stateDir;
  }

  /** The path of a local file. */
  at(name: string): string {
    return join(this.local.root, name);
  }

  /** The path of a file of the other side, which must be a directory. */
  there(name: string): string {
    return join(this.remote.root, name);
  }

  /** The key of an object. */
  key(name: string): string {
    return `${this.prefix}/${name}`;
  }

  write(side: "local" | "remote", files: Files): void {
    for (const [name, text] of Object.entries(files)) this[side].write(name, text, "rename");
  }

  /** Writes a local file with a modification time. */
  writeAt(name: string, text: string, at: Date): void {
    this.local.write(name, text, "rename");
    utimesSync(this.at(name), at, at);
  }

  /** Puts an object, as another tool does. */
  put(name: string, text: string, { at = new Date(), headers = {} as Record<string, string> } = {}): void {
    this.s3.put(this.key(name), text, headers, at);
  }

  touch(name: string, at: Date): void {
    utimesSync(this.at(name), at, at);
  }

  /** Renames a local file or directory. */
  rename(from: string, to: string): void {
    mkdirSync(dirname(this.at(to)), { recursive: true });
    renameSync(this.at(from), this.at(to));
  }

  /** Renames an object, or all below a prefix that ends in `/`. */
  renameObject(from: string, to: string): void {
    for (const key of this.s3.keys.filter((each) => each.startsWith(this.key(from)))) {
      const { content, headers } = this.s3.stored(key) as {
        content: Buffer;
        headers: Record<string, string>;
      };
      const { etag: _, ...kept } = headers;
      this.s3.put(this.key(to) + key.slice(this.key(from).length), content, kept);
      this.s3.remove(key);
    }
  }

  sync(...args: readonly string[]): Promise<Told> {
    return this.run("bisync", this.local.root, `${this.remote.root}/`, "--json", ...args);
  }

  /** Syncs in a process of its own, which is killed at a point where it comes by. */
  async killedAt(fault: string): Promise<void> {
    const args = ["bisync", this.local.root, `${this.remote.root}/`, "--state-dir", this.stateDir, "--json"];
    const env = { ...process.env, DROVER_FAULT: fault, NODE_OPTIONS: "" };
    const { signal } = await new DroverProcess(args, env, { cwd: this.directory }).result;
    expect(signal).toBe("SIGKILL");
  }

  /** The same remote side as another machine has it, with a directory and a state of its own. */
  otherMachine(): Pair {
    const directory = join(this.directory, "other");
    const stateDir = join(directory, "state");
    return new Pair(directory, this.prefix, this.s3, { other: "s3", stateDir });
  }

  /** Runs a command in this process. What it prints must be JSON, if it prints anything. */
  async run(...args: readonly string[]): Promise<Told> {
    const { code, stdout, stderr } = await captured(() => main([...args, "--state-dir", this.stateDir]));
    if (stdout === "") return { code, stderr, run: null, in_sync: false, items: [] };
    try {
      return { code, stderr, ...(JSON.parse(stdout) as Omit<Told, "code" | "stderr">) };
    } catch {
      throw new Error(`${args.join(" ")} ended with ${code}\n${stdout}\n${stderr}`);
    }
  }

  /** What a side holds, with short names of conflict copies: `a.conflict-local.txt`, `a.conflict-local.txt#2`. */
  async tree(side: "local" | "remote"): Promise<Files> {
    const tree = this[side];
    const found = tree instanceof FakeTree ? [...(await tree.all())] : filesOf(tree.root);
    const all = found.sort(([, a], [, b]) => (a < b ? -1 : 1));
    const named = new Map<string, string>();
    for (const [name, text] of all) {
      let unique = short(name);
      for (let number = 2; named.has(unique); number++) unique = `${short(name)}#${number}`;
      named.set(unique, text);
    }
    return Object.fromEntries(named);
  }

  /** Contents of everything that this case has kept. */
  async kept(): Promise<string[]> {
    const local = await new DirectoryTree(join(this.stateDir, "backups")).all();
    const remote = this.s3.keys.filter((key) => key.startsWith(".drover-backups/"));
    return [...local.values(), ...remote.map((key) => String(this.s3.stored(key)?.content))];
  }
}

/** Names and contents of a directory's files; of a link, where it leads to. */
function filesOf(root: string, below = ""): [name: string, text: string][] {
  return readdirSync(join(root, below), { withFileTypes: true }).flatMap((entry): [string, string][] => {
    const name = join(below, entry.name);
    if (entry.name.startsWith(".drover-")) return [];
    if (entry.isDirectory()) return filesOf(root, name);
    if (entry.isSymbolicLink()) return [[name, `-> ${readlinkSync(join(root, name))}`]];
    if (entry.name.includes("\ufffd")) return [[name, "?"]]; // no name that could be opened
    return entry.isFile() ? [[name, readFileSync(join(root, name), "utf8")]] : [];
  });
}

function short(name: string): string {
  return name.replace(/\.conflict-(local|remote)-\d{8}T\d{6}Z-[0-9a-f]{8}/, ".conflict-$1");
}

/** Runs a command in this process, and takes what it prints. */
async function captured(
  work: () => Promise<number>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { stdout, stderr } = process;
  const real = { stdout: stdout.write, stderr: stderr.write };
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    process[name].write = ((text: string, done?: () => void) => {
      said[name] += text;
      if (typeof done === "function") done();
      return true;
    }) as typeof stdout.write;
  try {
    return { code: await work(), ...said };
  } finally {
    stdout.write = real.stdout;
    stderr.write = real.stderr;
  }
}

/** Plays cases, which share a Redis and an S3. */
export function playCases(cases: readonly ReportedCase[]): void {
  let s3: FakeS3;
  let engine: Engine;
  let root: string;
  let played = 0;
  beforeAll(async () => {
    root = mkdtempSync("/tmp/dvc-");
    mkdirSync(join(root, "run"), { mode: 0o700 });
    s3 = await FakeS3.start();
    const own = { XDG_RUNTIME_DIR: join(root, "run"), HOME: root, XDG_CONFIG_HOME: join(root, "config") };
    Object.assign(process.env, s3.env, own, { DROVER_EMBEDDED_IDLE_MS: "2000" });
    engine = await openEngine({ stateDir: join(root, "state") });
  });
  afterAll(async () => {
    engine.close();
    await s3.stop();
    rmSync(root, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  for (const each of cases)
    it(`${each.name} (elsewhere: ${each.elsewhere})`, async () => {
      const at = String(++played);
      const where = { other: each.with ?? ("s3" as const), stateDir: join(root, "state") };
      try {
        await play(new Pair(join(root, at), `p${at}`, s3, where), each);
      } finally {
        s3.fault = () => false;
        s3.before = () => undefined;
        s3.writes.after = () => false;
        s3.pageKeys = 1000;
      }
    });
}

async function play(pair: Pair, { given, when, sync = [], expected }: ReportedCase): Promise<void> {
  if (given) {
    pair.write("local", given);
    expect(await pair.sync(), "the first sync").toMatchObject({ code: 0, in_sync: true });
  }
  await when(pair);
  const before = await both(pair);
  const options = typeof sync === "function" ? sync(pair) : sync;
  const told = await pair.sync(...options);
  const after = await both(pair);
  const { local = expected.both, remote = expected.both } = expected;
  expect(
    {
      ...after,
      code: told.code,
      stopped: told.stopped && (told.stopped.code ?? "listing"),
      ...pathsOf(told),
    },
    JSON.stringify(told, null, 1),
  ).toEqual({
    local: local ?? before.local,
    remote: remote ?? before.remote,
    code: expected.code ?? (expected.stopped ? 1 : 0),
    stopped: expected.stopped,
    listed: expected.listed ?? [],
    left: expected.left ?? [],
  });
  if (expected.stopped) {
    expect(after).toEqual(before);
    expect(told.stderr).toContain("nothing was changed");
    return;
  }
  if (expected.kept) expect(await pair.kept()).toEqual(expect.arrayContaining([...expected.kept]));
  if (expected.done !== undefined) expect(doneBy(told), JSON.stringify(told)).toHaveLength(expected.done);
  await expected.check?.(pair);
  if (expected.goesOn || told.code === 2 || options.includes("--dry-run")) return;
  const next = await pair.sync(...options);
  expect(doneBy(next), "the next sync").toEqual([]);
  expect(await both(pair), "after the next sync").toEqual(after);
}

async function both(pair: Pair): Promise<{ local: Files; remote: Files }> {
  return { local: await pair.tree("local"), remote: await pair.tree("remote") };
}

function pathsOf({ items }: Told): { listed: string[]; left: string[] } {
  const of = (action: string) =>
    items
      .filter((each) => each.action === action)
      .map(({ path }) => path)
      .sort();
  return { listed: of("listed"), left: of("left") };
}

/** Items of what was done, or failed. */
function doneBy({ items }: Told): Told["items"] {
  return items.filter(({ action }) => action !== "left" && action !== "listed");
}
