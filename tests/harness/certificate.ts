import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TlsFiles } from "./fault-origin.js";

export interface Certificate extends TlsFiles {
  /** For NODE_EXTRA_CA_CERTS. */
  readonly certPath: string;
  readonly keyPath: string;
}

/**
 * A fresh self-signed certificate, made by openssl below `directory`.
 *
 * @param names as a subjectAltName has them.
 */
export async function selfSigned(directory: string, names = "IP:127.0.0.1"): Promise<Certificate> {
  const keyPath = join(directory, "key.pem");
  const certPath = join(directory, "cert.pem");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyPath];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", `subjectAltName=${names}`];
  await promisify(execFile)("openssl", ["req", "-x509", ...key, ...subject, "-days", "2", "-out", certPath]);
  return { key: await readFile(keyPath, "utf8"), cert: await readFile(certPath, "utf8"), certPath, keyPath };
}
