import { randomBytes } from "node:crypto";
import { TransferError } from "../../errors.js";
import type { Headers, HttpAnswer, HttpClient, HttpMessage } from "../http/client.js";
import { compareKeys } from "../key-order.js";
import { bytesOf, dropBody, readAnswer, serverError } from "../remote/answer.js";
import { secretOf } from "../remote/credentials.js";
import { encodePath, type RemoteUrl, urlOf } from "../remote/root.js";
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
import { type DavKind, kindOf } from "./kind.js";
import { type DavResource, PROPFIND_BODY, resourcesOf } from "./listing.js";

/** What an error tells to set where the server refuses the credentials. */
const CREDENTIALS = "WEBDAV_USER and WEBDAV_PASSWORD or WEBDAV_PASSWORD_FILE";
/** Files of one batch of a listing. */
const BATCH_FILES = 1000;
/** Directories nested deeper are taken for a loop. */
const MOST_DEPTH = 256;
/** A probe may take so long. */
const PROBE_MS = 60_000;
/** An ETag that no file has. */
const NO_ETAG = '"drover-no-such-version"';

/** Files below a directory of a WebDAV server (RFC 4918). */
export class WebDavServer implements FileServer {
  readonly #url: RemoteUrl;
  readonly #depth: number;
  readonly #directories = new Map<string, Promise<void>>();
  #nature: Promise<ServerNature> | undefined;

  /** @param root canonical. */
  constructor(
    private readonly http: HttpClient,
    root: string,
  ) {
    this.#url = urlOf(root);
    this.#depth = this.#url.path.split("/").filter(Boolean).length;
  }

  /** No file cancels the probe, because other files wait for it, and because it has to clean up. */
  nature(): Promise<ServerNature> {
    this.#nature ??= this.#findOut(AbortSignal.timeout(PROBE_MS));
    this.#nature.catch(() => {
      this.#nature = undefined;
    });
    return this.#nature;
  }

  async #findOut(signal: AbortSignal): Promise<ServerNature> {
    const kind = await this.#kind(signal);
    // No file can have such a name, see STAGING_NAME.
    const name = `.drover-${randomBytes(12).toString("base64url")}`;
    const put = async (headers: Headers) => {
      const bytes = { body: Buffer.from("probe"), sizeBytes: 5, sha256: undefined };
      const answer = await this.#put(name, bytes, headers, signal);
      dropBody(answer);
      if (answer.status !== 412 && !isSuccess(answer)) throw this.#error(answer);
      return answer.status !== 412;
    };
    await this.#makeDirectory(this.#url.path, signal);
    let removeIsConditional = false;
    try {
      await put({});
      const overwrites = await put({ "if-none-match": "*" });
      const mismatches = overwrites || (await put({ "if-match": NO_ETAG }));
      removeIsConditional = !(await this.#delete(name, { "if-match": NO_ETAG }, signal));
      return {
        ...kind,
        stages: true,
        putIsConditional: !mismatches,
        moveIsConditional: false,
        removeIsConditional,
        keepsPermissions: false,
      };
    } finally {
      await this.#delete(name, {}, signal);
    }
  }

  async #kind(signal: AbortSignal): Promise<DavKind> {
    const answer = await this.#propfind(this.#url.path, 0, signal);
    if (answer.status === 404) dropBody(answer);
    else await this.#resources(answer);
    return kindOf(answer.headers);
  }

  async head(name: string, signal: AbortSignal): Promise<RemoteHead | undefined> {
    const answer = await this.#propfind(this.#path(name), 0, signal);
    if (answer.status === 404 || answer.status === 410) {
      dropBody(answer);
      return undefined;
    }
    const [resource] = await this.#resources(answer);
    if (!resource) return undefined;
    if (resource.isDirectory)
      throw new TransferError("path", "the destination is a directory", { permanent: true, verdict: "ok" });
    const { sizeBytes, etag } = resource;
    return { sizeBytes, etag, sha256: undefined, mode: undefined };
  }

  async put(name: string, upload: Upload, { base }: Bound, signal: AbortSignal): Promise<Written> {
    const directory = this.#path(name).slice(0, this.#path(name).lastIndexOf("/"));
    await this.#makeDirectory(directory, signal);
    const condition: Headers =
      base === undefined ? {} : base.is === "absent" ? { "if-none-match": "*" } : { "if-match": base.etag };
    const answer = await this.#put(name, upload, condition, signal);
    if (answer.status === 412) {
      dropBody(answer);
      return { is: "refused" };
    }
    if (!isSuccess(answer)) {
      this.#directories.clear(); // one may have been removed
      throw this.#error(answer);
    }
    dropBody(answer);
    return { is: "done", head: await this.#look(name, signal) };
  }

  #put(name: string, { body, sizeBytes }: Upload, condition: Headers, signal: AbortSignal) {
    const headers = {
      "content-type": "application/octet-stream",
      ...(sizeBytes === undefined ? {} : { "content-length": String(sizeBytes) }),
      ...condition,
    };
    return this.#ask(this.#path(name), headers, signal, { method: "PUT", body, short: true });
  }

  /** Asks what is there, because WebDAV does not tell what it stored. */
  async #look(name: string, signal: AbortSignal): Promise<RemoteHead> {
    const head = await this.head(name, signal);
    if (head) return head;
    throw new TransferError("io", "the server accepted the file and does not have it", { verdict: "fail" });
  }

  async move(from: string, to: string, { base }: Bound, signal: AbortSignal): Promise<Moved> {
    const isFree = base?.is === "absent";
    const { moveReplacesWhole } = await this.nature();
    // Some remove the target before they see that there is nothing to move.
    if (!isFree && !moveReplacesWhole && !(await this.head(from, signal))) return { is: "gone" };
    const path = this.#path(to);
    await this.#makeDirectory(path.slice(0, path.lastIndexOf("/")), signal);
    const headers: Headers = {
      destination: `${this.#url.origin}${path}`,
      overwrite: isFree ? "F" : "T",
    };
    const answer = await this.#ask(this.#path(from), headers, signal, { method: "MOVE", short: true });
    dropBody(answer);
    if (answer.status === 412) return { is: "refused" };
    if (answer.status === 404) return { is: "gone" };
    if (isSuccess(answer)) return { is: "done", head: await this.#look(to, signal) };
    // Some say 403 or 409 where there is nothing to move.
    if (!(await this.head(from, signal))) return { is: "gone" };
    throw this.#error(answer);
  }

  async remove(name: string, { base }: Bound, signal: AbortSignal): Promise<Removed> {
    const headers: Headers = base?.is === "version" ? { "if-match": base.etag } : {};
    return (await this.#delete(name, headers, signal)) ? "removed" : "refused";
  }

  /** @returns false if the condition did not hold. */
  async #delete(name: string, headers: Headers, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#ask(this.#path(name), headers, signal, { method: "DELETE", short: true });
    dropBody(answer);
    if (answer.status === 412) return false;
    if (isSuccess(answer) || answer.status === 404 || answer.status === 410) return true;
    throw this.#error(answer);
  }

  async get(name: string, headers: Headers, signal: AbortSignal): Promise<HttpAnswer> {
    const sent = { "accept-encoding": "identity", ...headers };
    const answer = await this.#ask(this.#path(name), sent, signal, { method: "GET" });
    if (answer.status === 401 || answer.status === 403) throw this.#error(answer);
    return answer;
  }

  async read(name: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined> {
    const answer = await this.get(name, {}, signal);
    if (answer.status === 200) return bytesOf(answer);
    if (answer.status !== 404) throw this.#error(answer);
    dropBody(answer);
    return undefined;
  }

  async setPermissions(): Promise<PermissionsSet> {
    return { is: "unsupported" };
  }

  async *list(signal: AbortSignal): AsyncGenerator<RemoteFile[]> {
    let batch: RemoteFile[] = [];
    for await (const file of this.#walk([], signal)) {
      batch.push(file);
      if (batch.length < BATCH_FILES) continue;
      yield batch;
      batch = [];
    }
    yield batch;
  }

  /** Files below a directory in the order of their keys: a directory comes where its name with a slash does. */
  async *#walk(way: string[], signal: AbortSignal): AsyncGenerator<RemoteFile> {
    if (way.length > MOST_DEPTH) throw new TransferError("protocol", "its directories do not end");
    const answer = await this.#propfind(this.#path(way.join("/")), 1, signal);
    if (answer.status === 404) {
      dropBody(answer);
      return; // nothing was written yet, or it was removed meanwhile
    }
    const depth = this.#depth + way.length;
    const found = new Map<string, DavResource>();
    for (const resource of await this.#resources(answer)) {
      const { segments, isDirectory } = resource;
      if (segments.length === depth) continue; // the directory itself
      const name = segments.at(-1) as string;
      if (segments.length !== depth + 1) throw elsewhere();
      if (name.includes("/") || name === "." || name === "..") throw elsewhere();
      found.set(isDirectory ? `${name}/` : name, resource);
    }
    for (const [name, { isDirectory, sizeBytes, etag }] of [...found].sort(([a], [b]) => compareKeys(a, b))) {
      if (isDirectory) yield* this.#walk([...way, name.slice(0, -1)], signal);
      else yield { name: [...way, name].join("/"), sizeBytes, etag };
    }
  }

  async exists(signal: AbortSignal): Promise<boolean> {
    const answer = await this.#propfind(this.#url.path, 0, signal);
    // It is asked for with a slash at its end, which some refuse of a file (Apache: 400).
    if (answer.status === 404 || answer.status === 400) {
      dropBody(answer);
      return false;
    }
    const [itself] = await this.#resources(answer);
    return itself?.isDirectory ?? false;
  }

  async refusal(signal: AbortSignal): Promise<TransferError | undefined> {
    try {
      const answer = await this.#propfind(this.#url.path, 0, signal);
      if (answer.status !== 404) await this.#resources(answer);
      else dropBody(answer);
      return undefined;
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      const certain = ["credentials", "unsupported", "redirect", "protocol"].includes(error.class);
      return certain && error.permanent ? error : undefined;
    }
  }

  #propfind(path: string, depth: 0 | 1, signal: AbortSignal): Promise<HttpAnswer> {
    const headers = {
      depth: String(depth),
      "content-type": "application/xml",
      "content-length": String(PROPFIND_BODY.length),
    };
    // A directory has a slash at its end, without which some servers redirect.
    const target = depth === 1 || path === this.#url.path ? `${path.replace(/\/$/, "")}/` : path;
    return this.#ask(target, headers, signal, { method: "PROPFIND", body: PROPFIND_BODY, short: true });
  }

  async #resources(answer: HttpAnswer): Promise<DavResource[]> {
    const { status } = answer;
    if (status === 207) return resourcesOf(await readAnswer(answer));
    if (status !== 405 && status !== 501 && status !== 200) throw this.#error(answer);
    dropBody(answer);
    throw new TransferError("unsupported", `the server is no WebDAV server (HTTP status ${status})`, {
      permanent: true,
      verdict: "ok",
    });
  }

  /** Makes a directory and those above it, once. @param path encoded. */
  #makeDirectory(path: string, signal: AbortSignal): Promise<void> {
    if (path === "") return Promise.resolve();
    const known = this.#directories.get(path);
    if (known) return known;
    const making = this.#make(path, signal);
    this.#directories.set(path, making);
    making.catch(() => this.#directories.delete(path));
    return making;
  }

  async #make(path: string, signal: AbortSignal): Promise<void> {
    const ask = () => this.#ask(`${path}/`, {}, signal, { method: "MKCOL", short: true });
    let answer = await ask();
    dropBody(answer);
    if (answer.status === 409 || answer.status === 404) {
      await this.#makeDirectory(path.slice(0, path.lastIndexOf("/")), signal);
      answer = await ask();
      dropBody(answer);
    }
    // 405: it is there. What else may forbid it, the file itself will tell.
    if (answer.status === 401) throw this.#error(answer);
    if (answer.status >= 500) throw this.#error(answer);
  }

  #path(name: string): string {
    return name === "" ? this.#url.path : `${this.#url.path}/${encodePath(name)}`;
  }

  #ask(path: string, headers: Headers, signal: AbortSignal, message: HttpMessage): Promise<HttpAnswer> {
    const user = process.env.WEBDAV_USER;
    const login = user ? `${user}:${secretOf("WEBDAV_PASSWORD") ?? ""}` : undefined;
    const sent =
      login === undefined
        ? headers
        : { ...headers, authorization: `Basic ${Buffer.from(login).toString("base64")}` };
    return this.http.ask(this.#url.origin, path, sent, signal, message);
  }

  #error(answer: HttpAnswer): TransferError {
    return serverError(answer, CREDENTIALS);
  }
}

function isSuccess({ status }: HttpAnswer): boolean {
  return status >= 200 && status < 300 && status !== 207;
}

function elsewhere(): TransferError {
  return new TransferError("protocol", "the answer to PROPFIND names what lies elsewhere", {
    permanent: true,
    verdict: "ok",
  });
}
