import { messageOf } from "@drover/shared/errors";
import { type Delivery, deliver } from "./deliver.js";
import { createLog } from "./log.js";
import { notificationsOf, parseNotification, type SqsRecord, sqsRecordsOf } from "./notification.js";
import { readTarget } from "./settings.js";

/** What is kept of the function's time to end in order: answers, and logs that are written. */
const MARGIN_MS = 1000;
/** Messages of a queue that are delivered at once. */
const CONCURRENCY = 5;

/** What Lambda says of a call, as far as it is used here. */
export interface LambdaContext {
  awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

/** Messages that SQS is to deliver again. */
export interface SqsAnswer {
  batchItemFailures: { itemIdentifier: string }[];
}

/**
 * Makes the function that AWS Lambda calls with events of S3, EventBridge, SNS or SQS. It posts them to the service.
 *
 * @param environment in which settings are looked up at each call.
 * @param write gets the lines of the log. Default: standard output.
 * @returns a function that answers SQS with what is to be delivered again. For other events it answers nothing, and
 * throws a DeliveryError (deliver.ts) if one was not delivered. It throws a SettingsError, and an UnknownEventError
 * (notification.ts) for other events.
 */
export function createHandler(
  environment: Readonly<Record<string, string | undefined>>,
  write: (line: string) => void = (line) => process.stdout.write(line),
): (event: unknown, context: LambdaContext) => Promise<SqsAnswer | undefined> {
  return async (event, context) => {
    const log = createLog(write, { requestId: context.awsRequestId });
    const remainingMs = () => context.getRemainingTimeInMillis() - MARGIN_MS;
    try {
      const delivery = { target: readTarget(environment), remainingMs, log };
      const records = sqsRecordsOf(event);
      if (records) return await deliverQueued(records, delivery);
      for (const notification of notificationsOf(event)) await deliver(notification, delivery);
      return undefined;
    } catch (error) {
      log("error", "failed", { error: messageOf(error) });
      throw error;
    }
  };
}

async function deliverQueued(records: readonly SqsRecord[], delivery: Delivery): Promise<SqsAnswer> {
  const batchItemFailures: SqsAnswer["batchItemFailures"] = [];
  const waiting = records.values();
  // All take from one iterator, so that each message is taken once.
  const takeAll = async () => {
    for (const record of waiting) {
      try {
        await deliver(parseNotification(record.body), delivery);
      } catch (error) {
        batchItemFailures.push({ itemIdentifier: record.messageId });
        delivery.log("error", "failed", { messageId: record.messageId, error: messageOf(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, takeAll));
  return { batchItemFailures };
}

/** What Lambda calls: `index.handler` of the bundle. */
export const handler = createHandler(process.env);
