import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Engine, openEngine } from "@drover/shared/engine";
import { allPairs } from "@drover/shared/pair/store";
import { findHosts } from "@drover/shared/protocol/hosts";
import type { Known } from "../../reference/table.js";
import { resolveSettings } from "../../settings/settings.js";

/** A person waits: after this time in milliseconds nothing is printed. DROVER_COMPLETE_MS sets another. */
const PATIENCE_MS = 300;
/** Runs that are looked at. */
const MOST_RUNS = 500;

/**
 * Prints what a word may be completed to, one a line, or nothing at all: whatever goes wrong is not said, for the person
 * is in the midst of a command line.
 *
 * @param words of that line, as they are typed.
 */
export async function completeKnown(what: string, words: string[]): Promise<void> {
  setTimeout(() => process.exit(0), Number(process.env.DROVER_COMPLETE_MS) || PATIENCE_MS).unref();
  try {
    const names = await knownNames(what, words.map(unquoted));
    if (names.length > 0) process.stdout.write(`${names.join("\n")}\n`);
  } catch {
    // nothing is printed
  }
}

async function knownNames(what: string, words: string[]): Promise<string[]> {
  const finder = Object.hasOwn(FINDERS, what) ? FINDERS[what as Known] : undefined;
  if (finder === undefined) return [];
  const flags = { redis: optionIn(words, "--redis"), "state-dir": optionIn(words, "--state-dir") };
  const profile = optionIn(words, "--profile") ?? (process.env.DROVER_PROFILE || undefined);
  const { values } = await resolveSettings(flags, optionIn(words, "--config"), profile);
  const { redis, "state-dir": stateDir } = values as { redis?: string; "state-dir": string };
  // What has never been used knows nothing, and looking must not make it.
  if (redis === undefined && !existsSync(join(stateDir, "redis"))) return [];
  const engine = await openEngine({ redis, stateDir });
  try {
    const names = [...new Set(await finder(engine))];
    return names.filter((name) => name !== "" && !/\p{Cc}/u.test(name));
  } finally {
    engine.close();
  }
}

const FINDERS: Record<Known, (engine: Engine) => Promise<string[]>> = {
  runs: async ({ ledger }) => ["latest", ...(await ledger.list(MOST_RUNS)).map(({ id }) => id)],
  labels: async ({ ledger }) => (await ledger.list(MOST_RUNS)).map(({ spec }) => spec.label ?? ""),
  pairs: async ({ redis, keys }) => (await allPairs(redis, keys)).map(({ id }) => id),
  async hosts({ redis, keys, ledger }) {
    const runs = await ledger.list(MOST_RUNS);
    const { hosts } = await findHosts(redis, keys);
    return [...hosts, ...runs.flatMap(({ spec }) => spec.sources.map(hostIn))];
  },
};

/** The host of a URL; "" for what is none. */
function hostIn(source: string): string {
  return /^https?:/i.test(source) && URL.canParse(source) ? new URL(source).host : "";
}

/** The value of an option on a command line. */
function optionIn(words: string[], name: string): string | undefined {
  const at = words.findIndex((word) => word === name || word.startsWith(`${name}=`));
  return words[at] === name ? words[at + 1] : words[at]?.slice(name.length + 1);
}

/** A word without the quotes of a shell. */
function unquoted(word: string): string {
  return word.replace(/'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/gs, (_all, single, double, escaped) => {
    return single ?? double?.replace(/\\(["\\$`])/g, "$1") ?? escaped;
  });
}
