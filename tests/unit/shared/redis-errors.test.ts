import {
  connectionFailure,
  isInterrupted,
  isLockLost,
  isNotPermitted,
  isRedisAway,
  isUnknownScript,
  refusalOf,
} from "@drover/shared/redis/errors";
import { describe, expect, test } from "vitest";

const REFUSED = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" });

/** What a library or Redis says, and what that means. */
const MEANINGS: [error: Error, ...is: string[]][] = [
  [new Error("Connection is closed."), "away", "interrupted"],
  [new Error("Command aborted due to connection close"), "interrupted"],
  [REFUSED, "away"],
  [new Error("Socket timeout. Expecting data, but didn't receive any in 15000ms."), "away"],
  [new Error("Cluster is ended"), "away"],
  [new Error("NOSCRIPT No matching script. Please use EVAL."), "unknown script", "interrupted"],
  [new Error("READONLY You can't write against a read only replica."), "refused", "away"],
  [new Error("UNBLOCKED force unblock from blocking operation, instance state changed"), "refused", "away"],
  [new Error("NOREPLICAS Not enough good replicas to write."), "refused", "away"],
  [new Error("-READONLY You can't write against a read only replica. script: x"), "refused", "away"],
  [new Error("OOM command not allowed when used memory > 'maxmemory'."), "refused", "away"],
  [new Error("BUSY Redis is busy running a script."), "refused", "away"],
  [new Error("BUSYGROUP Consumer Group name already exists")],
  [new Error("MISCONF Redis is configured to save RDB snapshots, but it's unable to."), "refused", "away"],
  [new Error("LOADING Redis is loading the dataset in memory"), "refused", "away"],
  [new Error("EXECABORT Transaction discarded because of previous errors."), "interrupted"],
  [new Error("NOPERM this user has no permissions to run the 'info' command"), "not permitted"],
  [new Error("Missing lock for job run-1. moveToFinished"), "lock lost"],
  [new Error("could not renew lock for job run-1"), "lock lost"],
  [new Error("WRONGTYPE Operation against a key holding the wrong kind of value")],
];

const PREDICATES: [is: string, predicate: (error: unknown) => boolean][] = [
  ["away", isRedisAway],
  ["interrupted", isInterrupted],
  ["unknown script", isUnknownScript],
  ["refused", (error) => refusalOf(error) !== undefined],
  ["not permitted", isNotPermitted],
  ["lock lost", isLockLost],
];

describe("an error of Redis or of its libraries", () => {
  test.for(MEANINGS)("is recognised: %s", ([error, ...expected]) => {
    const found = PREDICATES.flatMap(([is, predicate]) => (predicate(error) ? [is] : []));
    expect(found.sort()).toEqual(expected.sort());
  });

  test("is an interruption when one of its causes is", () => {
    const previousErrors = [new Error("WRONGTYPE"), new Error("Connection is closed.")];
    expect(isInterrupted(Object.assign(new Error("pipeline failed"), { previousErrors }))).toBe(true);
    expect(isInterrupted(Object.assign(new Error("pipeline failed"), { previousErrors: [] }))).toBe(false);
  });

  test("says why commands are refused, in one line and without what is ours", () => {
    const why = "OOM command not allowed when used memory > 'maxmemory'";
    const script = `${why}. script: 0123456789abcdef, on @user_script:12.`;
    for (const said of [why, `${why}.`, script, `ERR Error running script: @user_script:1: -${why}.`])
      expect(refusalOf(new Error(said))).toBe(why);
  });

  test.for([undefined, null, "text", 7])("may be anything that is thrown: %j", (thrown) => {
    for (const [, predicate] of PREDICATES) expect(predicate(thrown)).toBe(false);
  });
});

describe("a failure to connect", () => {
  test("names its reason on one line", () => {
    expect(connectionFailure(REFUSED)).toEqual({ reason: REFUSED.message, vague: false });
    expect(connectionFailure(new AggregateError([REFUSED, REFUSED]))).toEqual({
      reason: `${REFUSED.message}, ${REFUSED.message}`,
      vague: false,
    });
    const all = Object.assign(new Error("None of startup nodes is available"), { lastNodeError: REFUSED });
    expect(connectionFailure(all)).toEqual({ reason: REFUSED.message, vague: false });
  });

  test("is vague where ioredis names no reason", () => {
    expect(connectionFailure(new Error("Connection is closed.")).vague).toBe(true);
  });
});
