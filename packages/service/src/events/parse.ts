import { type Budget, type Content, isObject, readContent } from "./content.js";
import { firstIssue } from "./fields.js";
import { type SnsEnvelope, snsEnvelopeSchema } from "./sns-envelope.js";

/** Largest body in bytes that is looked at. */
export const MAX_NOTIFICATION_BYTES = 16 * 1024 * 1024;
/** Most records in one body. Services send one to ten; a queue's consumer gets up to 10,000 messages. */
const MAX_RECORDS = 10_000;

/** A notification, or a message of Amazon SNS. */
export type Message =
  | Content
  /** Whether its signature is right is not known yet: SnsVerifier (sns.ts) says it. */
  | { is: "sns"; envelope: SnsEnvelope; inner: Content }
  /** SNS asks whether it may send (SubscriptionConfirmation), or tells that it no longer will. Not verified either. */
  | { is: "confirmation"; envelope: SnsEnvelope };

/** What a body says. */
export type Parsed =
  | Message
  /** Several messages in one body, as consumers of Amazon SQS and functions on SNS get them. */
  | { is: "batch"; messages: { id: string; message: Message }[] };

/**
 * Reads the body of a notification by its shape. Headers play no part: SNS posts JSON as `text/plain`, others say
 * nothing. Never throws for what the body contains; work and memory are bounded by {@link MAX_NOTIFICATION_BYTES}.
 *
 * @param body UTF-8 JSON as received, decompressed.
 */
export function parseNotification(body: Uint8Array): Parsed {
  if (body.byteLength > MAX_NOTIFICATION_BYTES) return { is: "unknown", why: "it is larger than 16 MiB" };
  const json = jsonOf(() => new TextDecoder("utf-8", { fatal: true }).decode(body));
  if (json === undefined) return NO_JSON;
  const budget = { records: MAX_RECORDS };
  return readBatch(json, budget) ?? readQueued(json, budget) ?? readMessage(json, budget);
}

const NO_JSON = { is: "unknown", why: "it is no JSON in UTF-8" } as const;

/** undefined stands for what is no JSON: JSON itself has no such value. */
function jsonOf(read: () => string): unknown {
  try {
    return JSON.parse(read());
  } catch (error) {
    // JSON.parse throws the one, TextDecoder the other.
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Reads `Records` of a function on SQS or SNS, a bare array of them, or the answer of SQS's ReceiveMessage. */
function readBatch(json: unknown, budget: Budget): Parsed | undefined {
  const items = isObject(json) ? (json.Records ?? json.Messages) : json;
  if (!Array.isArray(items)) return undefined;
  const first: unknown = items[0];
  if (!isObject(first)) return undefined;
  const isQueue = first.eventSource === "aws:sqs" || (isObject(json) && items === json.Messages);
  if (!isQueue && first.EventSource !== "aws:sns") return undefined;
  if (items.length > budget.records) return { is: "unknown", why: "it has too many messages" };
  return { is: "batch", messages: items.map((item) => readItem(item, budget)) };
}

function readItem(item: unknown, budget: Budget): { id: string; message: Message } {
  if (isObject(item) && isObject(item.Sns)) {
    const { SigningCertUrl, ...envelope } = item.Sns;
    const message = readMessage({ SigningCertURL: SigningCertUrl, ...envelope }, budget);
    return { id: idOf(envelope.MessageId), message };
  }
  const message = readQueued(item, budget) ?? { is: "unknown", why: "it is no message of SQS or SNS" };
  return { id: isObject(item) ? idOf(item.messageId ?? item.MessageId) : "", message };
}

function idOf(id: unknown): string {
  return typeof id === "string" ? id : "";
}

/** Reads a message of SQS; undefined if it is none. */
function readQueued(json: unknown, budget: Budget): Message | undefined {
  if (!isObject(json)) return undefined;
  const body = json.body ?? json.Body;
  if (typeof body !== "string" || idOf(json.messageId ?? json.MessageId) === "") return undefined;
  const content = jsonOf(() => body);
  return content === undefined ? NO_JSON : readMessage(content, budget);
}

function readMessage(json: unknown, budget: Budget): Message {
  if (!isObject(json) || !("Type" in json && "TopicArn" in json)) return readContent(json, budget);
  const result = snsEnvelopeSchema.safeParse(json);
  if (!result.success) return { is: "unknown", why: `an envelope of SNS: ${firstIssue(result.error)}` };
  const envelope = result.data;
  if (envelope.Type !== "Notification") return { is: "confirmation", envelope };
  const content = jsonOf(() => envelope.Message);
  return { is: "sns", envelope, inner: content === undefined ? NO_JSON : readContent(content, budget) };
}
