/** What `drover doctor` looks at. No check changes anything, and none says a secret. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, lstatSync, readFileSync, realpathSync, statfsSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { errnoCode, messageOf } from "@drover/shared/errors";
import { refuseForeign, userId } from "@drover/shared/private-directory";
import { parseAddress, showAddress } from "@drover/shared/redis/address";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import { checkSocketDir, chooseSocketDir, reasonOf } from "@drover/shared/redis/embedded/layout";
import prettyBytes from "pretty-bytes";
import type { Settings } from "../../settings/settings.js";

export interface Finding {
  /** What was looked at. */
  check: string;
  /** `missing`: no sync would work. `warning`: some would not, or not well. */
  state: "ok" | "warning" | "missing";
  message: string;
  /** What to do about it. */
  remedy?: string;
}

const ok = (check: string, message: string): Finding => ({ check, state: "ok", message });
const warning = (check: string, message: string, remedy?: string): Finding => ({
  check,
  state: "warning",
  message,
  ...(remedy === undefined ? {} : { remedy }),
});
const missing = (check: string, message: string, remedy?: string): Finding => ({
  ...warning(check, message, remedy),
  state: "missing",
});

/** The oldest server whose options Drover uses. */
const LEAST_REDIS = "6.2";
const HOW_TO_GET_REDIS =
  "apt-get install redis-server, dnf install valkey, apk add valkey or brew install valkey; or name one with --redis";
const MANY_FILES = 1024;
const LITTLE_MEMORY_BYTES = 256 * 1024 ** 2;
const LITTLE_SPACE_BYTES = 1024 ** 3;
const NO_SPACE_BYTES = 16 * 1024 ** 2;
/** Leases last 30 seconds; a difference of less than this disturbs nothing. */
const CLOCKS_DIFFER_MS = 5_000;
/** A clock before this is not set. */
const EARLIEST = Date.UTC(2026, 0, 1);

/** What a program prints, or undefined if it cannot be run or fails. */
function outputOf(program: string, ...args: string[]): string | undefined {
  try {
    return execFileSync(program, args, {
      encoding: "utf8",
      timeout: 5_000,
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}

/** Older versions do not come here: packages/cli/src/main.ts refuses them. */
export function node(): Finding {
  return ok("Node", `${process.versions.node} (${process.execPath})`);
}

/** The server that Drover would start. */
export async function redisServer(): Promise<Finding> {
  const check = "Redis";
  const server = findRedisServer();
  if (server === undefined) return missing(check, "no valkey-server or redis-server found", HOW_TO_GET_REDIS);
  const version = /\bv=(\d+\.\d+\.\d+)/.exec(outputOf(server, "--version") ?? "")?.[1];
  if (version === undefined) return missing(check, `${server} does not tell its version`, HOW_TO_GET_REDIS);
  return checkVersion(check, version, `${server} ${version}`);
}

function checkVersion(check: string, version: string, message: string): Finding {
  if (version.localeCompare(LEAST_REDIS, "en", { numeric: true }) >= 0) return ok(check, message);
  return missing(check, message, `Drover needs ${LEAST_REDIS} or newer`);
}

/** Whether the Redis that is named answers, is one to trust with a queue, and what its clock says. */
export async function fleetRedis(url: string): Promise<Finding[]> {
  const address = parseAddress(url);
  const { connect } = await import("@drover/shared/redis/connect");
  try {
    const redis = await connect(address);
    try {
      const info = await redis.info();
      const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1];
      const valkey = field("valkey_version");
      const version = field("redis_version") ?? "0";
      const name = valkey === undefined ? `Redis ${version}` : `Valkey ${valkey}`;
      const policy = field("maxmemory_policy") ?? "noeviction";
      const message = `${showAddress(address)} answers: ${name}, maxmemory-policy ${policy}`;
      const before = Date.now();
      const [seconds, microseconds] = await redis.time();
      const differenceMs = Number(seconds) * 1000 + Number(microseconds) / 1000 - (before + Date.now()) / 2;
      return [checkVersion("Redis", version, message), clockOfRedis(differenceMs)];
    } finally {
      redis.disconnect();
    }
  } catch (error) {
    return [missing("Redis", messageOf(error))];
  }
}

function clockOfRedis(differenceMs: number): Finding {
  const message = `${(Math.abs(differenceMs) / 1000).toFixed(1)} s ${differenceMs < 0 ? "behind" : "ahead of"} this machine's`;
  return Math.abs(differenceMs) < CLOCKS_DIFFER_MS
    ? ok("clock of Redis", message)
    : warning("clock of Redis", message, "set both by NTP");
}

/** The nearest directory above a path, or the path itself, that is there. */
function nearest(path: string): string {
  let found = path;
  while (lstatSync(found, { throwIfNoEntry: false }) === undefined && dirname(found) !== found)
    found = dirname(found);
  return found;
}

/** Whether the state directory can be used, or made. */
export function stateDirectory(stateDir: string): Finding {
  const check = "state directory";
  const elsewhere = "name another with --state-dir";
  try {
    const there = nearest(stateDir);
    const stat = statSync(there);
    if (!stat.isDirectory()) return missing(check, `${there} is no directory`, elsewhere);
    if (there === stateDir) refuseForeign(there, lstatSync(there));
    accessSync(there, constants.W_OK | constants.X_OK);
    const { bavail, bsize } = statfsSync(there);
    const freeBytes = bavail * bsize;
    const owner =
      there === stateDir ? `owner ${stat.uid === userId() ? "you" : `uid ${stat.uid}`}` : "to be made";
    const message = `${stateDir}, ${owner}, ${prettyBytes(freeBytes)} free`;
    if (freeBytes < NO_SPACE_BYTES) return missing(check, message, `free some space, or ${elsewhere}`);
    if (freeBytes < LITTLE_SPACE_BYTES) return warning(check, message, "free some space");
    return ok(check, message);
  } catch (error) {
    return missing(check, `cannot use ${stateDir} (${reasonOf(error)})`, elsewhere);
  }
}

/** Whether there is a safe place for the sockets of Drover's own Redis. */
export function socketDirectory(stateDir: string): Finding {
  const check = "socket directory";
  try {
    const real =
      lstatSync(stateDir, { throwIfNoEntry: false }) === undefined ? stateDir : realpathSync(stateDir);
    const directory = chooseSocketDir(real);
    if (!checkSocketDir(directory)) accessSync(nearest(directory), constants.W_OK | constants.X_OK);
    return ok(check, directory);
  } catch (error) {
    return missing(check, reasonOf(error));
  }
}

/** The limit of open files. Node has already raised it as far as it may. */
export function openFiles(): Finding {
  const check = "open files";
  const limit = outputOf("/bin/sh", "-c", "ulimit -n");
  if (limit === undefined) return warning(check, "the limit is not known");
  const message = `${limit} at once (ulimit -n)`;
  return limit === "unlimited" || Number(limit) >= MANY_FILES
    ? ok(check, message)
    : warning(check, message, "lower --max-workers, or raise the hard limit (ulimit -Hn)");
}

/** Memory that is left for this process, by its container's limit too. */
export function memory(): Finding {
  const availableBytes = process.availableMemory();
  const message = `${prettyBytes(availableBytes)} available`;
  return availableBytes >= LITTLE_MEMORY_BYTES
    ? ok("memory", message)
    : warning("memory", message, "lower --max-workers");
}

/** Whether the clock is set. TLS and S3 refuse one that is wrong. */
export function clock(): Finding {
  const now = new Date().toISOString();
  if (Date.now() < EARLIEST) return warning("clock", now, "it is wrong: set it");
  const synchronized = outputOf("timedatectl", "show", "--property=NTPSynchronized", "--value");
  if (synchronized === "no") return warning("clock", `${now}, not synchronised`, "timedatectl set-ntp true");
  return ok("clock", synchronized === "yes" ? `${now}, synchronised` : now);
}

/** Names of the variables of proxies that are set: their values may hold passwords. */
export function proxies(): Finding {
  const names = Object.keys(process.env).filter(
    (name) => /^((https?|all|no)_proxy|node_use_env_proxy)$/i.test(name) && process.env[name] !== "",
  );
  return ok("proxy", names.length === 0 ? "no variables" : `${names.sort().join(", ")} set`);
}

/** Whether the files of authorities that variables name can be read and hold a certificate. */
export function authorities(): Finding[] {
  const names = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DROVER_REDIS_CA"].filter(
    (name) => process.env[name],
  );
  if (names.length === 0) return [ok("authorities", "those of Node, no variables")];
  return names.map((name) => {
    const path = process.env[name] as string;
    try {
      if (readFileSync(path, "utf8").includes("-----BEGIN")) return ok(name, path);
      return warning(name, `${path} holds no certificate in PEM form`);
    } catch (error) {
      return warning(name, `cannot read ${path} (${errnoCode(error) ?? messageOf(error)})`);
    }
  });
}

type S3Settings = Pick<Settings, "s3-endpoint" | "s3-region" | "s3-profile" | "s3-anonymous">;

/**
 * Where credentials for S3 would come from.
 *
 * @param online whether they may be asked for over the network.
 */
export async function s3Credentials(settings: S3Settings, online: boolean): Promise<Finding> {
  const check = "S3 credentials";
  if (settings["s3-anonymous"]) return ok(check, "none wanted (s3-anonymous)");
  const place = placeOfCredentials(settings["s3-profile"]);
  if (!online) {
    if (place !== undefined) return ok(check, `in ${place}`);
    return warning(check, "none found; only s3:// needs some", "--online asks the machine for its role");
  }
  const { credentialsOf } = await import("@drover/shared/storage/s3/service/credentials");
  const spec = {
    endpoint: settings["s3-endpoint"] ?? "https://s3.amazonaws.com",
    region: settings["s3-region"] ?? "us-east-1",
    pathStyle: false,
    anonymous: false,
    requesterPays: false,
    profile: settings["s3-profile"],
  };
  try {
    await credentialsOf(spec)();
    return ok(check, `given by ${place ?? "the machine or a service"}`);
  } catch (error) {
    return warning(check, messageOf(error));
  }
}

/** The first place, in AWS's order, that has credentials or says how to get them. */
function placeOfCredentials(profile: string | undefined): string | undefined {
  const { env } = process;
  if (profile === undefined) {
    const { CUSTOMER_S3_ENDPOINT, CUSTOMER_S3_ACCESS_KEY, CUSTOMER_S3_SECRET_KEY } = env;
    if (CUSTOMER_S3_ENDPOINT && CUSTOMER_S3_ACCESS_KEY && CUSTOMER_S3_SECRET_KEY)
      return "CUSTOMER_S3_ACCESS_KEY, for CUSTOMER_S3_ENDPOINT";
    if (env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY) return "AWS_ACCESS_KEY_ID";
  }
  const name = profile ?? "default";
  const files = [
    env.AWS_SHARED_CREDENTIALS_FILE || join(homedir(), ".aws/credentials"),
    env.AWS_CONFIG_FILE || join(homedir(), ".aws/config"),
  ];
  const file = files.find((path) => hasCredentials(path, name));
  if (file !== undefined) return `profile ${name} of ${file}`;
  return [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
  ].find((variable) => env[variable]);
}

/** Whether a file of AWS has a section for the profile that says where keys come from. */
function hasCredentials(path: string, profile: string): boolean {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return false;
  }
  const section = text
    .split(/^\s*(?=\[)/m)
    .find((each) => [profile, `profile ${profile}`].includes(/^\[\s*(.*?)\s*\]/.exec(each)?.[1] ?? ""));
  return /^\s*(aws_access_key_id|role_arn|credential_process|sso_\w+|web_identity_token_file|login_session)\s*=/m.test(
    section ?? "",
  );
}
