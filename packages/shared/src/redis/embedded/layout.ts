/**
 * Where the embedded Redis of a state directory keeps its files and sockets, and who may touch them. Shared by the
 * process that opens it (embedded.ts) and the one that runs it (supervisor.ts).
 */
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { errnoCode, UnavailableError } from "../../errors.js";
import { makeDirectory } from "../../make-directory.js";
import { makePrivateDirectory, refuseForeign, userId } from "../../private-directory.js";

/** The embedded Redis cannot be had. The message is one line: what, which file, what to do about it. */
export class EmbeddedError extends UnavailableError {
  override readonly name = "EmbeddedError";
}

/** The files of one state directory; `stateDir` and `dataDir` are real paths. */
export interface Layout {
  readonly stateDir: string;
  /** The data of Redis, the lock and the logs. */
  readonly dataDir: string;
  /** Locked by the supervisor for as long as it lives. */
  readonly lockFile: string;
  /** Which process is the supervisor, and where its sockets are: see {@link SupervisorRecord}. */
  readonly recordFile: string;
  readonly supervisorLog: string;
  readonly redisLog: string;
  readonly redisPid: string;
}

export function layoutOf(realStateDir: string): Layout {
  const dataDir = realpathSync(join(realStateDir, "redis"));
  return {
    stateDir: realStateDir,
    dataDir,
    lockFile: join(dataDir, "keeper.lock"),
    recordFile: join(dataDir, "keeper.json"),
    supervisorLog: join(dataDir, "keeper.log"),
    redisLog: join(dataDir, "redis.log"),
    redisPid: join(dataDir, "redis.pid"),
  };
}

/**
 * Creates the state directory where it is missing and takes possession of `redis/` in it.
 * @throws EmbeddedError if it cannot be created, written or made private.
 */
export function prepareStateDir(stateDir: string): Layout {
  try {
    makeDirectory(stateDir, 0o700);
    refuseForeign(stateDir, lstatSync(stateDir));
    const real = realpathSync(stateDir);
    // The state directory itself may be one that the user made, and others may read it; ours inside it is private.
    makePrivateDirectory(join(real, "redis"));
    return layoutOf(real);
  } catch (error) {
    throw new EmbeddedError(
      `cannot use the state directory ${stateDir}: ${reasonOf(error)}; name one of your own`,
    );
  }
}

export const supervisorSocket = (socketDir: string): string => join(socketDir, "k.sock");
export const redisSocket = (socketDir: string): string => join(socketDir, "r.sock");

/** `sun_path` holds 104 bytes on macOS and 108 on Linux, the closing zero included. */
const MAX_SOCKET_PATH_BYTES = 103;

/**
 * The directory that this process would choose for the sockets. Not in the state directory: its path may be
 * too long for a socket, and its file system may not know any.
 */
export function chooseSocketDir(realStateDir: string, env: NodeJS.ProcessEnv = process.env): string {
  const hash = createHash("sha256").update(realStateDir).digest("hex").slice(0, 12);
  const runtime = env.XDG_RUNTIME_DIR;
  if (runtime !== undefined && isAbsolute(runtime) && isOwnDirectory(runtime)) {
    const dir = join(runtime, "drover", hash);
    if (Buffer.byteLength(supervisorSocket(dir)) <= MAX_SOCKET_PATH_BYTES) return dir;
  }
  return join(`/tmp/drover-${userId()}`, hash);
}

/**
 * Whether the socket directory is there, checked to be private: in `/tmp` anybody may have made it first, to
 * hand us a Redis of their own. Once it is ours in a sticky directory, nobody else can replace it.
 * @param create makes it (and its parent) if it is missing.
 * @throws EmbeddedError if it, or its parent, is not a directory that only we can enter.
 */
export function checkSocketDir(socketDir: string, create = false): boolean {
  for (const dir of [dirname(socketDir), socketDir]) {
    try {
      if (create) mkdirSync(dir, { mode: 0o700 });
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") {
        throw new EmbeddedError(`cannot create the socket directory ${dir}: ${reasonOf(error)}`);
      }
    }
    const found = lstatSync(dir, { throwIfNoEntry: false });
    if (found === undefined) return false;
    if (!found.isDirectory() || found.uid !== userId() || (found.mode & 0o077) !== 0) {
      throw new EmbeddedError(
        `${dir} is not a directory that only you can enter, so no socket in it can be trusted: ` +
          "remove it, or set XDG_RUNTIME_DIR to a private directory",
      );
    }
  }
  return true;
}

/**
 * Where the sockets really are. The choice above depends on the environment (a cron job has no
 * XDG_RUNTIME_DIR, a login shell has), but all processes of one state directory must meet: the supervisor writes
 * down where it listens, everybody looks there first, and its successor stays there if it can.
 */
export interface SupervisorRecord {
  readonly pid: number;
  /** The machine; a state directory may sit on a network file system. */
  readonly host: string;
  readonly socketDir: string;
}

/** What the present or the last supervisor wrote, or undefined if there is nothing legible. */
export function readRecord(layout: Layout): SupervisorRecord | undefined {
  try {
    const record: Partial<SupervisorRecord> = JSON.parse(readFileSync(layout.recordFile, "utf8"));
    const { pid, host, socketDir } = record;
    if (typeof pid !== "number" || typeof host !== "string" || typeof socketDir !== "string")
      return undefined;
    return { pid, host, socketDir };
  } catch {
    return undefined;
  }
}

/** Only for the supervisor that holds the lock. */
export function writeRecord(layout: Layout, socketDir: string): void {
  const record: SupervisorRecord = { pid: process.pid, host: hostname(), socketDir };
  // Never half-written: without it, processes that would choose another directory could not find us.
  const temporary = `${layout.recordFile}.new`;
  writeSmallFile(temporary, `${JSON.stringify(record)}\n`);
  renameSync(temporary, layout.recordFile);
}

/** @throws EmbeddedError that names the file. */
export function writeSmallFile(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (error) {
    throw new EmbeddedError(`cannot write ${path}: ${reasonOf(error)}`);
  }
}

/** The socket directory of the record, if it was written on this machine. */
export function recordedSocketDir(layout: Layout): string | undefined {
  const record = readRecord(layout);
  return record?.host === hostname() ? record.socketDir : undefined;
}

/** The message of an error as one line, in plain words for the common causes. */
export function reasonOf(error: unknown): string {
  const plain: Record<string, string> = {
    EACCES: "permission denied",
    EPERM: "not permitted",
    EROFS: "the file system is read-only",
    ENOSPC: "the disk is full",
    EDQUOT: "the disk quota is used up",
    ENOTDIR: "a part of the path is not a directory",
    EEXIST: "it is not a directory",
  };
  const message = error instanceof Error ? error.message : String(error);
  return plain[errnoCode(error) ?? ""] ?? message.replace(/\s*\n\s*/g, "; ");
}

function isOwnDirectory(path: string): boolean {
  try {
    const found = statSync(path);
    return found.isDirectory() && found.uid === userId();
  } catch {
    return false;
  }
}
