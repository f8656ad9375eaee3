import { basename } from "node:path";
import { PairGuardError } from "@drover/producer/pair/guards";
import { TransferError } from "@drover/shared/errors";
import { BACKUPS, DIRECTIONS, type PairTerms, type Side, STRATEGIES } from "@drover/shared/pair/decide";
import { RunLostError } from "@drover/shared/protocol/backlog";
import { ListingError } from "@drover/shared/storage/listing-error";
import { Rng } from "../../chaos/rng.js";
import { ALL_LIES, type Lie, type LyingProxy } from "./lying-proxy.js";
import { beforeSteps, type Step } from "./steps.js";
import {
  BucketTree,
  DirectoryTree,
  type Edit,
  FakeTree,
  isInTheWay,
  type QuickTree,
  type UserTree,
} from "./trees.js";
import type { PairWorld, Told } from "./world.js";

const NAMES = ["a.txt", "b", "d/c.txt", "d/e/f.md", "g.tar.gz", ".h"];
/** Names that are a file in one moment and a directory in the next. */
const CLASHING = ["p", "p/x", "p/y/z", "p/y", "q/r", "q", "s.txt"];
/** Names that programs get wrong. */
const AWKWARD = [
  "\u00e9.txt",
  "e\u0301.txt",
  " led by a space",
  "ended by one ",
  "a%20b.txt",
  "a%2Fb",
  "a+b",
  "a b",
  "new\nline.txt",
  ".hid/.den",
  "..two",
  "what?#frag",
  "<a&'b\">.xml",
  "*[x]{y}",
  "\u65e5\u672c/\u8a9e.txt",
  "\u{1f600}\uffee",
  "back\\slash",
  `${"x".repeat(251)}.txt`,
  `${"\u00fc".repeat(125)}.doc`,
  "r.conflict-local-20261129T101500Z-0a1b2c3d.txt",
  "r.txt",
];
const MODES = [0o600, 0o644, 0o755, 0o400];
/** Never removed: a side without any file is an accident. */
const ANCHOR = "anchor.txt";
const EDITS: Edit[] = ["in-place", "rename", "keeping-mtime"];
const FAULTS = [
  ...[
    "open",
    "stage",
    "noted",
    "commit",
    "committed",
    "keep",
    "kept",
    "taken",
    "removed",
    "set-aside",
    "settled",
  ],
  ...["pair-delete", "dispatch", "admit", "expand", "enqueue"],
];
const CONFLICT = /\.conflict-(local|remote)-\d{8}T\d{6}Z-[0-9a-f]{8}(-\d+)?/;
const OTHER = { local: "remote", remote: "local" } as const;

export interface HistoryOptions {
  seed: number;
  /** Whether syncs are killed, which needs a process for each. */
  kills: boolean;
  rounds?: number;
  /** Whether files and directories clash, names are awkward, permissions change, and runs are taken back. */
  wide?: boolean;
  /** What is between Drover and S3, until all edits are made. */
  proxy?: LyingProxy;
}

/** A random history of two trees, with everything that is checked about it. */
export class PairHistory {
  readonly log: string[] = [];
  readonly violations: string[] = [];
  readonly terms: PairTerms;
  readonly #rng: Rng;
  /** Each path is edited on one side alone: then nothing is ever a conflict. */
  readonly #oneSided: boolean;
  readonly #owner = new Map<string, Side>();
  #versions = 0;
  /** Versions that users wrote, by the name that they wrote them to. */
  readonly #written = new Map<string, Set<string>>();
  /** Versions that no user has overwritten or deleted himself. */
  readonly #owed = new Set<string>();
  /** What the users of each side made of it, where nobody else may. */
  readonly #own: Record<Side, Map<string, string>> = { local: new Map(), remote: new Map() };
  /** Edits of a real service that were begun while a sync went on. */
  #late = Promise.resolve();
  /** Whether the ancestor was lost, or is another's. */
  #forgotten = false;
  /** Whether what is the same on both sides may have been taken for new: a deletion is not remembered then. */
  #isExcused = false;
  readonly #lies: readonly Lie[];
  readonly #names: readonly string[];
  /** Permissions that a user has given, by name, where nobody else may write. */
  readonly #modes = new Map<string, number>();
  /** Whose permissions have changed since the last sync that told of it: bytes and report differ there. */
  readonly #chmodded = new Set<string>();

  constructor(
    readonly world: PairWorld,
    readonly options: HistoryOptions,
  ) {
    const rng = new Rng("pair", options.seed);
    this.#rng = rng;
    this.#oneSided = rng.chance(0.4);
    this.terms = {
      direction: this.#oneSided
        ? "bidirectional"
        : rng.pick(["bidirectional", "bidirectional", ...DIRECTIONS]),
      strategy: rng.pick(STRATEGIES),
      backups: rng.pick(this.#oneSided ? BACKUPS : ["all", "all", "conflicts"]),
      noDelete: !this.#oneSided && rng.chance(0.1),
    };
    this.#names = options.wide ? rng.pick([CLASHING, CLASHING, AWKWARD, NAMES]) : NAMES;
    this.#lies = options.proxy ? liesOf(rng, options.kills) : [];
  }

  tree(side: Side): UserTree {
    return this.world[side];
  }

  #say(text: string): void {
    this.log.push(text);
  }

  #violated(text: string): void {
    this.violations.push(text);
    this.#say(`VIOLATION ${text}`);
  }

  async play(): Promise<void> {
    const { rounds = 5 } = this.options;
    const rng = this.#rng;
    this.#say(`terms ${JSON.stringify(this.terms)}${this.#oneSided ? " one-sided" : ""}`);
    await this.#edit(this.terms.direction === "pull" ? "remote" : "local", ANCHOR, "write");
    const { proxy } = this.options;
    if (proxy) {
      proxy.lies = this.#lies;
      proxy.chance = rng.pick(this.#lies.length > 2 ? [0.03, 0.1, 0.3] : [0.1, 0.3, 0.6]);
      this.#say(`lies, ${proxy.chance}: ${proxy.lies}`);
    }
    let saved: Map<string, Buffer> | undefined;
    for (let round = 1; round <= rounds && this.violations.length === 0; round++) {
      await this.#someEdits(rng.int(0, 6));
      const ways: (() => Promise<void>)[] = [() => this.#quietSync(), () => this.#syncWhileEdited()];
      if (this.options.kills)
        ways.push(
          () => this.#syncKilled(),
          () => this.#syncKilled(),
        );
      ways.push(() => this.#twoSyncs());
      if (this.options.wide) ways.push(() => this.#takenBack());
      await rng.pick(ways)();
      await this.#check();
      if (rng.chance(0.2)) saved ??= await this.world.saved();
      else if (saved && !this.#oneSided && rng.chance(0.3)) {
        this.#say("Redis is restored to an older state");
        await this.world.restore(saved);
        this.#forgotten = true;
        saved = undefined;
      } else if (!this.#oneSided && rng.chance(0.08)) {
        this.#say("Redis is lost");
        await this.world.engine.redis.flushdb();
        this.#forgotten = true;
      }
    }
    if (this.violations.length === 0) await this.#comesToRest();
  }

  // What users do.

  async #someEdits(count: number): Promise<void> {
    for (let at = 0; at < count; at++) await this.#someEdit();
  }

  async #someEdit(): Promise<void> {
    const rng = this.#rng;
    const all = [...(await this.tree("local").all()).keys(), ...(await this.tree("remote").all()).keys()];
    const copies = all.filter((name) => CONFLICT.test(name));
    const name = copies.length > 0 && rng.chance(0.15) ? rng.pick(copies) : rng.pick(this.#names);
    const side = this.#sideFor(name);
    if (this.options.wide && rng.chance(0.15)) {
      this.#changeMode(side, name);
      return;
    }
    await this.#edit(side, name, rng.chance(0.25) ? "remove" : rng.chance(0.1) ? "copy" : "write");
  }

  #sideFor(name: string): Side {
    if (!this.#oneSided) return this.#rng.pick(["local", "remote"] as const);
    // What clashes has one owner.
    const [top] = name.split("/");
    const clashing = [...this.#owner.keys()].find((each) => each.split("/")[0] === top);
    const side =
      this.#owner.get(name) ??
      (this.#names === CLASHING ? this.#owner.get(clashing ?? "") : undefined) ??
      this.#rng.pick(["local", "remote"] as const);
    this.#owner.set(name, side);
    return side;
  }

  #changeMode(side: Side, name: string): void {
    const tree = this.tree(side);
    if (!(tree instanceof DirectoryTree) || tree.read(name) === undefined) return;
    const mode = this.#rng.pick(MODES);
    this.#say(`${side} changes the mode of ${name} to ${mode.toString(8)}`);
    tree.setMode(name, mode);
    this.#chmodded.add(name);
    if (this.#oneSided) this.#modes.set(name, mode);
  }

  async #edit(side: Side, name: string, what: "write" | "remove" | "copy"): Promise<void> {
    const tree = this.tree(side);
    const before = await tree.read(name);
    const other = await this.tree(OTHER[side]).read(name);
    const planned = this.#plan(side, name, what, before, other);
    if (!planned) return;
    if (planned.text !== undefined)
      for (const [other, text] of await tree.all()) {
        if (!isInTheWay(other, name)) continue;
        this.#plan(side, other, "remove", text, undefined);
        await tree.remove(other);
      }
    if (planned.text === undefined) await tree.remove(name);
    else await tree.write(name, planned.text, planned.how);
  }

  /** The same between two steps of a sync, where the tree allows that. */
  #quickEdit(how?: Edit): void {
    const name = this.#rng.pick(this.#names);
    const side = this.#sideFor(name);
    const tree = this.tree(side);
    if (!(tree instanceof BucketTree) && !(tree as QuickTree).canHold(name)) return;
    if (tree instanceof BucketTree) {
      // It may overwrite what Drover has written in this moment, unseen: only where all is kept, that is found again.
      if (this.terms.backups !== "all") return;
      const what = this.#rng.chance(0.25) ? "remove" : "write";
      // One after the other: each is of the version that it finds.
      this.#late = this.#late.then(() => this.#edit(side, name, what));
      return;
    }
    const before = (tree as QuickTree).read(name);
    if (before === undefined && how !== undefined) return;
    const what = how === undefined && this.#rng.chance(0.25) ? "remove" : "write";
    const planned = this.#plan(side, name, what, before, undefined, how);
    if (!planned) return;
    if (planned.text === undefined) void tree.remove(name);
    else void tree.write(name, planned.text, planned.how);
  }

  #plan(
    side: Side,
    name: string,
    what: "write" | "remove" | "copy",
    before: string | undefined,
    other: string | undefined,
    how: Edit = this.#rng.pick(EDITS),
  ): { text: string | undefined; how: Edit } | undefined {
    if (what === "remove" && before === undefined) return undefined;
    const isCopy = what === "copy" && other !== undefined && this.terms.backups === "all" && !this.#oneSided;
    const text = what === "remove" ? undefined : isCopy ? other : this.#newText(side, before);
    if (text === before) return undefined;
    if (before !== undefined) this.#owed.delete(before);
    this.#modes.delete(name);
    if (text !== undefined) {
      this.#owed.add(text);
      const original = name.replace(CONFLICT, "");
      const written = this.#written.get(original) ?? new Set();
      this.#written.set(original, written.add(text));
      this.#own[side].set(name, text);
    } else this.#own[side].delete(name);
    this.#say(
      `${side} ${text === undefined ? "removes" : `writes ${how}`} ${name}${text === undefined ? "" : `: ${brief(text)}`}`,
    );
    return { text, how };
  }

  /** A version that nobody ever wrote, mostly of the size of the one before. */
  #newText(side: Side, before: string | undefined): string {
    const text = `v${++this.#versions} by ${side} `.padEnd(24);
    const same = before !== undefined && this.#rng.chance(0.7);
    return text.padEnd(same ? Math.max(before.length, text.length) : this.#rng.int(24, 60), ".");
  }

  // What Drover does.

  /** @returns undefined where lies have stopped it. */
  async #sync(): Promise<Told | undefined> {
    const adopt = this.#forgotten;
    this.#forgotten = false;
    let told: Told;
    try {
      told = await this.world.sync(this.terms, { adopt });
    } catch (error) {
      const { proxy } = this.options;
      if (!proxy || proxy.lies.length === 0 || !isRefusal(error)) throw error;
      this.#forgotten = adopt;
      this.#say(`sync stopped by lies: ${error.message}${this.#toldLies()}`);
      return undefined;
    }
    const { planned, end } = told.result;
    const did = told.settled.map(
      ({ name, outcome, pair, error }) =>
        `${name}: ${pair?.action ?? outcome}${pair?.copies ? ` +${pair.copies}` : ""}${error ? ` (${error.class}: ${error.message})` : ""}`,
    );
    this.#say(
      `sync ${end} ${JSON.stringify(planned)}\n    ${[...did, ...told.left.map(({ name, why }) => `${name}: left ${why}`)].join("\n    ")}${this.#toldLies()}`,
    );
    return told;
  }

  #toldLies(): string {
    const told = this.options.proxy?.told.splice(0) ?? [];
    return told.map((lie) => `\n    lie ${lie}`).join("");
  }

  /** A marker that was hidden, or came late, stops the sync that follows, until somebody has looked. */
  async #adoptedSync(): Promise<void> {
    try {
      await this.#quietSync();
    } catch (error) {
      if (!this.options.proxy || !(error instanceof PairGuardError)) throw error;
      this.#say(`sync stopped: ${error.message}`);
      this.#forgotten = true;
      this.#isExcused = true;
      await this.#quietSync();
    }
  }

  async #quietSync(): Promise<void> {
    const before = await this.#both();
    const isHonest = !this.options.proxy || this.options.proxy.lies.length === 0;
    const told = await this.#sync();
    if (told && isHonest) this.#checkReport(before, await this.#both(), told);
  }

  /** A sync that is taken back before anybody edits: both sides are what they were. */
  async #takenBack(): Promise<void> {
    const before = await this.#both();
    const told = await this.#sync();
    const isHonest = !this.options.proxy || this.options.proxy.lies.length === 0;
    if (told?.result.run === undefined || this.terms.backups !== "all" || !isHonest) return;
    const settled = await this.world.rollback(this.terms, told.result.run);
    const failed = settled
      .filter(({ error }) => error)
      .map(({ name, error }) => `${name}: ${error?.message}`);
    this.#say(`which is taken back ${failed}`);
    for (const each of failed) this.#violated(`not taken back: ${each}`);
    const after = await this.#both();
    for (const side of ["local", "remote"] as const)
      this.#same(`the ${side} side was not taken back`, before[side], after[side]);
  }

  /** Edits between any two calls of the file system, or requests. */
  async #syncWhileEdited(): Promise<void> {
    const rng = this.#rng;
    let edits = rng.int(1, 4);
    const chance = rng.pick([0.02, 0.1, 0.3]);
    const [local, remote] = [this.tree("local"), this.tree("remote")];
    this.#say("a sync while users edit");
    await beforeSteps(
      { roots: [local.root, remote.root], s3: remote instanceof FakeTree ? remote.s3 : undefined },
      (call) => {
        if (edits === 0 || !rng.chance(chance)) return;
        edits--;
        const how = isOverwriting(call) ? "in-place" : undefined;
        this.#say(`  before ${call.name} ${call.paths.map((path) => basename(path))}:`);
        this.#quickEdit(how);
      },
      async () => void (await this.#sync()),
    );
  }

  /** One waits for the other, or takes it for dead. */
  async #twoSyncs(): Promise<void> {
    const loses = this.#rng.chance(0.5);
    this.#say(`two syncs at once${loses ? ", and the first one loses its lease" : ""}`);
    let left = loses ? this.#rng.int(1, 60) : 0;
    const [local, remote] = [this.tree("local"), this.tree("remote")];
    const second = { adopt: this.#forgotten };
    const ended = await beforeSteps(
      { roots: [local.root, remote.root], s3: remote instanceof FakeTree ? remote.s3 : undefined },
      () => {
        if (left > 0 && --left === 0) void this.world.dropLease();
      },
      () => Promise.allSettled([this.#sync(), this.world.sync(this.terms, second)]),
    );
    // Whose lease is lost is told so.
    const isLying = (this.options.proxy?.lies.length ?? 0) > 0;
    for (const each of ended) {
      if (each.status === "fulfilled" || (loses && each.reason instanceof RunLostError)) continue;
      if (!isLying || !isRefusal(each.reason)) throw each.reason;
      this.#say(`one is stopped by lies: ${each.reason.message}`);
    }
  }

  async #syncKilled(): Promise<void> {
    const fault = `${this.#rng.pick(FAULTS)}:${this.#rng.pick([1, 1, 2, 3])}`;
    const adopt = this.#forgotten;
    const killed = await this.world.syncKilled(this.terms, fault, { adopt });
    if (!killed) this.#forgotten = false;
    this.#say(`a sync that is killed at ${fault}: ${killed ? "it was" : "it never came there"}`);
  }

  // What is checked.

  async #both(): Promise<Record<Side, Map<string, string>>> {
    return { local: await this.tree("local").all(), remote: await this.tree("remote").all() };
  }

  async #check(): Promise<void> {
    await this.#late;
    const { local, remote } = await this.#both();
    const { direction } = this.terms;
    const kept = new Set([...local.values(), ...remote.values(), ...(await this.world.backups())]);
    if (this.terms.backups !== "none" || /^(manual|backup-both)$/.test(this.terms.strategy))
      for (const text of this.#owed) if (!kept.has(text)) this.#violated(`lost: ${brief(text)}`);
    for (const [side, tree] of [
      ["local", local],
      ["remote", remote],
    ] as const)
      for (const [name, text] of tree) {
        const original = name.replace(CONFLICT, "");
        const isWritten = this.#written.get(original)?.has(text) || this.#isOfCutName(original, text);
        if (!isWritten) this.#violated(`invented on the ${side} side: ${name}: ${brief(text)}`);
        const isCopy = name !== original && !this.#names.includes(name);
        if (isCopy && this.#oneSided && !this.#isExcused) this.#violated(`a false conflict: ${name}`);
        if ((name.match(/\.conflict-/g)?.length ?? 0) > 1) this.#violated(`a copy of a copy: ${name}`);
      }
    const readOnly = direction === "pull" ? "remote" : direction === "push" ? "local" : undefined;
    if (readOnly)
      this.#same(`the ${readOnly} side was written`, this.#own[readOnly], { local, remote }[readOnly]);
  }

  /** A conflict copy of a long name has a part of it. */
  #isOfCutName(cut: string, text: string): boolean {
    return [...this.#written].some(
      ([name, texts]) => name.length > 120 && name.slice(0, 60) === cut.slice(0, 60) && texts.has(text),
    );
  }

  #same(what: string, wanted: Map<string, string>, found: Map<string, string>): boolean {
    const differ = [...new Set([...wanted.keys(), ...found.keys()])].filter(
      (name) => wanted.get(name) !== found.get(name),
    );
    for (const name of differ)
      this.#violated(`${what}: ${name}: ${brief(wanted.get(name))} and ${brief(found.get(name))}`);
    return differ.length === 0;
  }

  /** What the report says was done is what was done. */
  #checkReport(
    before: Record<Side, Map<string, string>>,
    after: Record<Side, Map<string, string>>,
    told: Told,
  ): void {
    const said: Record<Side, Set<string>> = { local: new Set(), remote: new Set() };
    for (const { name, pair, outcome, error } of told.settled) {
      if (error)
        this.#violated(`${name} failed although nobody was in the way: ${error.class}: ${error.message}`);
      const side = { pull: "local", push: "remote", "delete-local": "local", "delete-remote": "remote" }[
        pair?.action ?? ""
      ] as Side | undefined;
      if (side && outcome !== "unchanged") said[side].add(name);
      for (const copy of pair?.copies ?? [])
        for (const each of ["local", "remote"] as const)
          if (after[each].get(copy) !== before[each].get(copy)) said[each].add(copy);
      if (this.#oneSided && !this.#isExcused && pair?.conflict)
        this.#violated(`a false conflict is told of: ${name}`);
    }
    for (const side of ["local", "remote"] as const) {
      const names = new Set([...before[side].keys(), ...after[side].keys()]);
      const did = [...names].filter((name) => before[side].get(name) !== after[side].get(name)).sort();
      const told = [...said[side]].filter((name) => did.includes(name) || !this.#chmodded.has(name)).sort();
      if (did.join() !== told.join())
        this.#violated(`the report says of the ${side} side: ${told}; it was: ${did}`);
    }
    this.#chmodded.clear();
  }

  /** Nobody edits any more: both sides become what the direction says, and stay. */
  async #comesToRest(): Promise<void> {
    await this.options.proxy?.beHonest();
    await this.#adoptedSync();
    await this.#quietSync();
    // What was in the way of something goes first.
    if (this.#names === CLASHING) for (let more = 0; more < 2; more++) await this.#quietSync();
    await this.#check();
    const before = await this.#both();
    const { direction, strategy, noDelete } = this.terms;
    if (direction === "bidirectional" && strategy !== "manual" && !noDelete)
      this.#same("the sides are not equal", before.local, before.remote);
    if (direction === "pull" && strategy === "remote-wins")
      for (const [name, text] of before.remote)
        if (before.local.get(name) !== text) this.#violated(`not pulled: ${name}`);
    if (direction === "push" && strategy === "local-wins")
      for (const [name, text] of before.local)
        if (before.remote.get(name) !== text) this.#violated(`not pushed: ${name}`);
    if (this.#oneSided && !this.#isExcused)
      for (const [name, side] of this.#owner) {
        const wanted = this.#own[side].get(name);
        if (before.local.get(name) !== wanted)
          this.#violated(`${name} is not what its user made of it: ${brief(wanted)}`);
      }
    for (const [name, mode] of this.#modes)
      for (const side of ["local", "remote"] as const) {
        const tree = this.tree(side);
        const found = tree instanceof DirectoryTree ? tree.modeOf(name) : mode;
        if (!this.#isExcused && found !== mode)
          this.#violated(`the ${side} mode of ${name} is ${found?.toString(8)}, not ${mode.toString(8)}`);
      }
    const told = await this.#sync();
    if (told?.result.run !== undefined) this.#violated("the last sync still did something");
    this.#same("the last sync wrote locally", before.local, (await this.#both()).local);
    this.#same("the last sync wrote remotely", before.remote, (await this.#both()).remote);
    if (this.violations.length === 0) await this.#deletionsStay();
  }

  /** What is removed on one side goes on the other, and never comes again. */
  async #deletionsStay(): Promise<void> {
    const { direction, noDelete } = this.terms;
    if (direction !== "bidirectional" || noDelete) return;
    const both = await this.#both();
    const gone = [...both.local.keys()].filter(
      (name) => name !== ANCHOR && both.remote.get(name) === both.local.get(name),
    );
    for (const name of gone) await this.#edit(this.#sideFor(name), name, "remove");
    const { proxy } = this.options;
    // What is said twice not to be there counts as deleted.
    if (proxy && !this.#isExcused && !this.#lies.includes("absent")) {
      proxy.lies = this.#lies;
      this.#say("the proxy lies again");
      await this.#sync();
      await proxy.beHonest();
      await this.#adoptedSync();
      if (this.#isExcused) return;
    }
    for (let round = 0; round < 2; round++) {
      await this.#sync();
      const after = await this.#both();
      for (const name of gone)
        if (after.local.has(name) || after.remote.has(name))
          this.#violated(`${name} was deleted and is there`);
    }
    await this.#check();
  }

  report(): string {
    if (this.violations.length === 0) return "";
    return `seed ${this.options.seed}: ${this.violations.join("\n")}\n\n${this.log.join("\n")}`;
  }
}

/**
 * The lies of one history. Where conditions are passed over and a version is hidden as well, nobody can know that it is there: these
 * two are never told together.
 */
function liesOf(rng: Rng, kills: boolean): Lie[] {
  const hiding: Lie[] = ["hidden", "ended", "absent"];
  const without: Lie[] = rng.chance(0.5) ? ["unconditional"] : hiding;
  // A process that is killed has the usual time limits.
  if (kills) without.push("late");
  const some = ALL_LIES.filter((lie) => !without.includes(lie));
  return rng.chance(0.5) ? some : [rng.pick(some), rng.pick(some)];
}

/** Whether a sync may end so where the service cannot be believed. */
function isRefusal(error: unknown): error is Error {
  return error instanceof TransferError || error instanceof ListingError || error instanceof PairGuardError;
}

function isOverwriting({ name, paths }: Step): boolean {
  // The only moment that nothing can be done about is that before a rename: see docs/bisync.md.
  return name === "renameSync" && !/\.drover-/.test(basename(paths[1] ?? ""));
}

function brief(text: string | undefined): string {
  return text === undefined ? "nothing" : `${text.slice(0, 24).trim()} (${text.length})`;
}
