import { once } from "node:events";
import { listPlace } from "@drover/producer/look/list-place";
import { asFile, type Place, planPlaces } from "@drover/producer/look/places";
import { messageOf, TransferError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import type { Contents } from "@drover/shared/storage/contents";
import { ListingError } from "@drover/shared/storage/listing-error";
import type { ByteRange } from "@drover/shared/storage/source";
import type { Storage } from "@drover/shared/storage/storage";
import { readOut } from "@drover/worker/bytes/read-out";
import { EXIT } from "../../exit.js";
import { detail, progressLine, reportError, setVerbosity, warn } from "../../output.js";
import { checkTermsOf } from "../../settings/check-terms.js";
import { OptionError } from "../../settings/option-error.js";
import type { RequestFlags } from "../../settings/run-request.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";

/** Flags of `drover cat`, as typed. */
export interface CatFlags extends RequestFlags {
  range?: string;
  quiet?: boolean;
  verbose?: boolean;
}

type Terms = ReturnType<typeof checkTermsOf>["terms"];

/** What all files of a command are read with. */
interface Reading {
  terms: Terms;
  range: ByteRange | undefined;
  /** Aborted when the command is stopped, or nobody reads its output any more. */
  stop: AbortController;
}

/** `drover cat LOCATION…` @returns the exit code. */
export async function cat(given: string[], flags: CatFlags, resolved: Resolved): Promise<number> {
  setVerbosity(flags);
  const range = flags.range === undefined ? undefined : parseRange(flags.range);
  const { sources, terms } = checkTermsOf(given, flags, resolved);
  const request = { directory: process.cwd(), locations: sources, wildcards: flags.wildcards ?? true, terms };
  const places = await planPlaces(request);
  const stop = new AbortController();
  let isClosed = false;
  process.stdout.on("error", () => {
    isClosed = true;
    stop.abort();
  });
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  let code: number = EXIT.ok;
  try {
    for (const place of places) {
      const isWhole = await catPlace(place, { terms, range, stop });
      if (!isWhole) code = EXIT.some;
      if (stop.signal.aborted) break;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    unlisten();
  }
  if (isClosed) return code;
  if (!stop.signal.aborted) return code;
  warn("interrupted: not everything was written");
  return EXIT.interrupted;
}

/** @throws OptionError */
function parseRange(text: string): ByteRange {
  const [, first, last = ""] = /^(\d{1,15})-(\d{0,15})$/.exec(text) ?? [];
  if (first === undefined || (last !== "" && Number(last) < Number(first)))
    throw new OptionError(`--range must be FIRST-LAST or FIRST-, in bytes from 0, not ${text}`);
  return { startByte: Number(first), ...(last === "" ? {} : { lastByte: Number(last) }) };
}

/** @returns whether all of it was written as its source has it. */
async function catPlace(place: Place, reading: Reading): Promise<boolean> {
  const { storage, text, wildcards } = place.location;
  const opened = asFile(place);
  const { signal } = reading.stop;
  const contents = await storage.openContents({
    ...{ spec: opened.spec, signal, warn, headers: reading.terms.headers },
  });
  try {
    if (!wildcards) {
      if (storage.isTree(text) === true && opened.name === "") return refuseTree(storage, text);
      return await catFile(contents, { name: opened.name, location: text }, reading);
    }
    return await catChosen(place, contents, reading);
  } finally {
    await contents.close();
  }
}

async function catChosen(place: Place, contents: Contents, reading: Reading): Promise<boolean> {
  const { terms, stop } = reading;
  const shown = place.location.wildcards?.exact.text ?? place.location.text;
  const options = { isRecursive: true, selection: terms, headers: terms.headers, signal: stop.signal, warn };
  let isWhole = true;
  let isEmpty = true;
  try {
    for await (const entry of listPlace(place, options)) {
      isEmpty = false;
      if (entry.is === "failed") {
        reportError(`${entry.location}: ${entry.error.message}`);
        isWhole = false;
      } else if (entry.is === "file") isWhole = (await catFile(contents, entry, reading)) && isWhole;
    }
  } catch (error) {
    if (!(error instanceof ListingError)) throw error;
    reportError(`${error.message}; what comes after was not written`);
    return false;
  }
  if (isEmpty) warn(`nothing matched: ${shown}`);
  return isWhole;
}

function refuseTree({ treeNoun }: Storage, text: string): boolean {
  reportError(`${redactUrl(text)} is a ${treeNoun}: name files in it, or choose objects by wildcards`);
  return false;
}

async function catFile(
  contents: Contents,
  { name, location }: { name: string; location: string },
  { terms, range, stop }: Reading,
): Promise<boolean> {
  const { signal } = stop;
  const shown = redactUrl(location);
  const source = contents.source(name, location);
  const { retries: tries, timeoutMs } = terms;
  let written = 0;
  const say = (message: string) => progressLine(`${shown}: ${message}`);
  const options = { name: location, range, tries, timeoutMs, signal, warn: say };
  try {
    for await (const chunk of readOut(source, options)) {
      written += chunk.length;
      if (!process.stdout.write(chunk)) await drained(signal);
      signal.throwIfAborted();
    }
    detail(`${shown}: ${written} bytes`);
    return true;
  } catch (error) {
    if (signal.aborted) throw error;
    if (!(error instanceof TransferError)) throw error;
    const out = written > 0 ? `; ${written} bytes of it were written already` : "";
    reportError(`${shown}: ${messageOf(error)}${out}`);
    return false;
  }
}

async function drained(signal: AbortSignal): Promise<void> {
  await once(process.stdout, "drain", { signal }).catch(() => {});
}
