import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { MirrorConfig } from "@drover/mirror/config";
import { checkMirrorName, type MirrorSection, mirrorSectionsOf } from "@drover/mirror/settings";
import type { S3Settings } from "@drover/producer/runs/plan/request";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { parseRoot } from "@drover/shared/storage/registry";
import { parseS3, s3Text } from "@drover/shared/storage/s3/object/name";
import { requestOf, servicesRequestOf } from "./run-request.js";
import type { Resolved } from "./settings.js";
import { parseDuration, parseMostDeleted } from "./units.js";

/** The mirror of the variables, where no other is named. */
const DEFAULT = "default";
const SECRET = /^whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * The settings of a mirror: its section in the settings file, then, for the mirror `default`, the variables below, then their
 * defaults. An empty variable is as good as none.
 *
 * @param name default: the only mirror of the file, else `default`.
 * @throws SettingsError naming the setting.
 */
export function mirrorConfigOf(name: string | undefined, resolved: Resolved): MirrorConfig {
  const { value, place = "drover.yaml" } = resolved.mirrors ?? {};
  const sections = mirrorSectionsOf(value, place);
  const names = Object.keys(sections);
  const chosen = name ?? (names.length === 1 ? (names[0] as string) : DEFAULT);
  checkMirrorName(chosen);
  const section = Object.hasOwn(sections, chosen) ? sections[chosen] : undefined;
  if (section === undefined && chosen !== DEFAULT)
    throw new SettingsError(
      `there is no mirror ${chosen} in ${place}: ${names.length === 0 ? "it has none" : `it has ${names.join(", ")}`}`,
    );
  return configOf(chosen, section ?? {}, resolved);
}

/** The settings of all mirrors of the file, and of the one of the variables. */
export function mirrorConfigsOf(resolved: Resolved): MirrorConfig[] {
  const names = Object.keys(
    mirrorSectionsOf(resolved.mirrors?.value, resolved.mirrors?.place ?? "drover.yaml"),
  );
  if (!names.includes(DEFAULT) && variable("CUSTOMER_S3_BUCKET") !== undefined) names.push(DEFAULT);
  return names.map((name) => mirrorConfigOf(name, resolved));
}

function configOf(name: string, section: MirrorSection, resolved: Resolved): MirrorConfig {
  const of = (variableName: string) => (name === DEFAULT ? variable(variableName) : undefined);
  const where = (setting: string) => `mirrors.${name}.${setting}`;
  const bucket = of("CUSTOMER_S3_BUCKET");
  const source = section.source ?? (bucket === undefined ? undefined : s3Text({ bucket, key: "" }));
  if (source === undefined)
    throw new SettingsError(
      name === DEFAULT
        ? "no mirror is set: set CUSTOMER_S3_BUCKET, or mirrors.NAME.source in drover.yaml (docs/mirror.md)"
        : `${where("source")} says what is mirrored: set it to s3://bucket/prefix`,
    );
  if (!/^s3:\/\//i.test(source)) throw new SettingsError(`${where("source")} must be s3://bucket/prefix`);
  const { bucket: read, key } = parseS3(source);
  const time = (setting: "interval" | "reconcile-interval", variableName: string, fallback: string) => {
    const given = section[setting] ?? of(variableName) ?? fallback;
    const ms = parseDuration(section[setting] === undefined ? variableName : where(setting), String(given));
    if (ms < 1_000) throw new SettingsError(`${where(setting)} must be a second at least`);
    return ms;
  };
  const urls = section["report-urls"] ?? [
    ...new Set(
      [of("REPORT_URL"), ...(of("REPORT_URLS") ?? "").split(",")]
        .map((each) => each?.trim() ?? "")
        .filter((each) => each !== ""),
    ),
  ];
  for (const url of urls)
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
      throw new SettingsError("REPORT_URL and REPORT_URLS must be http(s) URLs");
  const database = section.database ?? of("DATABASE_PATH");
  const target = of("TARGET_S3_BUCKET");
  const backup = section.backup ?? (target === undefined ? undefined : s3Text({ bucket: target, key: "" }));
  return {
    name,
    bucket: read,
    prefix: key === "" || key.endsWith("/") ? key : `${key}/`,
    root: rootOf(name, section, resolved),
    intervalMs: time("interval", "SYNC_INTERVAL", "300"),
    reconcileMs: time("reconcile-interval", "RECONCILE_INTERVAL", "24h"),
    reportUrls: urls,
    reportSecret: secretOf(section, of, where("report-secret")),
    database: database === undefined ? undefined : resolve(database),
    dataDir: resolve(section["data-dir"] ?? of("DATA_DIR") ?? "data"),
    backup: backup === undefined ? undefined : parseRoot(backup, process.cwd()),
    backupEndpoint: section["backup-endpoint"] ?? of("TARGET_S3_ENDPOINT"),
    most: parseMostDeleted(String(section["max-delete"] ?? of("MAX_DELETE") ?? "50%")),
    request: { ...commonOf(resolved), label: `mirror ${name}`, s3: s3Of(section, of, resolved) },
  };
}

/** Where the files go: the variable of the file manager goes before that of its stand-in. */
function rootOf(name: string, section: MirrorSection, { values, origins }: Resolved): string {
  if (section.destination !== undefined) return parseRoot(section.destination, process.cwd());
  const url = name === DEFAULT ? (variable("FILE_MANAGER_API_URL") ?? variable("MOCK_API_URL")) : undefined;
  if (url !== undefined) return parseRoot(`filemanager+${url}`, process.cwd());
  if (origins["artifact-root"] !== "default") return values["artifact-root"];
  throw new SettingsError(
    `where do the files of the mirror ${name} go? Set mirrors.${name}.destination in drover.yaml${name === DEFAULT ? ", or FILE_MANAGER_API_URL" : ""}`,
  );
}

/** What runs of mirrors have in common with those of the command line. */
function commonOf(resolved: Resolved): MirrorConfig["request"] {
  const { selection, destination, ...common } = requestOf([], {}, resolved);
  return common;
}

function s3Of(
  section: MirrorSection,
  of: (name: string) => string | undefined,
  resolved: Resolved,
): NonNullable<MirrorConfig["request"]["s3"]> {
  const set: S3Settings = servicesRequestOf(resolved).s3;
  const isTyped = resolved.origins["s3-endpoint"] === "flag";
  const endpoint = section["s3-endpoint"] ?? (isTyped ? undefined : of("CUSTOMER_S3_ENDPOINT"));
  const destination = {
    endpoint: section["s3-dest-endpoint"] ?? set.destination?.endpoint,
    region: section["s3-dest-region"] ?? set.destination?.region,
    profile: section["s3-dest-profile"] ?? set.destination?.profile,
  };
  return {
    ...set,
    ...(endpoint === undefined ? {} : { endpoint: endpoint.replace(/\/$/, "") }),
    ...(section["s3-region"] === undefined ? {} : { region: section["s3-region"] }),
    ...(section["s3-profile"] === undefined ? {} : { profile: section["s3-profile"], ambientProfile: false }),
    ...(section["s3-path-style"] === undefined ? {} : { pathStyle: section["s3-path-style"] }),
    ...(section["s3-anonymous"] === undefined ? {} : { anonymous: section["s3-anonymous"] }),
    destination,
  };
}

function secretOf(
  section: MirrorSection,
  of: (name: string) => string | undefined,
  where: string,
): string | undefined {
  const file = section["report-secret-file"] ?? of("REPORT_SECRET_FILE");
  let secret = section["report-secret"] ?? of("REPORT_SECRET");
  if (file !== undefined && secret !== undefined)
    throw new SettingsError(`${where} and ${where}-file exclude each other: set one`);
  if (file !== undefined)
    try {
      secret = readFileSync(file, "utf8").trim();
    } catch (error) {
      throw new SettingsError(`${where}-file: cannot read ${file} (${errnoCode(error)})`);
    }
  if (secret !== undefined && !SECRET.test(secret))
    throw new SettingsError(`${where} must be whsec_ and 24 to 64 bytes in base64`);
  return secret;
}

function variable(name: string): string | undefined {
  return process.env[name] || undefined;
}
