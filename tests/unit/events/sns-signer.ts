import { execFile } from "node:child_process";
import { sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { SnsEnvelope } from "@drover/service/events/sns-envelope";

const run = promisify(execFile);

export interface Signer {
  /** PEM of the certificate. */
  certificate: string;
  /** PEM of the private key. */
  key: string;
}

/** What a certificate is to be, see {@link makeSigner}. */
export interface SignerOptions {
  /** Default `sns.amazonaws.com`. */
  name?: string;
  /** As openssl takes it. Default an RSA key of 2,048 bits. */
  key?: readonly string[];
}

/** Makes a self-signed certificate by openssl, valid for two days from now. */
export async function makeSigner(directory: string, options: SignerOptions = {}): Promise<Signer> {
  const { name = "sns.amazonaws.com", key = ["-newkey", "rsa:2048"] } = options;
  const keyPath = join(directory, `${crypto.randomUUID()}.key`);
  const certificatePath = `${keyPath}.pem`;
  const files = ["-nodes", "-keyout", keyPath, "-out", certificatePath];
  await run("openssl", ["req", "-x509", ...key, ...files, "-subj", `/CN=${name}`, "-days", "2"]);
  return { certificate: await readFile(certificatePath, "utf8"), key: await readFile(keyPath, "utf8") };
}

/** The fields that are signed, as the documentation of SNS lists them. */
const NOTIFICATION = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"] as const;
const CONFIRMATION = [
  "Message",
  "MessageId",
  "SubscribeURL",
  "Timestamp",
  "Token",
  "TopicArn",
  "Type",
] as const;

/** The envelope with the signature of SNS: version 1 is SHA-1, version 2 SHA-256. */
export function signed(envelope: SnsEnvelope, { key }: Signer, version: "1" | "2" = "2"): SnsEnvelope {
  let text = "";
  for (const field of envelope.Type === "Notification" ? NOTIFICATION : CONFIRMATION)
    if (envelope[field] !== undefined) text += `${field}\n${envelope[field]}\n`;
  const signature = sign(version === "1" ? "RSA-SHA1" : "RSA-SHA256", Buffer.from(text), key);
  return { ...envelope, SignatureVersion: version, Signature: signature.toString("base64") };
}
