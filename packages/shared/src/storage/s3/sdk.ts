import { hash } from "node:crypto";
import {
  type $Command,
  S3Client as AwsS3Client,
  type S3ClientResolvedConfig,
  type ServiceInputTypes,
  type ServiceOutputTypes,
} from "@aws-sdk/client-s3";
import type { AnswerHeaders, Headers, HttpAnswer, HttpMessage } from "../http/client.js";
import { readXml, unintelligible } from "./answer.js";
import type { S3Client } from "./client.js";

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

/** How a command is sent. */
export interface SendOptions {
  signal: AbortSignal;
  /** More headers, sent exactly as given. Default: those of the command alone. */
  headers?: Headers;
  /** Name of the root element that the answer must have. Default: the body of the answer is not read. */
  root?: string;
}

/** The options that the SDK passes on to its request handler with each request. */
interface HandlerOptions {
  abortSignal: AbortSignal;
  headers: Headers | undefined;
  root: string | undefined;
  /** Set by the handler: the headers of an answer that says success. */
  answerHeaders?: AnswerHeaders;
}

/**
 * Sends the rare requests with the AWS SDK. The SDK turns a command into a request, and an answer into a result. In
 * between, S3Client sends the request as it sends ours: over the same connections, with the same time limits,
 * credentials, signatures and errors.
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
   * @returns its result and the headers of the answer; undefined if the condition that it was sent under does not hold.
   * @throws TransferError as {@link S3Client.request} does, and of class `protocol` for an answer that makes no sense.
   */
  async send<I extends SdkInput, O extends SdkOutput>(
    command: SdkCommand<I, O>,
    { signal, headers, root }: SendOptions,
  ): Promise<{ output: O; headers: AnswerHeaders } | undefined> {
    const options: HandlerOptions = { abortSignal: signal, headers, root };
    try {
      const output = await this.#sdk.send(command, options);
      return { output, headers: options.answerHeaders ?? {} };
    } catch (error) {
      if (error instanceof ConditionFailed) return undefined;
      // The SDK could not read the answer. It adds a line for its own users.
      if (options.answerHeaders) throw unintelligible((error as Error).message.replace(/\n.*/s, ""));
      throw error;
    }
  }

  async #handle({ method, path, query, headers, body = "" }: SdkRequest, options: HandlerOptions) {
    const bytes = Buffer.from(body);
    const answer = await this.client.request(
      {
        method,
        bucket: this.bucket,
        key: decodeURIComponent(path.slice(1)),
        query: Object.fromEntries(Object.entries(query).map(([name, value]) => [name, value ?? ""])),
        headers: { ...headers, ...options.headers },
        ...(bytes.length > 0 ? { body: bytes, bodyHash: hash("sha256", bytes, "hex") } : {}),
        short: true,
      },
      options.abortSignal,
    );
    const content = await this.#read(answer, options.root);
    options.answerHeaders = answer.headers;
    return { response: { statusCode: answer.status, headers: answer.headers, body: Buffer.from(content) } };
  }

  /** @returns the body of an answer, checked. */
  async #read(answer: HttpAnswer, root: string | undefined): Promise<string> {
    if (root === undefined) {
      answer.body.discard(0);
      if (answer.status === 412) throw new ConditionFailed();
      return "";
    }
    const xml = await readXml(answer, this.bucket);
    if (!xml) throw new ConditionFailed();
    if (xml.root.name !== root) throw unintelligible(`it is no ${root}`);
    return readableXml(xml.text);
  }
}

/** Passes through the SDK that a condition does not hold. */
class ConditionFailed extends Error {}

/**
 * Prepares well-formed XML for the reader of the SDK. That one takes a prefix for a part of the name, and understands no
 * character references above U+FFFF.
 *
 * @throws TransferError of class `protocol` if elements have prefixes: their content would be missing from the result.
 */
function readableXml(xml: string): string {
  if (/<[\w.-]+:/.test(xml)) throw unintelligible("its elements have prefixes");
  return xml.replace(/&#(?:x([0-9a-f]{5,6})|(\d{5,7}));/gi, (reference, hex?: string, decimal?: string) => {
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    return code > 0xffff ? String.fromCodePoint(code) : reference;
  });
}
