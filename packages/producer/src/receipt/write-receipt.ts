import { createHash } from "node:crypto";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { isSuccess, type RunCounts } from "@drover/shared/outcome";
import { type KeptOutcome, keptOutcomes } from "@drover/shared/protocol/outcome-stream";
import type { Run } from "@drover/shared/run";
import { droverVersion } from "@drover/shared/version";
import { Sorter } from "../catalog/sorter.js";
import { type FailedFile, filesFailed } from "../runs/run-files.js";
import { lineOf, type ReceiptFile, type ReceiptHead, signedBytes } from "./receipt-format.js";
import type { SigningKey } from "./receipt-key.js";

/** A receipt that is being written. */
export interface Receipt {
  head: ReceiptHead;
  /** Its bytes, to be read once and to the end. */
  bytes: AsyncGenerator<Uint8Array>;
}

/**
 * A signed statement of what a run delivered, in bounded memory.
 *
 * @param key private, see `receiptKey`.
 * @throws SettingsError for a run that has not ended, and for a two-way sync.
 */
export async function writeReceipt(engine: Engine, runId: string, key: SigningKey): Promise<Receipt> {
  const run = await engine.ledger.get(runId);
  if (run.spec.pair) throw new SettingsError(`run ${runId} is a two-way sync: it has no receipt`);
  if (run.state === "running" || run.state === "interrupted")
    throw new SettingsError(`run ${runId} is ${run.state}: only a run that has ended has a receipt`);
  const counts = await engine.ledger.counts(runId);
  const files = new Sorter();
  try {
    const listed = await collect(engine, run, files);
    const head = headOf(run, counts, listed, key);
    return { head, bytes: signed(engine, run, { head, files, key }) };
  } catch (error) {
    files.close();
    throw error;
  }
}

/** How many files of each status have a line. */
type Listed = Record<ReceiptFile["status"], number>;

async function collect(engine: Engine, run: Run, files: Sorter): Promise<Listed> {
  const listed: Listed = { delivered: 0, deleted: 0, "not-delivered": 0 };
  const add = (line: ReceiptFile) => {
    listed[line.status]++;
    files.add(recordOf(line));
  };
  for await (const page of keptOutcomes(engine.redis, engine.keys, run.id))
    for (const outcome of page)
      if (outcome.outcome === "copied" || outcome.outcome === "deleted") add(doneLine(outcome));
  for await (const page of filesFailed(engine, run))
    for (const failed of page) if (!isSuccess(failed.outcome)) add(failedLine(failed));
  return listed;
}

function doneLine(outcome: KeptOutcome): ReceiptFile {
  const { index, source, destination, name, bytes, checksum, verifiedBy, attempts, endedMs } = outcome;
  const isDeleted = outcome.outcome === "deleted";
  return {
    file: index,
    status: isDeleted ? "deleted" : "delivered",
    source,
    version: outcome.version ?? null,
    destination,
    name,
    size: isDeleted ? null : bytes,
    sha256: checksum,
    fence: outcome.fence ?? null,
    verified_by: verifiedBy,
    attempts,
    at: new Date(endedMs).toISOString(),
    error: null,
  };
}

function failedLine({ index, job, path, attempts, error }: FailedFile): ReceiptFile {
  return {
    ...{ file: index, status: "not-delivered", source: job.s, version: null, destination: path },
    ...{ name: job.d, size: null, sha256: null, fence: null, verified_by: null, attempts, at: null },
    error: { class: error.class, message: error.message },
  };
}

function headOf(run: Run, counts: RunCounts, listed: Listed, key: SigningKey): ReceiptHead {
  const { id, state, startedMs, endedMs, spec } = run;
  const why = incompleteness(run, counts, listed);
  return {
    drover_receipt: 1,
    run: id,
    drover: droverVersion(),
    state,
    complete: why === undefined,
    incomplete_because: why ?? null,
    started: new Date(startedMs).toISOString(),
    ended: endedMs === undefined ? null : new Date(endedMs).toISOString(),
    issued: new Date().toISOString(),
    from: [...spec.sources, ...(spec.list === undefined ? [] : [`list ${spec.list}`])],
    to: spec.root,
    settings_sha256: createHash("sha256")
      .update(JSON.stringify(sortedKeys(spec)))
      .digest("hex"),
    counts,
    key_sha256: key.fingerprint,
  };
}

/** Why a receipt does not tell all; undefined if it does. */
function incompleteness({ state }: Run, counts: RunCounts, listed: Listed): string | undefined {
  const { copied, deleted, files, settled, unchanged } = counts;
  if (state !== "done" || settled < files)
    return `the run was ${state}, and ${files - settled} of its files did not end`;
  const done = listed.delivered + listed.deleted;
  if (listed.delivered !== copied || listed.deleted !== deleted)
    return `${done} of ${copied + deleted} files that were delivered or deleted are still known: see --keep-outcomes`;
  const failed = files - copied - deleted - unchanged;
  if (listed["not-delivered"] === failed) return undefined;
  return `${listed["not-delivered"]} of ${failed} files that were not delivered are known`;
}

async function* signed(
  engine: Engine,
  { id, generation }: Run,
  { head, files, key }: { head: ReceiptHead; files: Sorter; key: SigningKey },
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let lines = 0;
  const bytesOf = (line: string) => {
    const bytes = Buffer.from(line);
    hash.update(bytes);
    lines++;
    return bytes;
  };
  try {
    yield bytesOf(lineOf(head));
    for (const record of files.sorted()) yield bytesOf(lineOfRecord(record));
    const now = await engine.ledger.get(id);
    if (now.generation !== generation)
      throw new SettingsError(`run ${id} goes on: ask again when it has ended`);
    const sha256 = hash.digest("hex");
    const signature = Buffer.from(key.sign(signedBytes({ lines, sha256 }))).toString("base64");
    yield Buffer.from(lineOf({ end: "receipt", lines, sha256, signature }));
  } finally {
    files.close();
  }
}

/** A record for the sorter, whose strings are bytes: the number of the file, and its line. */
function recordOf(line: ReceiptFile): string {
  const order = String(line.file).padStart(16, "0");
  return order + Buffer.from(lineOf(line)).toString("latin1");
}

function lineOfRecord(record: string): string {
  return Buffer.from(record.slice(16), "latin1").toString();
}

/** The same value with its keys in order, so that equal settings have equal digests. */
function sortedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, sortedKeys(each)]));
}
