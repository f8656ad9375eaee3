import { TransferError } from "../../errors.js";
import { shortHash } from "../../ids.js";
import type { Permissions } from "../../permissions.js";
import type { HttpAnswer } from "../http/client.js";
import { dropBody, readAnswer, reprDigest } from "../remote/answer.js";
import type {
  Bound,
  Moved,
  PermissionsSet,
  RemoteHead,
  ServerNature,
  Upload,
  Written,
} from "../remote/server.js";
import { HEADERS, headerText } from "./contract.js";
import { FileManagerServer, headOf, lost, storedIn, wireOf } from "./server.js";

/**
 * A file manager with two requests of other names: `POST /updatePermissions` and `POST /saveToDisk`. What it has of the rest of
 * the contract is used. It is taken to have neither conditions nor staged names.
 */
export class ReferenceServer extends FileManagerServer {
  override async nature(): Promise<ServerNature> {
    return {
      stages: false,
      putIsWhole: true,
      putIsConditional: false,
      moveReplacesWhole: true,
      moveIsConditional: false,
      removeIsConditional: false,
      keepsPermissions: true,
    };
  }

  /** Undefined, too, where the server tells nothing of files. */
  override async head(name: string, signal: AbortSignal): Promise<RemoteHead | undefined> {
    try {
      return await super.head(name, signal);
    } catch (error) {
      if (isUnknown(error)) return undefined;
      throw error;
    }
  }

  override async put(name: string, upload: Upload, _bound: Bound, signal: AbortSignal): Promise<Written> {
    const { body, sizeBytes, sha256, sourceVersion, permissions = {} } = upload;
    if (Object.keys(permissions).length > 0) await this.setPermissions(name, permissions, signal);
    const headers = {
      "content-type": "application/octet-stream",
      ...(sizeBytes === undefined ? {} : { "content-length": String(sizeBytes) }),
      ...(sha256 === undefined ? {} : { "repr-digest": reprDigest(sha256) }),
      ...(sourceVersion === undefined ? {} : { [HEADERS.sourceVersion]: headerText(sourceVersion) }),
    };
    const path = `/saveToDisk?path=${encodeURIComponent(this.pathOf(name))}`;
    const answer = await this.ask(path, headers, signal, { method: "POST", body, short: true });
    if (!isSuccess(answer)) throw this.error(answer);
    const stored = storedIn(await readAnswer(answer));
    return { is: "done", head: stored ? headOf(stored) : await this.#found(name, upload, signal) };
  }

  /** What is there after a request that told nothing of it. A server that never tells is believed. */
  async #found(name: string, { sizeBytes, sha256 = "" }: Upload, signal: AbortSignal): Promise<RemoteHead> {
    try {
      const head = await super.head(name, signal);
      if (head) return head;
      throw lost();
    } catch (error) {
      if (!isUnknown(error)) throw error;
      const etag = `"${shortHash("sent", sha256)}"`;
      return { sizeBytes: sizeBytes ?? 0, etag, sha256: undefined, mode: undefined };
    }
  }

  override async setPermissions(
    name: string,
    permissions: Permissions,
    signal: AbortSignal,
  ): Promise<PermissionsSet> {
    const body = Buffer.from(JSON.stringify({ path: this.pathOf(name), permissions: wireOf(permissions) }));
    const headers = { "content-type": "application/json", "content-length": String(body.length) };
    const message = { method: "POST", body, short: true } as const;
    const answer = await this.ask("/updatePermissions", headers, signal, message);
    if (!isSuccess(answer)) throw this.error(answer);
    dropBody(answer);
    return { is: "set" };
  }

  override async move(): Promise<Moved> {
    throw new TransferError(
      "unsupported",
      "this file manager stages nothing: FILE_MANAGER_API is reference",
      {
        permanent: true,
      },
    );
  }

  override async refusal(): Promise<TransferError | undefined> {
    return undefined;
  }
}

function isSuccess({ status }: HttpAnswer): boolean {
  return status >= 200 && status < 300;
}

/** Whether the server does not know the request. */
function isUnknown(error: unknown): boolean {
  return error instanceof TransferError && (error.httpStatus === 405 || error.httpStatus === 501);
}
