/** What is posted, and what the log says of it. */
export interface Notification {
  /** JSON. */
  body: string;
  bucket: string | undefined;
  /** How many objects it speaks of. */
  keys: number;
}

/** What a function was called with, or a message of a queue contains, is no notification of a storage. */
export class UnknownEventError extends Error {
  override name = "UnknownEventError";
}

/** A message of Amazon SQS, as a function gets it. */
export interface SqsRecord {
  messageId: string;
  body: string;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The messages of an event of SQS, or undefined if it is none. */
export function sqsRecordsOf(event: unknown): SqsRecord[] | undefined {
  const records = recordsOf(event);
  return isFilled(records) && records.every(isSqsRecord) ? records : undefined;
}

function isSqsRecord(record: unknown): record is SqsRecord {
  if (!isObject(record) || record.eventSource !== "aws:sqs") return false;
  return typeof record.messageId === "string" && typeof record.body === "string";
}

/**
 * The notifications in what a function was called with by S3, EventBridge or SNS.
 *
 * @throws {UnknownEventError}
 */
export function notificationsOf(event: unknown): Notification[] {
  const records = recordsOf(event);
  if (!isFilled(records) || !records.every(isSnsRecord)) return [notificationOf(event)];
  return records.map(({ Sns }) => parseNotification(Sns.Message));
}

function isSnsRecord(record: unknown): record is { Sns: { Message: string } } {
  if (!isObject(record) || record.EventSource !== "aws:sns" || !isObject(record.Sns)) return false;
  return typeof record.Sns.Message === "string";
}

/**
 * Reads the text of a message. What SNS put around a notification is taken off: it came here by a subscription or a queue
 * that AWS guards, and its signature may have aged on the way.
 *
 * @throws {UnknownEventError}
 */
export function parseNotification(text: string): Notification {
  const json = jsonOf(text);
  const isWrapped = isObject(json) && json.Type === "Notification" && typeof json.Message === "string";
  return notificationOf(isWrapped ? jsonOf(String(json.Message)) : json);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UnknownEventError("the message is no JSON", { cause: error });
  }
}

function notificationOf(json: unknown): Notification {
  const body = JSON.stringify(json);
  if (isObject(json) && json.Event === "s3:TestEvent") return { body, bucket: nameOf(json.Bucket), keys: 0 };
  const records = recordsOf(json);
  if (isFilled(records) && records.every(isS3Record))
    return { body, bucket: nameOf(records[0]?.s3.bucket.name), keys: records.length };
  if (
    isObject(json) &&
    json.source === "aws.s3" &&
    typeof json["detail-type"] === "string" &&
    hasObject(json.detail)
  )
    return { body, bucket: nameOf(json.detail.bucket.name), keys: 1 };
  throw new UnknownEventError("it has the shape of no event of S3, EventBridge, SNS or SQS");
}

interface ObjectPart {
  bucket: Record<string, unknown>;
  object: Record<string, unknown>;
}

function isS3Record(record: unknown): record is { s3: ObjectPart } {
  return isObject(record) && hasObject(record.s3);
}

function hasObject(part: unknown): part is ObjectPart {
  if (!isObject(part) || !isObject(part.bucket) || !isObject(part.object)) return false;
  return typeof part.bucket.name === "string" && typeof part.object.key === "string";
}

function recordsOf(event: unknown): unknown {
  return isObject(event) ? event.Records : undefined;
}

function isFilled(records: unknown): records is unknown[] {
  return Array.isArray(records) && records.length > 0;
}

function nameOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
