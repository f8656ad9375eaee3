import { z } from "zod";
import { shortHash } from "./ids.js";

export const grantSchema = z.object({ grantee: z.string().max(1024), permission: z.string().max(256) });

/** One grant of an access list, in the terms of the server that keeps it. */
export type Grant = z.infer<typeof grantSchema>;

export const accessSchema = z.object({
  owner: z.string().max(1024).optional(),
  grants: z.array(grantSchema).max(1000).optional(),
});

/** Who owns a file, and who else may do what with it. Absent properties are left as they are. */
export type Access = z.infer<typeof accessSchema>;

/** Who may do what with a file. Absent properties are left as they are. */
export interface Permissions extends Access {
  /** POSIX permission bits. */
  mode?: number;
}

/** A hash of owner and grants, to compare them by, 12 characters of base64url; undefined where there are none. */
export function accessHash({ owner, grants }: Access): string | undefined {
  if (owner === undefined && grants === undefined) return undefined;
  return shortHash("access", JSON.stringify([owner, grants])).slice(0, 12);
}
