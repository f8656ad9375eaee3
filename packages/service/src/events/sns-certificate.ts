import { X509Certificate } from "node:crypto";
import { messageOf } from "@drover/shared/errors";
import { SnsCertificateError } from "./sns-errors.js";

/** Names of certificates of SNS: sns.amazonaws.com, sns.REGION, sns-REGION and sns-signing.REGION. */
const SNS_NAME = /^sns(-signing)?([.-][a-z]{2,}(-[a-z]+)+-\d+)?\.amazonaws\.com(\.cn)?$/;
const MAX_PEM_CHARS = 64 * 1024;
const MAX_CHAIN = 5;
const MIN_KEY_BITS = 2048;
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Gets a PEM file. It must bound time and size, check the server's certificate and follow no redirects. */
export type FetchCertificate = (url: string) => Promise<string>;

/** Fetches certificates of SNS, and keeps those that are good for an hour, 16 at most. */
export class SnsCertificates {
  static readonly #KEPT_MS = 3_600_000;
  static readonly #MOST_KEPT = 16;
  /** Anybody can send messages that name certificates: this many are fetched at once, further ones are refused. */
  static readonly #MOST_FETCHES = 4;
  readonly #kept = new Map<string, { certificate: X509Certificate; untilMs: number }>();
  readonly #fetches = new Map<string, Promise<X509Certificate>>();

  constructor(
    private readonly fetchCertificate: FetchCertificate,
    private readonly now: () => number,
  ) {}

  /**
   * The certificate at a URL of which it is known that it leads to SNS.
   *
   * @throws {SnsCertificateError}
   */
  async get(url: string): Promise<X509Certificate> {
    const certificate = this.#fresh(url) ?? (await this.#fetch(url));
    checkDates(certificate, this.now());
    return certificate;
  }

  #fresh(url: string): X509Certificate | undefined {
    const kept = this.#kept.get(url);
    return kept && kept.untilMs > this.now() ? kept.certificate : undefined;
  }

  /** Messages that come together wait for one fetch. */
  #fetch(url: string): Promise<X509Certificate> {
    const running = this.#fetches.get(url);
    if (running) return running;
    if (this.#fetches.size >= SnsCertificates.#MOST_FETCHES)
      return Promise.reject(new SnsCertificateError("too many certificates are being fetched"));
    const fetch = this.#fetchAndKeep(url).finally(() => this.#fetches.delete(url));
    this.#fetches.set(url, fetch);
    return fetch;
  }

  async #fetchAndKeep(url: string): Promise<X509Certificate> {
    const pem = await this.fetchCertificate(url).catch((error: unknown) => {
      throw new SnsCertificateError(`the certificate of SNS cannot be fetched: ${messageOf(error)}`, {
        cause: error,
      });
    });
    const certificate = readCertificate(pem, this.now());
    this.#kept.delete(url);
    this.#kept.set(url, { certificate, untilMs: this.now() + SnsCertificates.#KEPT_MS });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > SnsCertificates.#MOST_KEPT && oldest !== undefined) this.#kept.delete(oldest);
    return certificate;
  }
}

/**
 * Reads a PEM file and checks its first certificate: name, dates, key, and that each further one issued the one before.
 * Up to a trusted root it cannot be followed, because SNS serves the first alone: what it is trusted for is where it was
 * fetched from, over https.
 */
function readCertificate(pem: string, nowMs: number): X509Certificate {
  const chain = parsePem(pem);
  const [certificate] = chain;
  if (!certificate) throw new SnsCertificateError("what was fetched is no certificate");
  for (const each of chain) checkDates(each, nowMs);
  if (!namesOf(certificate).some((name) => SNS_NAME.test(name)))
    throw new SnsCertificateError("the certificate is not one of SNS");
  const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
  if (asymmetricKeyType !== "rsa" || (asymmetricKeyDetails?.modulusLength ?? 0) < MIN_KEY_BITS)
    throw new SnsCertificateError(`the certificate has no RSA key of ${MIN_KEY_BITS} bits or more`);
  for (const [index, issuer] of chain.slice(1).entries()) {
    const issued = chain[index];
    if (!issuer.ca || !issued?.checkIssued(issuer) || !issued.verify(issuer.publicKey))
      throw new SnsCertificateError("the chain of the certificate is broken");
  }
  return certificate;
}

function parsePem(pem: string): X509Certificate[] {
  if (pem.length > MAX_PEM_CHARS) throw new SnsCertificateError("the certificate is larger than 64 KiB");
  const blocks = pem.match(PEM) ?? [];
  if (blocks.length > MAX_CHAIN) throw new SnsCertificateError("the chain of the certificate is too long");
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw new SnsCertificateError("what was fetched is no certificate", { cause: error });
  }
}

function checkDates(certificate: X509Certificate, nowMs: number): void {
  if (nowMs < certificate.validFromDate.getTime())
    throw new SnsCertificateError("the certificate is not valid yet");
  if (nowMs > certificate.validToDate.getTime()) throw new SnsCertificateError("the certificate has expired");
}

/** Its common names, and its DNS names. */
function namesOf({ subject, subjectAltName }: X509Certificate): string[] {
  const common = (subject ?? "").split("\n").filter((line) => line.startsWith("CN="));
  const alternative = (subjectAltName ?? "").split(", ").filter((name) => name.startsWith("DNS:"));
  return [
    ...common.map((line) => line.slice("CN=".length)),
    ...alternative.map((name) => name.slice("DNS:".length)),
  ];
}
