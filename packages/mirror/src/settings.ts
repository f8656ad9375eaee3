import { SettingsError } from "@drover/shared/errors";
import { z } from "zod";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const time = z.union([z.number(), z.string()]);
const text = z.string().min(1).max(4_096);

const mirrorSchema = z.strictObject({
  source: text.optional(),
  destination: text.optional(),
  "s3-endpoint": text.optional(),
  "s3-region": text.optional(),
  "s3-profile": text.optional(),
  "s3-path-style": z.boolean().optional(),
  "s3-anonymous": z.boolean().optional(),
  "s3-dest-endpoint": text.optional(),
  "s3-dest-region": text.optional(),
  "s3-dest-profile": text.optional(),
  interval: time.optional(),
  "reconcile-interval": time.optional(),
  "report-urls": z.array(z.url({ protocol: /^https?$/ })).optional(),
  "report-secret": text.optional(),
  "report-secret-file": text.optional(),
  database: text.optional(),
  "data-dir": text.optional(),
  backup: text.optional(),
  "backup-endpoint": text.optional(),
  "max-delete": z.union([z.number(), z.string()]).optional(),
});

/** What a settings file says of one mirror. */
export type MirrorSection = z.infer<typeof mirrorSchema>;

/**
 * Reads the section `mirrors` of a settings file.
 *
 * @param section undefined where there is none.
 * @param place of it, for people.
 * @throws SettingsError on one line, which never shows a secret.
 */
export function mirrorSectionsOf(section: unknown, place: string): Record<string, MirrorSection> {
  const read = z.record(z.string(), mirrorSchema).safeParse(section ?? {});
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new SettingsError(
      `${["mirrors", ...(issue?.path ?? [])].join(".")} in ${place}: ${issue?.message}`,
    );
  }
  for (const name of Object.keys(read.data)) checkMirrorName(name);
  return read.data;
}

/** @throws SettingsError for a name that no mirror can have. */
export function checkMirrorName(name: string): void {
  if (!NAME.test(name))
    throw new SettingsError(
      `the name of a mirror is 1 to 64 letters, digits, _ and -, not ${JSON.stringify(name)}`,
    );
}
