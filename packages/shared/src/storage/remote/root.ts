import { SettingsError } from "../../errors.js";
import { redactUrl } from "../../redact.js";

/** Encodes a name for the path of a URL, each of its segments by itself. */
export function encodePath(name: string): string {
  return name.split("/").map(encodeURIComponent).join("/");
}

/**
 * Parses the root of a tree at a server: `scheme://host:port/path`, with percent-encoded segments.
 *
 * @returns it in canonical form, without a slash at its end.
 * @throws SettingsError that repeats no password.
 */
export function parseRemote(text: string): string {
  const match = /^([a-z]+)\+(https?):\/\/([\s\S]*)$/i.exec(text);
  const shown = redactUrl(text);
  if (!match) throw new SettingsError(`${shown} is not a URL of a file server`);
  const kind = (match[1] as string).toLowerCase();
  const protocol = (match[2] as string).toLowerCase();
  let url: URL;
  try {
    url = new URL(`${protocol}://${match[3]}`);
  } catch {
    throw new SettingsError(`invalid URL ${shown}`);
  }
  if (url.username !== "" || url.password !== "")
    throw new SettingsError(`${shown} has a user in it: credentials come from the environment`);
  if (url.search !== "" || url.hash !== "" || /[?#]/.test(match[3] as string))
    throw new SettingsError(`${shown} has a ? or # in it: write %3F or %23 for those in a name`);
  let segments: string[];
  try {
    segments = url.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    throw new SettingsError(`${shown} has a % that encodes nothing: write %25`);
  }
  if (segments.some((segment) => segment.includes("/") || segment.includes("\0")))
    throw new SettingsError(`${shown} has a segment with an encoded slash or NUL`);
  const path = segments.map((segment) => `/${encodeURIComponent(segment)}`).join("");
  return `${kind}+${protocol}://${url.host}${path}`;
}

/** Where a root is on the web. */
export interface RemoteUrl {
  /** `https://host:port`. */
  origin: string;
  /** Its path, encoded; "" or beginning with a slash, and without one at its end. */
  path: string;
}

/** @param root canonical. */
export function urlOf(root: string): RemoteUrl {
  const url = new URL(root.slice(root.indexOf("+") + 1));
  return { origin: url.origin, path: url.pathname.replace(/\/$/, "") };
}

/** The location of a name below a canonical root. */
export function joinRemote(root: string, name: string): string {
  return `${root}/${encodePath(name)}`;
}
