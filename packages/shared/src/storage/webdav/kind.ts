import type { AnswerHeaders } from "../http/client.js";
import type { ServerNature } from "../remote/server.js";

/** What is known of a WebDAV server by what it is: no request could find it out without harm. */
export type DavKind = Pick<ServerNature, "putIsWhole" | "moveReplacesWhole">;

/**
 * Tells what a server does by the headers of an answer to PROPFIND. Apache and SabreDAV (Nextcloud, ownCloud) write a PUT beside the
 * file and rename it; their MOVE removes its target first. nginx renames in both. The server of Go that rclone has does
 * neither: half a PUT is there to be read, and MOVE removes first. An unknown one is trusted with nothing.
 */
export function kindOf(headers: AnswerHeaders): DavKind {
  const has = (name: string, pattern: RegExp) => pattern.test(headers[name] ?? "");
  if (has("dav", /extended-mkcol|nextcloud|owncloud/i) || has("x-sabre-version", /./))
    return { putIsWhole: true, moveReplacesWhole: false };
  if (has("server", /^nginx/i)) return { putIsWhole: true, moveReplacesWhole: true };
  if (has("server", /^apache/i)) return { putIsWhole: true, moveReplacesWhole: false };
  return { putIsWhole: false, moveReplacesWhole: false };
}
