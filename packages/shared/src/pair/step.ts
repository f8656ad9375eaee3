import type { Decision, Side } from "./decide.js";

/** What was planned for a path, and by what it was decided. */
export interface PairStep {
  decision: Decision;
  /** Stamps of the versions that were listed; "" for none. */
  local: string;
  remote: string;
  /** SHA-256 of the version that was checked, hexadecimal: no other one is published. Absent where all may be. */
  checked?: string;
}

const DECISIONS = ["copy", "delete", "set-aside"] as const;

/** Writes a step in a few characters, since each file's job has one. Only what has a job is a step. */
export function encodeStep({ decision, local, remote, checked }: PairStep): string {
  const at = DECISIONS.indexOf(decision.do as (typeof DECISIONS)[number]);
  if (at < 0 || !("to" in decision)) throw new Error(`no job carries out: ${decision.do}`);
  const keeps = decision.do === "set-aside" ? false : decision.keeps;
  const flags = `${at}${decision.to === "local" ? "l" : "r"}${keeps ? "k" : ""}${decision.conflict ? "c" : ""}`;
  return JSON.stringify([flags, local, remote, ...(checked === undefined ? [] : [checked])]);
}

/** Reads what {@link encodeStep} wrote. @throws Error for anything else. */
export function decodeStep(text: string): PairStep {
  const [flags, local, remote, checked] = JSON.parse(text) as [string, string, string, string?];
  const match = /^([012])([lr])(k?)(c?)$/.exec(flags);
  if (!match || typeof local !== "string" || typeof remote !== "string") throw new Error("no step of a pair");
  const to: Side = match[2] === "l" ? "local" : "remote";
  const [keeps, conflict] = [match[3] === "k", match[4] === "c"];
  const what = DECISIONS[Number(match[1])] as (typeof DECISIONS)[number];
  const decision: Decision =
    what === "set-aside" ? { do: what, to, conflict: true } : { do: what, to, keeps, conflict };
  return { decision, local, remote, ...(checked === undefined ? {} : { checked }) };
}
