import { resolve } from "node:path";
import { Cache, namespaceOf } from "@drover/producer/sync-action/cache";
import {
  type CacheEvents,
  type CacheOperation,
  DEFAULT_NAMESPACES,
  operateCache,
} from "@drover/producer/sync-action/cache-operation";
import { SettingsError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { EXIT } from "../../exit.js";
import { isOutputWhole, printable, warn } from "../../output.js";
import type { Settings } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import type { OutputFlags } from "../options.js";

/** Flags of `drover cache`, as typed. */
export interface CacheFlags extends OutputFlags {
  namespace?: string[];
  key?: string[];
  /** False for `--no-warm-templates`. */
  warmTemplates?: boolean;
  warmUrl?: string[];
  warmRaw?: boolean;
  templates?: string[];
  allowAddress?: string[];
  dryRun?: boolean;
}

const TRIES = { tries: 3, delayMs: 500, atOnce: 5 };

/** Does an operation with a cache and shows it. @returns the exit code. */
export async function cache(operation: CacheOperation, flags: CacheFlags, values: Settings): Promise<number> {
  if (values.cache === undefined)
    throw new SettingsError("say where the cache of your program is: --cache redis://HOST:PORT/DB");
  const keys = flags.key ?? [];
  const namespaces = flags.namespace?.map(namespaceOf) ?? (keys.length > 0 ? [] : DEFAULT_NAMESPACES);
  const guard = new AddressGuard(flags.allowAddress);
  const timeoutMs = values.timeout * 1000;
  const opened = await Cache.open(values.cache, Math.min(timeoutMs, 10_000));
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  const shown = flags.json
    ? new JsonKeys(operation, flags.dryRun ?? false)
    : new Lines(flags.dryRun ?? false);
  try {
    await operateCache(
      {
        ...{ operation, namespaces, keys, dryRun: flags.dryRun ?? false },
        warmTemplates: flags.warmTemplates ?? true,
        warmUrls: flags.warmUrl ?? [],
        warmRaw: flags.warmRaw ?? false,
        templatePaths: (flags.templates ?? ["templates"]).map((directory) => resolve(directory)),
      },
      { cache: opened, guard, pace: { ...TRIES, timeoutMs }, signal: stop.signal },
      shown,
    );
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    warn("interrupted");
    return EXIT.interrupted;
  } finally {
    unlisten();
    opened.close();
  }
  shown.end();
  await isOutputWhole();
  return shown.hasFailed ? EXIT.some : EXIT.ok;
}

type Shown = CacheEvents & { hasFailed: boolean; end(): void };

/** Numbers for people; keys are not listed, since there may be millions. */
class Lines implements Shown {
  hasFailed = false;
  #invalidated = 0;
  #warmed = 0;

  constructor(private readonly dryRun: boolean) {}

  invalidated(): void {
    this.#invalidated++;
  }

  warmed(): void {
    this.#warmed++;
  }

  cleared(namespace: string, keys: number): void {
    process.stdout.write(`${this.dryRun ? "would clear" : "cleared"} ${namespace}: ${keys} keys\n`);
  }

  skipped({ path, why }: { path: string; why: string }): void {
    process.stdout.write(`not warmed: ${printable(path)}: ${printable(why)}\n`);
  }

  failed({ path, why }: { path: string; why: string }): void {
    this.hasFailed = true;
    warn(`not warmed: ${path}: ${why}`);
  }

  end(): void {
    const would = this.dryRun ? "would be " : "";
    process.stdout.write(`${this.#invalidated} keys ${would}invalidated, ${this.#warmed} ${would}warmed\n`);
  }
}

/** One object, written while the keys come. */
class JsonKeys implements Shown {
  hasFailed = false;
  #isBegun = false;
  readonly #warmed: string[] = [];
  readonly #cleared: string[] = [];
  readonly #skipped: object[] = [];
  readonly #errors: object[] = [];

  constructor(
    private readonly operation: CacheOperation,
    private readonly dryRun: boolean,
  ) {}

  invalidated(key: string): void {
    process.stdout.write(`${this.#begin()}${JSON.stringify(key)}`);
  }

  /** What comes before a key. */
  #begin(): string {
    if (this.#isBegun) return ",\n";
    this.#isBegun = true;
    return `{"operation":${JSON.stringify(this.operation)},"dry_run":${this.dryRun},"invalidated_keys":[`;
  }

  warmed(key: string): void {
    this.#warmed.push(key);
  }

  cleared(namespace: string): void {
    this.#cleared.push(namespace);
  }

  skipped(issue: object): void {
    this.#skipped.push(issue);
  }

  failed(issue: object): void {
    this.hasFailed = true;
    this.#errors.push(issue);
  }

  end(): void {
    const rest = {
      warmed_keys: this.#warmed,
      cleared_namespaces: this.#cleared,
      skipped: this.#skipped,
      errors: this.#errors,
    };
    process.stdout.write(`${this.#isBegun ? "" : this.#begin()}],${JSON.stringify(rest).slice(1)}\n`);
  }
}
