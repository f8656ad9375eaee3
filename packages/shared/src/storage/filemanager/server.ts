import type { z } from "zod";
import { TransferError } from "../../errors.js";
import type { Permissions } from "../../permissions.js";
import type { Headers, HttpAnswer, HttpClient, HttpMessage } from "../http/client.js";
import {
  bytesOf,
  dropBody,
  plainEtag,
  readAnswer,
  reprDigest,
  serverError,
  sha256Of,
} from "../remote/answer.js";
import { secretOf } from "../remote/credentials.js";
import { encodePath } from "../remote/root.js";
import type {
  Bound,
  FileServer,
  Moved,
  PermissionsSet,
  RemoteFile,
  RemoteHead,
  Removed,
  ServerNature,
  Upload,
  Written,
} from "../remote/server.js";
import {
  HEADERS,
  headerText,
  healthSchema,
  pageSchema,
  type Stored,
  storedSchema,
  type WirePermissions,
} from "./contract.js";
import { type FileManagerPlace, placeOf } from "./root.js";

/** What an error tells to set where the server refuses the token. */
const CREDENTIALS = "FILE_MANAGER_TOKEN or FILE_MANAGER_TOKEN_FILE";
/** The answer to `GET /health` may take so long. */
const HEALTH_MS = 60_000;
/** Files of one page of a listing. */
const PAGE_FILES = 1000;
/** If a listing sends so many pages, it does not end. */
const MOST_PAGES = 1_000_000;

/** A file manager that speaks the contract of docs/file-managers.md. */
export class FileManagerServer implements FileServer {
  readonly #place: FileManagerPlace;
  #nature: Promise<ServerNature> | undefined;

  /** @param root as `parseFileManagerRoot` gives it. */
  constructor(
    private readonly http: HttpClient,
    root: string,
  ) {
    this.#place = placeOf(root);
  }

  /** No file cancels the request, because other files wait for it. */
  nature(): Promise<ServerNature> {
    this.#nature ??= this.#health(AbortSignal.timeout(HEALTH_MS));
    this.#nature.catch(() => {
      this.#nature = undefined;
    });
    return this.#nature;
  }

  async #health(signal: AbortSignal): Promise<ServerNature> {
    const answer = await this.ask("/health", {}, signal, { method: "GET", short: true });
    if (answer.status !== 200) throw this.error(answer);
    const health = parseAs(healthSchema, await readAnswer(answer));
    if (!health)
      throw new TransferError("unsupported", "GET /health does not answer as a file manager does", {
        permanent: true,
        verdict: "ok",
      });
    const { conditions, permissions } = health;
    return {
      stages: true,
      putIsWhole: true,
      putIsConditional: conditions,
      moveReplacesWhole: true,
      moveIsConditional: conditions,
      removeIsConditional: conditions,
      keepsPermissions: permissions,
    };
  }

  async head(name: string, signal: AbortSignal): Promise<RemoteHead | undefined> {
    const answer = await this.ask(this.#file(name), {}, signal, { method: "HEAD" });
    dropBody(answer);
    if (answer.status === 404) return undefined;
    const { headers, status } = answer;
    const sizeBytes = Number(headers["content-length"]);
    if (status !== 200) throw this.error(answer);
    if (headers.etag === undefined || !Number.isSafeInteger(sizeBytes)) throw strange("HEAD", status);
    const mode = headers[HEADERS.mode];
    return {
      sizeBytes,
      etag: plainEtag(headers.etag),
      sha256: sha256Of(headers["repr-digest"]),
      mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
    };
  }

  async put(name: string, upload: Upload, bound: Bound, signal: AbortSignal): Promise<Written> {
    const { body, sizeBytes, sha256, sourceVersion, permissions = {} } = upload;
    const headers: Headers = {
      "content-type": "application/octet-stream",
      ...(sizeBytes === undefined ? {} : { "content-length": String(sizeBytes) }),
      ...(sha256 === undefined ? {} : { "repr-digest": reprDigest(sha256) }),
      ...(sourceVersion === undefined ? {} : { [HEADERS.sourceVersion]: headerText(sourceVersion) }),
      ...permissionHeaders(permissions),
      ...boundHeaders(bound),
    };
    const answer = await this.ask(this.#file(name), headers, signal, { method: "PUT", body, short: true });
    if (answer.status === 412) return refused(answer);
    if (answer.status === 422) {
      dropBody(answer);
      const why = "the bytes that arrived at the file manager are not those that were sent";
      throw new TransferError("checksum", `wrong checksum: ${why}`, { verdict: "ok", httpStatus: 422 });
    }
    if (answer.status !== 200 && answer.status !== 201) throw this.error(answer);
    const stored = storedIn(await readAnswer(answer));
    return { is: "done", head: stored ? headOf(stored) : await this.#look(name, signal) };
  }

  /** Asks what is there, of a server that does not tell what it stored. */
  async #look(name: string, signal: AbortSignal): Promise<RemoteHead> {
    const head = await this.head(name, signal);
    if (head) return head;
    throw lost();
  }

  async move(from: string, to: string, bound: Bound, signal: AbortSignal): Promise<Moved> {
    const { prefix } = this.#place;
    const body = Buffer.from(JSON.stringify({ from: prefix + from, to: prefix + to }));
    const headers = {
      "content-type": "application/json",
      "content-length": String(body.length),
      ...boundHeaders(bound),
    };
    const answer = await this.ask("/move", headers, signal, { method: "POST", body, short: true });
    if (answer.status === 412) return refused(answer);
    if (answer.status === 404) {
      dropBody(answer);
      return { is: "gone" };
    }
    if (answer.status !== 200) throw this.error(answer);
    const stored = storedIn(await readAnswer(answer));
    return { is: "done", head: stored ? headOf(stored) : await this.#look(to, signal) };
  }

  async remove(name: string, bound: Bound, signal: AbortSignal): Promise<Removed> {
    const headers = boundHeaders(bound);
    const answer = await this.ask(this.#file(name), headers, signal, { method: "DELETE", short: true });
    dropBody(answer);
    if (answer.status === 412) return "refused";
    if (answer.status === 204 || answer.status === 200 || answer.status === 404) return "removed";
    throw this.error(answer);
  }

  async get(name: string, headers: Headers, signal: AbortSignal): Promise<HttpAnswer> {
    const answer = await this.ask(this.#file(name), headers, signal, { method: "GET" });
    if (answer.status === 401 || answer.status === 403) throw this.error(answer);
    return answer;
  }

  async read(name: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined> {
    const answer = await this.get(name, {}, signal);
    if (answer.status === 200) return bytesOf(answer);
    if (answer.status !== 404) throw this.error(answer);
    dropBody(answer);
    return undefined;
  }

  async setPermissions(name: string, permissions: Permissions, signal: AbortSignal): Promise<PermissionsSet> {
    const body = Buffer.from(JSON.stringify(wireOf(permissions)));
    const headers = { "content-type": "application/json", "content-length": String(body.length) };
    const answer = await this.ask(this.#file(name), headers, signal, { method: "PATCH", body, short: true });
    if (answer.status === 501 || answer.status === 405) {
      dropBody(answer);
      return { is: "unsupported" };
    }
    if (answer.status === 202 || answer.status === 404) {
      dropBody(answer);
      return { is: "absent" };
    }
    if (answer.status !== 200 && answer.status !== 204) throw this.error(answer);
    const stored = storedIn(await readAnswer(answer));
    return stored ? { is: "set", etag: plainEtag(stored.etag) } : { is: "set" };
  }

  async *list(signal: AbortSignal): AsyncGenerator<RemoteFile[]> {
    const { prefix } = this.#place;
    let after = "";
    for (let pages = 0; pages < MOST_PAGES; pages++) {
      const query = new URLSearchParams({ limit: String(PAGE_FILES), prefix, after });
      const answer = await this.ask(`/files?${query}`, {}, signal, { method: "GET", short: true });
      if (answer.status !== 200) throw this.error(answer);
      const page = parseAs(pageSchema, await readAnswer(answer));
      if (!page) throw strange("GET /files", answer.status);
      const files: RemoteFile[] = [];
      for (const { path, size, etag } of page.files)
        if (path.startsWith(prefix))
          files.push({ name: path.slice(prefix.length), sizeBytes: size, etag: plainEtag(etag) });
      yield files;
      if (page.next === null) return;
      if (page.next === after) break;
      after = page.next;
    }
    throw new TransferError("protocol", "the listing of the file manager does not end", { permanent: true });
  }

  async exists(signal: AbortSignal): Promise<boolean> {
    const { prefix } = this.#place;
    if (prefix === "") return true;
    const query = new URLSearchParams({ limit: "1", prefix });
    const answer = await this.ask(`/files?${query}`, {}, signal, { method: "GET", short: true });
    if (answer.status !== 200) throw this.error(answer);
    const page = parseAs(pageSchema, await readAnswer(answer));
    if (!page) throw strange("GET /files", answer.status);
    return page.files.length > 0;
  }

  async refusal(signal: AbortSignal): Promise<TransferError | undefined> {
    try {
      await this.nature();
      // Whether it serves may be told to everybody, its files are not.
      const answer = await this.ask("/files?limit=1", {}, signal, { method: "GET", short: true });
      if (answer.status === 401 || answer.status === 403) return this.error(answer);
      dropBody(answer);
      return undefined;
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      return ["credentials", "unsupported", "forbidden", "not-found", "redirect"].includes(error.class)
        ? error
        : undefined;
    }
  }

  #file(name: string): string {
    return `/files/${encodePath(this.pathOf(name))}`;
  }

  /** Path of a file from the root of the file manager. */
  protected pathOf(name: string): string {
    return this.#place.prefix + name;
  }

  /** Sends a request to the interface. @param path after its base. */
  protected ask(
    path: string,
    headers: Headers,
    signal: AbortSignal,
    message: HttpMessage,
  ): Promise<HttpAnswer> {
    const token = secretOf("FILE_MANAGER_TOKEN");
    const sent = token === undefined ? headers : { ...headers, authorization: `Bearer ${token}` };
    const { origin, api } = this.#place;
    return this.http.ask(origin, api + path, sent, signal, message);
  }

  /** The error that an answer stands for. */
  protected error(answer: HttpAnswer): TransferError {
    return serverError(answer, CREDENTIALS);
  }
}

/** The error of a file manager that has confirmed a file and does not have it. */
export function lost(): TransferError {
  const why = "the file manager accepted the file and does not have it";
  return new TransferError("io", why, { verdict: "fail" });
}

function refused(answer: HttpAnswer): { is: "refused" } {
  dropBody(answer);
  return { is: "refused" };
}

/** What an answer tells of a file. */
export function headOf({ size, etag, sha256, permissions }: Stored): RemoteHead {
  const mode = permissions?.mode;
  return {
    sizeBytes: size,
    etag: plainEtag(etag),
    sha256,
    mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
  };
}

function boundHeaders({ base, fence, from }: Bound): Headers {
  return {
    ...(from === undefined ? {} : { [HEADERS.fromMatch]: from }),
    ...(base === undefined
      ? {}
      : base.is === "absent"
        ? { "if-none-match": "*" }
        : { "if-match": base.etag }),
    ...(fence === undefined ? {} : { [HEADERS.fence]: fence }),
  };
}

function permissionHeaders({ mode, owner, grants }: Permissions): Headers {
  return {
    ...(mode === undefined ? {} : { [HEADERS.mode]: octal(mode) }),
    ...(owner === undefined ? {} : { [HEADERS.owner]: headerText(owner) }),
    ...(grants === undefined ? {} : { [HEADERS.grants]: headerText(JSON.stringify(grants)) }),
  };
}

/** Permissions as they are sent. */
export function wireOf({ mode, ...others }: Permissions): WirePermissions {
  return { ...others, ...(mode === undefined ? {} : { mode: octal(mode) }) };
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

/** What a server says that it stored; undefined where it does not. */
export function storedIn(text: string): Stored | undefined {
  return parseAs(storedSchema, text);
}

function parseAs<S extends z.ZodType>(schema: S, text: string): z.infer<S> | undefined {
  try {
    return schema.safeParse(JSON.parse(text), { jitless: true }).data;
  } catch {
    return undefined; // no JSON
  }
}

function strange(request: string, status: number): TransferError {
  return new TransferError("protocol", `${request} was not answered as a file manager does (${status})`, {
    permanent: true,
    verdict: "ok",
  });
}
