import { z } from "zod";
import { accessSchema } from "../../permissions.js";

/** Name of the contract and its version, as `GET /health` gives it. */
export const CONTRACT = "drover-file-manager/1";

/** Octal permission bits, such as `0644`. */
const mode = z.string().regex(/^[0-7]{3,4}$/);

/** Permissions of a file, as they are sent and answered. */
export const permissionsSchema = z.object({
  mode: mode.optional(),
  ...accessSchema.shape,
});

export type WirePermissions = z.infer<typeof permissionsSchema>;

/** Answer to `GET /health`. */
export const healthSchema = z.object({
  status: z.literal("ok"),
  contract: z.literal(CONTRACT),
  /** Whether If-Match and If-None-Match are obeyed. */
  conditions: z.boolean(),
  /** Whether permissions are kept. */
  permissions: z.boolean(),
});

/** What is stored by a name. */
export const storedSchema = z.object({
  path: z.string(),
  /** In bytes. */
  size: z.number().int().min(0),
  /** Hexadecimal. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  etag: z.string(),
  sourceVersion: z.string().optional(),
  permissions: permissionsSchema.optional(),
});

export type Stored = z.infer<typeof storedSchema>;

/** A page of a listing. `next` is the `after` of the page that follows; null on the last one. */
export const pageSchema = z.object({
  files: z.array(z.object({ path: z.string(), size: z.number().int().min(0), etag: z.string() })),
  next: z.string().nullable(),
});

/** Body of `POST /move`. */
export const moveSchema = z.object({ from: z.string(), to: z.string() });

/** Answer to a PATCH of a file that is not there yet. */
export const keptSchema = z.object({ path: z.string(), keptUntil: z.string() });

/** Error answers (RFC 9457). */
export const problemSchema = z.object({
  title: z.string(),
  status: z.number().int(),
  detail: z.string().optional(),
});

/** Names of the contract's own headers. */
export const HEADERS = {
  fence: "drover-fence",
  sourceVersion: "drover-source-version",
  mode: "drover-mode",
  owner: "drover-owner",
  grants: "drover-grants",
  fromMatch: "drover-from-match",
} as const;

/** A text as the value of a header: percent-encoded, since a name may have any character. */
export function headerText(text: string): string {
  return encodeURIComponent(text);
}
