import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  SQSClient,
  SQSServiceException,
} from "@aws-sdk/client-sqs";
import type { S3Settings } from "@drover/producer/runs/plan/request";
import { planS3Services } from "@drover/producer/runs/plan/s3-services";
import { messageOf, SettingsError, TransferError } from "@drover/shared/errors";
import { HttpClient } from "@drover/shared/storage/http/client";
import { credentialsOf } from "@drover/shared/storage/s3/service/credentials";
import { type SdkRequest, sendSdkRequest } from "@drover/shared/storage/s3/service/sdk-requests";

/** Most that one request of SQS is about. */
const MOST_PER_BATCH = 10;
/** Time in seconds that SQS waits for a message before it answers without one. */
const LONG_POLL_S = 20;
/** Time in milliseconds beyond which no answer is waited for. */
const ANSWER_MS = 10_000;
/** Connections to the service at once; further requests wait. */
const CONNECTIONS = 32;

/** A message that this process has received and nobody else sees for a while. */
export interface QueuedMessage {
  id: string;
  /** Names this receipt of it. */
  receipt: string;
  body: string;
}

/** What SQS does not do for us, by the settings: asking again would not mend it. */
export class QueueRefusedError extends SettingsError {
  override name = "QueueRefusedError";
}

/** A queue of Amazon SQS, or of a service that speaks like it. */
export class SqsQueue {
  private constructor(
    readonly url: string,
    private readonly client: SQSClient,
    private readonly http: HttpClient,
  ) {}

  /**
   * Makes a client of the queue; nothing is asked yet. The endpoint is AWS_ENDPOINT_URL_SQS, else that of the URL; the region
   * that of the URL, else that of S3. Credentials are found like those of S3.
   *
   * @throws SettingsError if the URL is that of no queue.
   */
  static async open(url: string, s3: S3Settings): Promise<SqsQueue> {
    const { protocol, origin, hostname, pathname, username } = urlOf(url);
    if (!/^https?:$/.test(protocol) || !/^\/.*[^/]$/.test(pathname) || username !== "")
      throw new SettingsError(
        "--sqs must be the URL of a queue such as https://sqs.eu-west-1.amazonaws.com/123456789012/uploads",
      );
    const { s3: planned } = await planS3Services(s3, false);
    const endpoint = process.env.AWS_ENDPOINT_URL_SQS || origin;
    const region = regionOf(hostname) ?? planned.region;
    const identity = credentialsOf({ ...planned, endpoint, region, anonymous: false });
    const credentials = async () => {
      const found = await identity();
      if (!found) throw new TransferError("credentials", "no AWS credentials", { permanent: true });
      const { accessKeyId, secretAccessKey, sessionToken, ...rest } = found;
      return { ...rest, accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
    };
    const http = new HttpClient({ timeoutMs: LONG_POLL_S * 1000 + ANSWER_MS, connections: CONNECTIONS });
    const requestHandler = {
      handle: (request: SdkRequest, { abortSignal }: { abortSignal: AbortSignal }) =>
        sendSdkRequest(http, request, abortSignal),
    };
    return new SqsQueue(url, new SQSClient({ endpoint, region, credentials, requestHandler }), http);
  }

  /**
   * Asks for up to ten messages.
   *
   * @param hiddenS time in seconds for which nobody else gets them.
   * @param waits whether SQS waits for some for up to 20 seconds, if it has none.
   * @throws QueueRefusedError if there is no such queue, or it may not be read.
   */
  async receive(
    hiddenS: number,
    { waits, stop }: { waits: boolean; stop: AbortSignal },
  ): Promise<QueuedMessage[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.url,
      MaxNumberOfMessages: MOST_PER_BATCH,
      WaitTimeSeconds: waits ? LONG_POLL_S : 0,
      VisibilityTimeout: hiddenS,
    });
    const abortSignal = AbortSignal.any([stop, AbortSignal.timeout(LONG_POLL_S * 1000 + ANSWER_MS)]);
    try {
      const { Messages = [] } = await this.client.send(command, { abortSignal });
      return Messages.map(messageOfQueue);
    } catch (error) {
      throw isRefusal(error) ? new QueueRefusedError(`SQS refuses ${this.url}: ${messageOf(error)}`) : error;
    }
  }

  /** Deletes up to ten messages. @returns how many SQS did not delete. */
  async delete(messages: readonly QueuedMessage[]): Promise<number> {
    const Entries = messages.map(({ receipt }, at) => ({ Id: `${at}`, ReceiptHandle: receipt }));
    const command = new DeleteMessageBatchCommand({ QueueUrl: this.url, Entries });
    const { Failed = [] } = await this.client.send(command, { abortSignal: AbortSignal.timeout(ANSWER_MS) });
    return Failed.length;
  }

  /** Hides up to ten messages from others for some seconds from now. @returns how many SQS did not hide. */
  async hide(messages: readonly QueuedMessage[], hiddenS: number): Promise<number> {
    const Entries = messages.map(({ receipt }, at) => ({
      Id: `${at}`,
      ReceiptHandle: receipt,
      VisibilityTimeout: hiddenS,
    }));
    const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl: this.url, Entries });
    const { Failed = [] } = await this.client.send(command, { abortSignal: AbortSignal.timeout(ANSWER_MS) });
    return Failed.length;
  }

  async close(): Promise<void> {
    this.client.destroy();
    await this.http.close();
  }
}

function urlOf(url: string): URL {
  try {
    return new URL(url);
  } catch {
    throw new SettingsError(`--sqs must be a URL, not ${JSON.stringify(url)}`);
  }
}

/** The region in the name of a host of AWS; undefined where it has none. */
function regionOf(hostname: string): string | undefined {
  return /^(?:sqs(?:-fips)?\.([a-z0-9-]+)\.|([a-z0-9-]+)\.queue\.)(?:amazonaws\.|api\.aws)/
    .exec(hostname)
    ?.slice(1)
    .find(Boolean);
}

function messageOfQueue({ MessageId = "", ReceiptHandle = "", Body = "" }: Message): QueuedMessage {
  return { id: MessageId, receipt: ReceiptHandle, body: Body };
}

function isRefusal(error: unknown): boolean {
  if (error instanceof TransferError) return error.permanent;
  return error instanceof SQSServiceException && error.$fault === "client" && error.$retryable === undefined;
}
