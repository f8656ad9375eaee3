import type { Decision, Side } from "./decide.js";
import type { UndoEntry } from "./store.js";

/** A decision that a worker carries out. */
export type CarriedDecision = Extract<Decision, { to: Side }>;

/** What was decided for a path, and by what. */
export interface DecidedStep {
  is: "decided";
  decision: CarriedDecision;
  /** Stamps of the versions that were listed; "" for none. */
  local: string;
  remote: string;
  /** A path above it that must not be a file any more on the side that is written: its own step may have failed. */
  above?: string;
  /** SHA-256 of the version that was checked, hexadecimal: no other one is published. Absent where all may be. */
  checked?: string;
}

/** What a run did with a path of a side is taken back. */
export interface UndoStep {
  is: "undo";
  entry: UndoEntry;
}

export type PairStep = DecidedStep | UndoStep;

const DECISIONS = ["copy", "delete", "set-aside", "vacate", "beside"] as const;

/** Writes a step in a few characters, since each file's job has one. */
export function encodeStep(step: PairStep): string {
  if (step.is === "undo") return JSON.stringify(step.entry);
  const { decision, local, remote, above, checked } = step;
  const keeps = "keeps" in decision && decision.keeps;
  const to = decision.to === "local" ? "l" : "r";
  const flags = `${DECISIONS.indexOf(decision.do)}${to}${keeps ? "k" : ""}${decision.conflict ? "c" : ""}`;
  const rest = checked === undefined ? (above === undefined ? [] : [above]) : [above ?? "", checked];
  return JSON.stringify([flags, local, remote, ...rest]);
}

/** Reads what {@link encodeStep} wrote. @throws Error for anything else. */
export function decodeStep(text: string): PairStep {
  const read = JSON.parse(text) as UndoEntry | [string, string, string, string?, string?];
  if (!Array.isArray(read)) return { is: "undo", entry: read };
  const [flags, local, remote, above = "", checked] = read;
  const match = /^([0-4])([lr])(k?)(c?)$/.exec(flags);
  if (!match || typeof local !== "string" || typeof remote !== "string") throw new Error("no step of a pair");
  const to: Side = match[2] === "l" ? "local" : "remote";
  const [keeps, conflict] = [match[3] === "k", match[4] === "c"];
  const what = DECISIONS[Number(match[1])] as (typeof DECISIONS)[number];
  const decision: CarriedDecision =
    what === "set-aside" || what === "vacate" || what === "beside"
      ? { do: what, to, conflict: true }
      : { do: what, to, keeps, conflict };
  return {
    is: "decided",
    decision,
    local,
    remote,
    ...(above === "" ? {} : { above }),
    ...(checked === undefined ? {} : { checked }),
  };
}

/** Reads a step of a plan. @throws Error for anything else. */
export function decodeDecided(text: string): DecidedStep {
  const step = decodeStep(text);
  if (step.is === "decided") return step;
  throw new Error("a plan takes nothing back");
}
