import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { errnoCode, messageOf, TransferError } from "../../errors.js";

/** Where Linux distributions keep the authorities of the system; the first that exists counts. */
const SYSTEM_FILES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

type Environment = Record<string, string | undefined>;

let known: { names: string; contexts: SecureContexts } | undefined;

/** How connections over TLS are made; undefined as Node makes them anyway. */
export interface SecureContexts {
  /** For hosts that the user named: with the client certificate, if there is one. */
  named: SecureContext | undefined;
  /** For all others. */
  others: SecureContext | undefined;
}

/**
 * What servers' certificates are verified with: Node's own authorities, those of NODE_EXTRA_CA_CERTS, those of the system
 * or, instead of them, of SSL_CERT_FILE and SSL_CERT_DIR, and those of DROVER_CA_FILE. Servers that ask for a certificate get that of DROVER_CLIENT_CERT. All are read once.
 *
 * @throws TransferError class `tls` if a file that a variable names cannot be read, or holds no certificate.
 */
export function secureContexts(environment: Environment = process.env): SecureContexts {
  const { SSL_CERT_FILE, SSL_CERT_DIR, DROVER_CA_FILE, DROVER_CLIENT_CERT, DROVER_CLIENT_KEY } = environment;
  const names = JSON.stringify([
    SSL_CERT_FILE,
    SSL_CERT_DIR,
    DROVER_CA_FILE,
    DROVER_CLIENT_CERT,
    DROVER_CLIENT_KEY,
  ]);
  if (known?.names !== names) known = { names, contexts: contextsOf(environment) };
  return known.contexts;
}

/** @throws TransferError as {@link secureContexts} does, for DROVER_CA_FILE alone. */
export function checkCaFile(path: string): void {
  readFile("the CA file", path);
}

/** @throws TransferError as {@link secureContexts} does, for DROVER_CLIENT_CERT and DROVER_CLIENT_KEY alone. */
export function checkClientCertificate(certPath: string, keyPath: string | undefined): void {
  clientContext(certPath, keyPath, {});
}

function contextsOf(environment: Environment): SecureContexts {
  const own = getCACertificates("default");
  const has = new Set(own.map(bareOf));
  const added = moreAuthorities(environment).filter((each) => !has.has(bareOf(each)));
  const authorities = added.length === 0 ? {} : { ca: [...own, ...added] };
  const others = added.length === 0 ? undefined : createSecureContext(authorities);
  const { DROVER_CLIENT_CERT, DROVER_CLIENT_KEY } = environment;
  if (!DROVER_CLIENT_CERT) return { named: others, others };
  return { named: clientContext(DROVER_CLIENT_CERT, DROVER_CLIENT_KEY || undefined, authorities), others };
}

/** @param keyPath file of the private key. Default: that of the certificate. */
function clientContext(
  certPath: string,
  keyPath: string = certPath,
  authorities: { ca?: string[] },
): SecureContext {
  const read = (what: string, path: string) => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw unusable(`cannot read ${what} ${path} (${errnoCode(error)})`);
    }
  };
  const cert = read("the client certificate", certPath);
  const key = read("the client's key", keyPath);
  try {
    return createSecureContext({ ...authorities, cert, key });
  } catch (error) {
    const code = errnoCode(error) ?? messageOf(error);
    throw unusable(`the client certificate ${certPath} and the key in ${keyPath} cannot be used (${code})`);
  }
}

function moreAuthorities({ SSL_CERT_FILE, SSL_CERT_DIR, DROVER_CA_FILE }: Environment): string[] {
  const found: string[] = [];
  if (DROVER_CA_FILE) found.push(...readFile("the CA file", DROVER_CA_FILE));
  if (SSL_CERT_FILE) found.push(...readFile("SSL_CERT_FILE", SSL_CERT_FILE));
  for (const directory of (SSL_CERT_DIR ?? "").split(":"))
    if (directory !== "") found.push(...readDirectory(directory));
  if (!SSL_CERT_FILE && !SSL_CERT_DIR) found.push(...systemAuthorities());
  return found;
}

function systemAuthorities(): string[] {
  // Node reads the directory of single files, which takes a hundred times as long.
  if (process.platform !== "linux") return getCACertificates("system");
  for (const path of SYSTEM_FILES) {
    try {
      return certificatesOf(readFileSync(path, "utf8"));
    } catch {
      // not on this distribution
    }
  }
  return [];
}

function readFile(what: string, path: string): string[] {
  let found: string[];
  try {
    found = certificatesOf(readFileSync(path, "utf8"));
  } catch (error) {
    throw unusable(`cannot read ${what} ${path} (${errnoCode(error)})`);
  }
  if (found.length === 0) throw unusable(`${what} ${path} holds no certificate in PEM format`);
  try {
    createSecureContext({ ca: found });
  } catch {
    throw unusable(`${what} ${path} holds a certificate that is not valid`);
  }
  return found;
}

/** As OpenSSL does: what is not there or no certificate is passed over. */
function readDirectory(path: string): string[] {
  try {
    return readdirSync(path).flatMap((name) => {
      try {
        return certificatesOf(readFileSync(join(path, name), "utf8"));
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

function unusable(message: string): TransferError {
  return new TransferError("tls", message, { permanent: true });
}

function certificatesOf(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
}

/** A certificate without its line breaks, to compare it. */
function bareOf(pem: string): string {
  return pem.replace(/\s/g, "");
}
