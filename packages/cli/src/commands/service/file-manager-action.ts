import { readFileSync } from "node:fs";
import { startFileManager } from "@drover/file-manager/server";
import { messageOf, SettingsError, TransferError } from "@drover/shared/errors";
import { secretOf } from "@drover/shared/storage/remote/credentials";
import { EXIT } from "../../exit.js";
import { commandLog } from "../../log/log.js";
import { parseBinarySize } from "../../settings/units.js";
import { onStopSignal } from "../../signals.js";

/** For so long requests may go on after a signal. */
const DRAIN_MS = 30_000;

export interface FileManagerFlags {
  root: string;
  host?: string;
  port?: string;
  tokenFile?: string;
  maxFileSize?: string;
  durability?: string;
  quiet?: boolean;
}

/** `drover file-manager`: serves a directory until a signal, and logs JSON lines to standard output. */
export async function serveFiles(flags: FileManagerFlags): Promise<number> {
  const { root, host = "127.0.0.1", maxFileSize, quiet } = flags;
  const write = (line: Record<string, unknown>) => {
    const { level, ...fields } = line;
    commandLog()?.[level === "error" ? "error" : "info"](fields);
    if (quiet && level === "info") return;
    process.stdout.write(`${JSON.stringify({ ts: new Date().toISOString(), ...line })}\n`);
  };
  const options = {
    root,
    host,
    port: portOf(flags.port ?? "8001"),
    token: tokenOf(flags),
    durable: durabilityOf(flags.durability ?? "fsync"),
    mostBytes: maxFileSize === undefined ? undefined : parseBinarySize("--max-file-size", maxFileSize),
    log: write,
  };
  const server = await startFileManager(options).catch((error) => {
    throw new SettingsError(`cannot serve ${root}: ${messageOf(error)}`);
  });
  process.stdout.write(
    `${JSON.stringify({ level: "info", message: "file manager ready", host, port: server.port, root })}\n`,
  );
  await new Promise<void>((resolve) => onStopSignal(() => resolve(), EXIT.interrupted));
  await server.stop(DRAIN_MS);
  return EXIT.ok;
}

/** @throws SettingsError that repeats nothing of the file. */
function tokenOf({ tokenFile }: FileManagerFlags): string | undefined {
  let token: string | undefined;
  try {
    token = tokenFile === undefined ? secretOf("FILE_MANAGER_TOKEN") : readFileSync(tokenFile, "utf8").trim();
  } catch (error) {
    if (error instanceof TransferError) throw new SettingsError(error.message);
    throw new SettingsError(`cannot read the token in ${tokenFile}`);
  }
  if (token === "") throw new SettingsError("the token is empty");
  return token;
}

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw new SettingsError(`--port must be a number from 0 to 65535, not ${text}`);
}

function durabilityOf(text: string): boolean {
  if (text === "fsync" || text === "none") return text === "fsync";
  throw new SettingsError(`--durability must be fsync or none, not ${text}`);
}
