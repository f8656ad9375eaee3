/**
 * Errors of ioredis, BullMQ and Redis itself, most of which differ by message or code alone. This is the only module
 * that reads those; everybody else asks it what an error means.
 */
import { errnoCode, messageOf } from "../errors.js";

/** What ioredis says when it knows no reason, or has reported it before. */
const VAGUE =
  /^(Connection is closed|Cluster is ended|None of startup nodes is available|Failed to refresh slots cache|All sentinels are unreachable|timeout$)/;

/** Whether an error says no more than that Redis is away for now, which its connection reports anyway. */
export function isRedisAway(error: unknown): boolean {
  const message = messageOf(error);
  return (
    errnoCode(error) !== undefined ||
    VAGUE.test(message) ||
    message.startsWith("Socket timeout") ||
    refusalOf(error) !== undefined
  );
}

// A transaction of which a command was refused is discarded as a whole.
const INTERRUPTED = /^(Command aborted due to connection close|Connection is closed|EXECABORT)/;

/**
 * Whether a command may be sent again because nobody knows what became of it: the connection broke; or that of a
 * Cluster's node did, which ioredis leaves to the caller while the Cluster itself is away; or a node that was no
 * master refused a script of BullMQ's, which ioredis then takes for known there.
 */
export function isInterrupted(error: unknown): boolean {
  const previous = (error as { previousErrors?: unknown[] } | null)?.previousErrors;
  return (
    INTERRUPTED.test(messageOf(error)) ||
    isUnknownScript(error) ||
    (previous?.some((each) => isInterrupted(each)) ?? false)
  );
}

/** Whether Redis does not have the script whose digest it was sent. */
export function isUnknownScript(error: unknown): boolean {
  return messageOf(error).startsWith("NOSCRIPT");
}

// Redis itself says so at the beginning, a script behind "-", before Redis 7 in the middle.
const REFUSED =
  /(?:^|-)((?:OOM|BUSY|MISCONF|LOADING|MASTERDOWN|READONLY|NOREPLICAS|UNBLOCKED) [^\n]*?)(?:\.?$|\.? script: )/m;

/**
 * Why a server does nothing for us for now although it answers, or undefined: its memory is full (OOM), a script keeps
 * it busy (BUSY), it cannot write to its disk (MISCONF), it loads its data; or it was master and has become a replica
 * (READONLY; UNBLOCKED for a command that waited), or lacks replicas that it needs (NOREPLICAS): then another server is
 * master by now, or soon. It is as good as away.
 */
export function refusalOf(error: unknown): string | undefined {
  return REFUSED.exec(messageOf(error))?.[1];
}

/** Whether an ACL of Redis forbids the command. */
export function isNotPermitted(error: unknown): boolean {
  return messageOf(error).startsWith("NOPERM");
}

/**
 * Whether BullMQ says that the lock of a job ran out, as it does while Redis is away. The job is delivered again
 * then.
 */
export function isLockLost(error: unknown): boolean {
  return /^(could not renew lock|Missing lock) for job /.test(messageOf(error));
}

/** Whether BullMQ says of a job, which was to be promoted, that it is gone or waits for no time any more. */
export function isNotDelayed(error: unknown): boolean {
  return /^(Job .* is not in the delayed state|Missing key for job )/.test(messageOf(error));
}

/** Why no connection could be made: one line for people, without full stop. */
export interface ConnectionFailure {
  reason: string;
  /** ioredis names no reason here: another error of the same try may. */
  vague: boolean;
}

export function connectionFailure(error: unknown): ConnectionFailure {
  const reason = reasonOf(error);
  return { reason, vague: VAGUE.test(reason) };
}

function reasonOf(error: unknown): string {
  // Of a name with several addresses.
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.map((each) => messageOf(each)).join(", ");
  // The last error of a Cluster's nodes.
  const { lastNodeError } = error as { lastNodeError?: unknown };
  if (lastNodeError) return reasonOf(lastNodeError);
  const message = messageOf(error)
    .replace(/^All sentinels are unreachable.* Last error: (?!Connection is closed)/, "Sentinel: ")
    .replace(/NOAUTH HELLO .*/, "NOAUTH Authentication required")
    .replace(
      /; if the root CA is installed locally.*/,
      ": DROVER_REDIS_CA can name a file with its authority",
    )
    .replace(/[\s.]+$/, "");
  return message || errnoCode(error) || "no answer";
}
