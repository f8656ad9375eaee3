/**
 * Class of an error of one file. Programs match on it (`error.class` in the JSON output), so no class ever
 * changes its meaning.
 */
export type ErrorClass =
  | "timeout"
  | "connect"
  | "dns"
  | "tls"
  | "proxy"
  | "protocol"
  | "server"
  | "throttled"
  | "not-found"
  | "forbidden"
  | "http"
  | "redirect"
  | "address"
  | "truncated"
  | "changed"
  | "checksum"
  | "encoding"
  | "too-large"
  | "unsupported"
  | "path"
  | "collision"
  | "permission"
  | "disk"
  | "io"
  | "breaker"
  | "locked"
  | "cancelled"
  | "removed"
  | "poison"
  | "credentials"
  | "internal";

export interface TransferErrorOptions {
  /** A permanent error is never retried. Default false. */
  permanent?: boolean;
  /** What the host's circuit breaker learns: `fail` counts against the host, `ok` for it. Default `none`. */
  verdict?: Verdict;
  /** Status of the HTTP answer, where the error is one. */
  httpStatus?: number;
  /** Wait in ms that the server asked for (Retry-After). */
  retryAfterMs?: number;
  /** Whether the host is overloaded: the whole fleet then sends it fewer requests. Default false. */
  throttled?: boolean;
  cause?: unknown;
}

/** What one attempt says about its host: it works, it does not, or nothing. */
export type Verdict = "ok" | "fail" | "none";

/**
 * One file could not be carried. The storage that caused the error classifies it; retry logic only reads the
 * class.
 */
export class TransferError extends Error {
  readonly class: ErrorClass;
  readonly permanent: boolean;
  readonly verdict: Verdict;
  readonly httpStatus: number | undefined;
  readonly retryAfterMs: number | undefined;
  readonly throttled: boolean;

  constructor(cls: ErrorClass, message: string, options: TransferErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TransferError";
    this.class = cls;
    this.permanent = options.permanent ?? false;
    this.verdict = options.verdict ?? "none";
    this.httpStatus = options.httpStatus;
    this.retryAfterMs = options.retryAfterMs;
    this.throttled = options.throttled ?? false;
  }
}

/** An unusable setting or argument: the command stops before anything changes (exit 2; 64 for fetch). */
export class SettingsError extends Error {
  override name = "SettingsError";
}

/** Something that Drover needs is missing, such as Redis (exit 2; 42 for a missing program in fetch). */
export class UnavailableError extends Error {
  override name = "UnavailableError";
}

/** The `code` of a Node system error, or undefined. */
export function errnoCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** The message of anything thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, " ");
}

const DISK = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);
const DENIED = new Set(["EACCES", "EPERM", "EROFS"]);
/** What to look at where the code does not tell. */
const HINTS: Record<string, string> = {
  EPERM: ": an attribute (lsattr), a sticky directory or a rule of the system forbids it",
  EBUSY: ": it is a mount point, or in use by another program",
};
const PATH = new Set(["ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "EEXIST", "ENOTEMPTY", "EINVAL"]);

/**
 * Converts a file-system error to a {@link TransferError}. A full disk is permanent, because retries cannot
 * succeed until space is freed; the next sync continues.
 *
 * @param doing the failed operation, e.g. `write /data/a.csv`.
 */
export function fileError(error: unknown, doing: string): TransferError {
  if (error instanceof TransferError) return error;
  const code = errnoCode(error) ?? "";
  const options = { permanent: true, cause: error };
  const hint = HINTS[code] ?? "";
  if (DISK.has(code)) return new TransferError("disk", `no space left: cannot ${doing} (${code})`, options);
  if (DENIED.has(code))
    return new TransferError("permission", `permission denied: cannot ${doing} (${code})${hint}`, options);
  if (PATH.has(code)) return new TransferError("path", `cannot ${doing} (${code})`, options);
  if (code === "ENOENT") return new TransferError("not-found", `no such file: cannot ${doing}`, options);
  return new TransferError("io", `cannot ${doing} (${code || messageOf(error)})${hint}`, { cause: error });
}
