import { MalformedRecordError, type StorageEvent } from "./event.js";
import { readEventBridge } from "./eventbridge.js";
import { readS3Record } from "./s3-record.js";
import { readSeaweedFs } from "./seaweedfs.js";

/** A record that could not be understood, beside others that could. */
export interface RecordProblem {
  /** Which record of the notification, from 0. */
  index: number;
  why: string;
}

/** What a notification says once nothing is wrapped around it any more. */
export type Content =
  | {
      is: "events";
      events: StorageEvent[];
      problems: RecordProblem[];
      /** Records that are understood and say nothing of an object's existence, such as changes of tags. */
      ignored: number;
    }
  | { is: "test" }
  | { is: "unknown"; why: string };

/** Most records that one body may still hold. It bounds the work that a body can cause. */
export interface Budget {
  records: number;
}

/** Reads a notification of a storage by its shape. Never throws for what it contains. */
export function readContent(json: unknown, budget: Budget): Content {
  // Earlier versions of versitygw send records without anything around them.
  if (Array.isArray(json)) return readAll(json, budget, (record) => one(readS3Record(record)));
  if (!isObject(json)) return { is: "unknown", why: "it is no JSON object" };
  if (json.Event === "s3:TestEvent") return { is: "test" };
  if (Array.isArray(json.Records))
    return readAll(json.Records, budget, (record) => one(readS3Record(record)));
  if ("detail-type" in json) return readAll([json], budget, (event) => one(readEventBridge(event)));
  if ("event_type" in json && "key" in json) return readAll([json], budget, readSeaweedFs);
  return { is: "unknown", why: "it has the shape of no notification that is known" };
}

export function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function one(event: StorageEvent | undefined): StorageEvent[] {
  return event === undefined ? [] : [event];
}

function readAll(
  records: readonly unknown[],
  budget: Budget,
  read: (record: unknown) => StorageEvent[],
): Content {
  if (records.length > budget.records) return { is: "unknown", why: "it has too many records" };
  budget.records -= records.length;
  const events: StorageEvent[] = [];
  const problems: RecordProblem[] = [];
  let ignored = 0;
  for (const [index, record] of records.entries()) {
    try {
      const found = read(record);
      events.push(...found);
      if (found.length === 0) ignored += 1;
    } catch (error) {
      if (!(error instanceof MalformedRecordError)) throw error;
      problems.push({ index, why: error.message });
    }
  }
  return { is: "events", events, problems, ignored };
}
