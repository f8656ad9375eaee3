import { verify } from "node:crypto";
import { type FetchCertificate, SnsCertificates } from "./sns-certificate.js";
import type { SnsEnvelope } from "./sns-envelope.js";
import { SnsSignatureError, SnsTimeError, SnsTopicError } from "./sns-errors.js";
import { certificateUrl } from "./sns-url.js";

/** Oldest message that is believed. SNS tries for longer if it is told to: what comes later, a listing finds. */
const MAX_AGE_MS = 3_600_000;
/** How far a message may be ahead of this machine's clock. */
const MAX_AHEAD_MS = 15 * 60_000;

/** Hash of each SignatureVersion. */
const ALGORITHMS = new Map([
  ["1", "RSA-SHA1"],
  ["2", "RSA-SHA256"],
]);
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
const MAX_SIGNATURE_CHARS = 2048;

/** Fields that are signed, in this order. */
const SIGNED_OF_NOTIFICATION = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"] as const;
const SIGNED_OF_CONFIRMATION = [
  "Message",
  "MessageId",
  "SubscribeURL",
  "Timestamp",
  "Token",
  "TopicArn",
  "Type",
] as const;

export interface SnsVerifierOptions {
  fetchCertificate: FetchCertificate;
  /** ARNs of the topics that may send. Default: any topic of anybody. */
  topics?: readonly string[] | undefined;
  /** Hosts that certificates may come from, with their port if it is not 443. Default: AWS's. */
  hosts?: readonly string[] | undefined;
  /** The time in Unix ms. Default: the clock's. */
  now?: () => number;
}

/**
 * Says whether messages were sent by Amazon SNS: signature versions 1 (SHA-1) and 2 (SHA-256). A message that is sent
 * again within an hour passes again.
 */
export class SnsVerifier {
  readonly #topics: ReadonlySet<string> | undefined;
  readonly #hosts: readonly string[] | undefined;
  readonly #now: () => number;
  readonly #certificates: SnsCertificates;

  constructor(options: SnsVerifierOptions) {
    this.#topics = options.topics && new Set(options.topics);
    this.#hosts = options.hosts;
    this.#now = options.now ?? Date.now;
    this.#certificates = new SnsCertificates(options.fetchCertificate, this.#now);
  }

  /**
   * Resolves if the message is SNS's, of an allowed topic and not old. Nothing is fetched before all that can be told
   * without it is told.
   *
   * @throws {SnsTopicError} {@link SnsTimeError} {@link SnsSignatureError} SnsUrlError, SnsCertificateError: all are
   * SnsErrors (sns-errors.ts).
   */
  async verify(envelope: SnsEnvelope): Promise<void> {
    if (this.#topics && !this.#topics.has(envelope.TopicArn))
      throw new SnsTopicError("the topic of the message is not on the list of allowed ones");
    this.#checkTime(envelope);
    const algorithm = ALGORITHMS.get(envelope.SignatureVersion ?? "");
    if (algorithm === undefined) throw new SnsSignatureError("the version of the signature is not 1 or 2");
    const signature = envelope.Signature ?? "";
    if (signature.length > MAX_SIGNATURE_CHARS || !BASE64.test(signature))
      throw new SnsSignatureError("the message has no signature in Base64");
    const certificate = await this.#certificates.get(certificateUrl(envelope, this.#hosts));
    const signed = Buffer.from(stringToSign(envelope), "utf8");
    if (!verify(algorithm, signed, certificate.publicKey, Buffer.from(signature, "base64")))
      throw new SnsSignatureError("the signature is not that of this message");
  }

  #checkTime({ Timestamp }: SnsEnvelope): void {
    const ageMs = this.#now() - Date.parse(Timestamp);
    if (Number.isNaN(ageMs)) throw new SnsTimeError("the message has no time");
    if (ageMs > MAX_AGE_MS) throw new SnsTimeError("the message is older than an hour");
    if (ageMs < -MAX_AHEAD_MS) throw new SnsTimeError("the message is from the future");
  }
}

/** What SNS signs: name and value of each signed field that is there, each with a line feed. */
export function stringToSign(envelope: SnsEnvelope): string {
  const fields = envelope.Type === "Notification" ? SIGNED_OF_NOTIFICATION : SIGNED_OF_CONFIRMATION;
  return fields
    .filter((field) => envelope[field] !== undefined)
    .map((field) => `${field}\n${envelope[field]}\n`)
    .join("");
}
