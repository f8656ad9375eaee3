import { readFileSync } from "node:fs";
import { checkMirrorName } from "@drover/mirror/settings";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { destinationOf } from "@drover/shared/storage/registry";
import { parseS3 } from "@drover/shared/storage/s3/object/name";
import { z } from "zod";
import { isBelowAny } from "../runs/submission.js";
import type { EventRoute, EventSettings } from "./route.js";

/** Removals of one batch, where a route does not say. */
const MAX_DELETE = 100;
/** A secret is a part of a path: no character of it is ever encoded. */
const SECRET = /^[A-Za-z0-9._~-]{16,200}$/;
const SECRET_RULE = "must be 16 to 200 characters of A-Z, a-z, 0-9, '.', '_', '~' and '-'";

const routeSchema = z.strictObject({
  bucket: z.string().min(1).max(255),
  prefix: z.string().max(1_024).default(""),
  destination: z.string().min(1).max(4_096).optional(),
  mirror: z.string().min(1).max(64).optional(),
  delete: z.boolean().default(false),
  "max-delete": z.int().min(0).max(1_000_000).default(MAX_DELETE),
  "backup-dir": z.string().min(1).max(4_096).optional(),
  suffix: z.string().min(1).max(200).optional(),
  secret: z.string().regex(SECRET, SECRET_RULE).optional(),
  "secret-file": z.string().min(1).optional(),
});
const eventsSchema = z.strictObject({
  routes: z.array(routeSchema).max(1_000).default([]),
  sns: z
    .strictObject({
      topics: z.array(z.string().regex(/^arn:[^\s]{1,508}$/, "must be the ARN of a topic")).default([]),
    })
    .prefault({}),
});

/** What the section does not say. */
export interface EventSurroundings {
  /** Directories, and `s3://bucket/prefix`, that destinations must lie below. */
  roots: string[];
  /** Bucket and directory of the only route where the section has none; no bucket, no route. */
  bucket: string | undefined;
  downloadDir: string;
}

/**
 * Reads the section `events` of a settings file.
 *
 * @param section undefined where there is none.
 * @param place of it, for people.
 * @throws SettingsError on one line, which never shows a secret.
 */
export function eventSettingsOf(
  section: unknown,
  place: string,
  { roots, bucket, downloadDir }: EventSurroundings,
): EventSettings {
  const read = eventsSchema.safeParse(section ?? {});
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new SettingsError(`${["events", ...(issue?.path ?? [])].join(".")} in ${place}: ${issue?.message}`);
  }
  const { routes, sns } = read.data;
  if (routes.length > 0)
    return {
      routes: routes.map((each, at) => routeOf(each, `events.routes.${at} in ${place}`, roots)),
      topics: sns.topics,
    };
  const only: EventRoute[] =
    bucket === undefined
      ? []
      : [{ bucket, prefix: "", destination: downloadDir, deletes: false, maxDelete: 0, secret: undefined }];
  return { routes: only, topics: sns.topics };
}

function routeOf(given: z.infer<typeof routeSchema>, where: string, roots: string[]): EventRoute {
  const { bucket, prefix, destination, mirror } = given;
  parseS3(`s3://${bucket}/`);
  if ((destination === undefined) === (mirror === undefined))
    throw new SettingsError(`${where.replace(" ", ".destination ")}: set it, or else mirror, and not both`);
  if (destination === undefined) {
    checkMirrorName(mirror as string); // its settings need not be here
    const secret = secretOf(given, where);
    return { bucket, prefix, destination: "", mirror, deletes: true, maxDelete: 0, secret };
  }
  const rootOf = (text: string, what: string) => {
    const root = destinationOf(text).parseRoot(text, process.cwd());
    if (isBelowAny(root, roots)) return root;
    throw new SettingsError(
      `${where}: the ${what} ${root} is not below ${roots.join(" or ")}: --root says what is`,
    );
  };
  const root = rootOf(destination, "destination");
  const secret = secretOf(given, where);
  const { delete: deletes, "max-delete": maxDelete, "backup-dir": backupDir, suffix } = given;
  const dir = backupDir === undefined ? undefined : rootOf(backupDir, "backup-dir");
  const backup = dir === undefined && suffix === undefined ? {} : { backup: { dir, suffix } };
  return { bucket, prefix, destination: root, deletes, maxDelete, ...backup, secret };
}

function secretOf(
  { secret, "secret-file": file }: z.infer<typeof routeSchema>,
  where: string,
): string | undefined {
  if (file === undefined) return secret;
  if (secret !== undefined)
    throw new SettingsError(`${where}: secret and secret-file exclude each other: set one`);
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new SettingsError(`${where}: cannot read secret-file ${file} (${errnoCode(error)})`);
  }
  if (!SECRET.test(text)) throw new SettingsError(`${where}: what is in secret-file ${file} ${SECRET_RULE}`);
  return text;
}
