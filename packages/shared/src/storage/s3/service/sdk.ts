import { hash } from "node:crypto";
import {
  type $Command,
  S3Client as AwsS3Client,
  type S3ClientResolvedConfig,
  type ServiceInputTypes,
  type ServiceOutputTypes,
} from "@aws-sdk/client-s3";
import type { AnswerHeaders, Headers, HttpMessage } from "../../http/client.js";
import { readXml } from "./answer.js";
import type { S3Client } from "./client.js";
import type { XmlElement } from "./xml.js";

export {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
} from "@aws-sdk/client-s3";

/** The SDK wants an endpoint. This one cannot exist (RFC 6761): S3Client knows the real one. */
const NO_ENDPOINT = "http://s3.invalid";

/** Steps of the SDK that S3Client does itself, or that Drover does not want: the retries are at the level of files. */
const REMOVED_MIDDLEWARE = [
  "contentLengthMiddleware",
  "hostHeaderMiddleware",
  "addExpectContinueMiddleware",
  "getUserAgentMiddleware",
  "recursionDetectionMiddleware",
  "retryMiddleware",
  "httpAuthSchemeMiddleware",
  "httpSigningMiddleware",
];

/** Input of any command. */
export type SdkInput = ServiceInputTypes;
/** Result of any command. */
export type SdkOutput = ServiceOutputTypes;
/** A command of the SDK: an operation with its input. */
export type SdkCommand<I extends SdkInput, O extends SdkOutput> = $Command<
  I,
  O,
  S3ClientResolvedConfig,
  SdkInput,
  SdkOutput
>;

/** A request as the SDK makes it from a command. */
interface SdkRequest {
  method: HttpMessage["method"];
  /** A slash and the percent-encoded key. */
  path: string;
  /** Not encoded. */
  query: Record<string, string | null>;
  headers: Headers;
  body?: string | Uint8Array;
}

/** The options that the SDK passes on to its request handler with each request. */
interface HandlerOptions {
  abortSignal: AbortSignal;
  headers: Headers | undefined;
  discardsAnswer: boolean;
}

/** How a command is sent. */
export interface SendOptions {
  signal: AbortSignal;
  /** More headers, sent exactly as given. Default: those of the command alone. */
  headers?: Headers;
  /** The answer has no content of interest. Default: it is XML, and is read. */
  discardsAnswer?: boolean;
}

/** A good answer to a command. */
export interface SdkAnswer {
  headers: AnswerHeaders;
  /** Root element of the content; undefined where that is discarded. */
  xml: XmlElement | undefined;
}

/**
 * Sends the rare requests with the AWS SDK, which knows how each operation is asked for. S3Client sends what the SDK
 * makes as it sends our own requests: over the same connections, with the same time limits, credentials, signatures and
 * errors. Answers are read by our own reader: that of the SDK refuses much of what services other than AWS answer, such
 * as prefixes of elements and dates of other forms.
 *
 * Loading the SDK takes as long as a hundred requests, so this module must be imported dynamically. To add an operation,
 * export its command above.
 */
export class S3Sdk {
  readonly #sdk: AwsS3Client;

  constructor(
    private readonly client: S3Client,
    private readonly bucket: string,
  ) {
    this.#sdk = new AwsS3Client({
      endpoint: NO_ENDPOINT,
      endpointProvider: () => ({ url: new URL(NO_ENDPOINT) }),
      requestHandler: {
        handle: (request: SdkRequest, options: HandlerOptions) => this.#handle(request, options),
      },
      // The defaults send trailers, which Ceph refuses.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      // Otherwise the SDK looks for these in the environment and in the configuration files of AWS.
      region: "unused",
      useArnRegion: false,
      disableS3ExpressSessionAuth: true,
    });
    for (const name of REMOVED_MIDDLEWARE)
      if (!this.#sdk.middlewareStack.remove(name)) throw new Error(`the AWS SDK has no ${name}`);
  }

  /**
   * Sends a command once, without retries.
   *
   * @returns undefined if the condition that it was sent under does not hold.
   * @throws TransferError as {@link S3Client.request} does, and of class `protocol` for an answer that makes no sense.
   */
  async send<I extends SdkInput, O extends SdkOutput>(
    command: SdkCommand<I, O>,
    { signal, headers, discardsAnswer = false }: SendOptions,
  ): Promise<SdkAnswer | undefined> {
    const options: HandlerOptions = { abortSignal: signal, headers, discardsAnswer };
    try {
      await this.#sdk.send(command, options);
    } catch (error) {
      if (error instanceof Answered) return error.answer;
      throw error;
    }
    throw new Error("the AWS SDK has sent no request");
  }

  /** @throws Answered always, unless the request failed: the SDK reads no answer. */
  async #handle({ method, path, query, headers, body = "" }: SdkRequest, options: HandlerOptions) {
    const bytes = Buffer.from(body);
    // The SDK names the operation to its own log by `x-id`, which no service needs.
    const parameters = Object.entries(query).filter(([name]) => name !== "x-id");
    const answer = await this.client.request(
      {
        method,
        bucket: this.bucket,
        key: decodeURIComponent(path.slice(1)),
        query: Object.fromEntries(parameters.map(([name, value]) => [name, value ?? ""])),
        headers: { ...headers, ...options.headers },
        ...(bytes.length > 0 ? { body: bytes, bodyHash: hash("sha256", bytes, "hex") } : {}),
        short: true,
      },
      options.abortSignal,
    );
    if (!options.discardsAnswer) {
      const xml = await readXml(answer, this.bucket);
      throw new Answered(xml && { headers: answer.headers, xml });
    }
    answer.body.discard(0);
    throw new Answered(answer.status === 412 ? undefined : { headers: answer.headers, xml: undefined });
  }
}

/** Carries an answer past the SDK's own reader. */
class Answered extends Error {
  /** @param answer undefined if the condition of the request does not hold. */
  constructor(readonly answer: SdkAnswer | undefined) {
    super("answered");
  }
}
