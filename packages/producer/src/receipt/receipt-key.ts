import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";

/** Name of the private key in the state directory. */
const KEY_FILE = "receipt-key.pem";
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;

/** A private key that signs receipts. What it is never leaves it. */
export interface SigningKey {
  sign(bytes: Uint8Array): Uint8Array;
  /** The public half as PEM, for {@link parsePublicKey}. */
  readonly publicPem: string;
  /** As that of the {@link VerifyingKey}. */
  readonly fingerprint: string;
}

/** A public key that receipts are verified with. */
export interface VerifyingKey {
  verify(bytes: Uint8Array, signature: Uint8Array): boolean;
  /** SHA-256 of the key (DER), hexadecimal: tells people which key it is. */
  readonly fingerprint: string;
}

/**
 * The key that receipts are signed with: that of the state directory, which is made at its first use and never replaced.
 * Processes that make it at the same time get the same one.
 *
 * @throws SettingsError for a key that others may read or have put there, a link, and what is no Ed25519 key.
 */
export function receiptKey(stateDir: string): SigningKey {
  const path = join(stateDir, KEY_FILE);
  const key = readKey(path) ?? makeKey(path);
  const publicKey = createPublicKey(key);
  return {
    sign: (bytes) => sign(null, bytes, key),
    publicPem: publicKey.export({ type: "spki", format: "pem" }) as string,
    fingerprint: fingerprintOf(publicKey),
  };
}

function fingerprintOf(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** Reads the PEM of a public key. A private one is refused: nobody but the signer should have it. */
export function parsePublicKey(pem: string): VerifyingKey {
  if (!/^\s*-----BEGIN PUBLIC KEY-----/.test(pem))
    throw new SettingsError("the key must be a public key in PEM, as `drover receipt key` prints it");
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw new SettingsError("the key is no public key");
  }
  if (key.asymmetricKeyType !== "ed25519") throw new SettingsError("the key is no public key of Ed25519");
  return {
    verify: (bytes, signature) => verify(null, bytes, key, signature),
    fingerprint: fingerprintOf(key),
  };
}

function readKey(path: string): KeyObject | undefined {
  let fd: number;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW);
  } catch (error) {
    const code = errnoCode(error);
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw refused(path, "it is a link");
    throw refused(path, `it cannot be read (${code})`);
  }
  try {
    const stat = fstatSync(fd);
    const { mode, uid } = stat;
    if (!stat.isFile()) throw refused(path, "it is not a regular file");
    const own = process.geteuid?.() ?? uid;
    if (uid !== own) throw refused(path, `it belongs to another user (uid ${uid})`);
    if ((mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, "0");
      throw refused(path, `others may use it (mode ${shown}): chmod 600 if nobody has`);
    }
    return parsePrivateKey(path, readFileSync(fd, "utf8"));
  } finally {
    closeSync(fd);
  }
}

function parsePrivateKey(path: string, pem: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    // refused below, without a word of what is in it
  }
  if (key?.asymmetricKeyType === "ed25519") return key;
  throw refused(path, "it is no private key of Ed25519");
}

/** Writes it under another name, whole and synced, and links it: the link fails where another process was first. */
function makeKey(path: string): KeyObject {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const temporary = `${path}.${randomBytes(8).toString("hex")}`;
  try {
    makeDirectory(dirname(path), 0o700);
    const fd = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      fchmodSync(fd, 0o600); // whatever the umask is
      writeSync(fd, pem);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    linkSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (error) {
    if (errnoCode(error) !== "EEXIST") throw refused(path, `it cannot be made (${errnoCode(error)})`);
  } finally {
    rmSync(temporary, { force: true });
  }
  const key = readKey(path);
  if (!key) throw refused(path, "it was removed as soon as it was made");
  return key;
}

function syncDirectory(path: string): void {
  const fd = openSync(path, O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function refused(path: string, why: string): SettingsError {
  return new SettingsError(`the key of receipts, ${path}, is not used: ${why}`);
}
