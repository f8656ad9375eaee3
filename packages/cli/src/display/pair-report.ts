import type { Carried } from "@drover/producer/pair/carry-steps";
import type { LeftPath, PlannedStep } from "@drover/producer/pair/pair-plan";
import type { PairEvents, PairNumbers, PairResult } from "@drover/producer/pair/sync-pair";
import { SILENT } from "@drover/producer/runs/carry/run-handle";
import { messageOf } from "@drover/shared/errors";
import { isSuccess, type Outcome, successfulFiles } from "@drover/shared/outcome";
import { decodeStep, type PairStep } from "@drover/shared/pair/step";
import prettyBytes from "pretty-bytes";
import { EXIT } from "../exit.js";
import { logOutcome } from "../log/log-outcome.js";
import { printable, says, warn } from "../output.js";
import { paint } from "./color.js";
import type { Format } from "./format.js";

/** What became of one path, for programs. */
interface PairItem {
  path: string;
  action: string;
  /** `ok`, or how it failed. */
  status: string;
  conflict?: true;
  why?: string;
  bytes?: number;
  checksum?: string;
  backup?: string;
  copies?: string[];
}

const ARROWS: Record<string, string> = {
  push: "→",
  pull: "←",
  "delete-local": "✗←",
  "delete-remote": "→✗",
  "undo-local": "↶",
  "undo-remote": "↶",
};

/** Shows a sync of a pair: a line for each path that something happens to, and a summary. */
export class PairReport implements PairEvents {
  readonly queued = SILENT.queued;
  readonly endedBefore = SILENT.endedBefore;
  readonly sealed = SILENT.sealed;
  readonly started = SILENT.started;
  readonly receiving = SILENT.receiving;
  readonly waiting = SILENT.waiting;
  readonly retrying = SILENT.retrying;
  readonly warn = warn;
  #items = 0;
  #listedLater = 0;

  constructor(private readonly format: Format) {}

  planned(): void {}

  left({ name, why }: LeftPath): void {
    this.#item(
      { path: name, action: "left", status: "left", why },
      `· ${printable(name)} (left: ${printable(why)})`,
    );
  }

  listed(path: string, reason: string): void {
    const line = `${paint("warning", "!")} ${printable(path)} (conflict: ${reason.replaceAll("_", " ")}; drover resolve)`;
    this.#item({ path, action: "listed", status: "conflict", conflict: true, why: reason }, line);
  }

  wouldDo({ name, step }: PlannedStep): void {
    const planned = decodeStep(step);
    const action = actionOf(planned);
    const conflict = planned.is === "decided" && planned.decision.conflict;
    const line = `${ARROWS[action]} ${printable(name)} (would ${saysOf(action)}${conflict ? ", conflict" : ""})`;
    this.#item({ path: name, action, status: "planned", ...(conflict ? { conflict: true } : {}) }, line);
  }

  settled(outcome: Outcome): void {
    const { name, pair, bytes, checksum, error } = outcome;
    logOutcome(outcome);
    const isGood = isSuccess(outcome.outcome);
    const action = pair?.action ?? "none";
    if (action === "listed") this.#listedLater++;
    const item: PairItem = {
      path: name,
      action,
      status: isGood ? "ok" : outcome.outcome,
      ...(pair?.conflict ? { conflict: true } : {}),
      ...(error ? { why: error.message } : {}),
      ...(isGood && checksum !== null ? { bytes, checksum } : {}),
      ...(pair?.backup === undefined ? {} : { backup: pair.backup }),
      ...(pair?.copies === undefined ? {} : { copies: pair.copies }),
    };
    if (!isGood) {
      const line = `✗ ${printable(name)} (${printable(error?.message ?? outcome.outcome)})`;
      this.#item(item, paint("error", line), "quiet");
      return;
    }
    const notes = [
      saysOf(action),
      ...(outcome.outcome === "copied" ? [prettyBytes(bytes)] : []),
      ...(pair?.conflict ? ["conflict"] : []),
      ...(pair?.copies ? [`the other version is ${printable(pair.copies.join(", "))}`] : []),
      ...(pair?.conflict && pair.backup ? [`the other version is kept in ${printable(pair.backup)}`] : []),
    ];
    this.#item(
      item,
      `${paint("ok", ARROWS[action] ?? "·")} ${printable(name)} ${paint("detail", `(${notes.join("; ")})`)}`,
    );
  }

  /** Ends the report. @returns the exit code. */
  async end(result: PairResult): Promise<number> {
    const { counts, planned, end, dryRun } = result;
    const failed = counts ? counts.files - successfulFiles(counts) : 0;
    const listed = planned.listed + this.#listedLater;
    const steps = planned.push + planned.pull + planned["delete-local"] + planned["delete-remote"];
    const isSettled = end === "done" && failed === 0 && listed === 0 && planned.unknown === 0;
    const isInSync = isSettled && !(dryRun && steps > 0);
    const summary = {
      pair: result.pair,
      run: result.run ?? null,
      in_sync: isInSync,
      paths: planned.paths,
      pushed: planned.push,
      pulled: planned.pull,
      deleted_local: planned["delete-local"],
      deleted_remote: planned["delete-remote"],
      conflicts: planned.conflicts,
      listed,
      left: planned.left,
      failed,
    };
    this.#close(summary, lineOf(planned, { failed, listed, isInSync, result }));
    await flushed();
    if (end === "interrupted" || end === "half-submitted" || end === "goes-on") {
      warn("interrupted: the next sync goes on");
      return EXIT.interrupted;
    }
    if (isSettled) return EXIT.ok;
    const isNothing = counts !== undefined && counts.files > 0 && successfulFiles(counts) === 0;
    return isNothing ? EXIT.none : EXIT.some;
  }

  /** Ends the report of steps that a person asked for. @returns the exit code. */
  async endSteps(pair: string, { run, counts, end }: Carried): Promise<number> {
    const done = counts ? successfulFiles(counts) - this.#listedLater : 0;
    const failed = (counts?.files ?? 0) - done;
    const summary = { pair, run: run ?? null, done, failed };
    this.#close(
      summary,
      `${done} done, ${failed} left as they are${run === undefined ? "" : `; run ${run}`}`,
    );
    await flushed();
    if (end !== "done") {
      warn("interrupted: the next sync goes on");
      return EXIT.interrupted;
    }
    return failed === 0 ? EXIT.ok : done === 0 ? EXIT.none : EXIT.some;
  }

  #close(summary: Record<string, unknown>, line: string): void {
    if (this.format === "json")
      this.#write(`${this.#items === 0 ? '{"items":[' : "\n"}],${JSON.stringify(summary).slice(1)}\n`);
    else if (this.format === "ndjson") this.#write(`${JSON.stringify({ summary })}\n`);
    else if (says("normal")) this.#write(`${line}\n`);
  }

  /** Ends the report of a sync that changed nothing. */
  async stopped(error: unknown): Promise<void> {
    const code = error !== null && typeof error === "object" && "code" in error ? error.code : undefined;
    const stopped = { stopped: { ...(code === undefined ? {} : { code }), message: messageOf(error) } };
    if (this.format === "json") this.#write(`${JSON.stringify({ items: [], in_sync: false, ...stopped })}\n`);
    else if (this.format === "ndjson") this.#write(`${JSON.stringify(stopped)}\n`);
    await flushed();
  }

  #item(item: PairItem, line: string, least: "quiet" | "normal" = "normal"): void {
    if (this.format === "human") {
      if (says(least)) this.#write(`${line}\n`);
    } else if (this.format === "ndjson") this.#write(`${JSON.stringify(item)}\n`);
    else this.#write(`${this.#items === 0 ? '{"items":[\n' : ",\n"}${JSON.stringify(item)}`);
    this.#items++;
  }

  #write(text: string): void {
    process.stdout.write(text);
  }
}

function flushed(): Promise<void> {
  return new Promise((resolve) => process.stdout.write("", () => resolve()));
}

function actionOf(step: PairStep): string {
  if (step.is === "undo") return `undo-${step.entry.side}`;
  const { decision } = step;
  if (decision.do === "delete" || decision.do === "vacate") return `delete-${decision.to}`;
  return decision.to === "remote" ? "push" : "pull";
}

function saysOf(action: string): string {
  return action.replaceAll("-", " ").replaceAll("_", " ");
}

function lineOf(
  planned: PairNumbers,
  {
    failed,
    listed,
    isInSync,
    result: { run, dryRun },
  }: { failed: number; listed: number; isInSync: boolean; result: PairResult },
): string {
  const to = dryRun ? "to " : "";
  const [push, pull, remove] = dryRun ? ["push", "pull", "delete"] : ["pushed", "pulled", "deleted"];
  const parts = [
    `${planned.push} ${to}${push}`,
    `${planned.pull} ${to}${pull}`,
    `${planned["delete-local"]} ${to}${remove} here`,
    `${planned["delete-remote"]} ${to}${remove} there`,
  ];
  if (planned.conflicts > 0) parts.push(`${planned.conflicts} conflicts`);
  if (listed > 0) parts.push(`${listed} of them to resolve`);
  if (planned.left > 0) parts.push(`${planned.left} left`);
  if (failed > 0) parts.push(`${failed} failed`);
  const state = isInSync ? "in sync" : "not in sync";
  return `${parts.join(", ")}; ${state}, ${planned.paths} files${run === undefined ? "" : `; run ${run}`}`;
}
