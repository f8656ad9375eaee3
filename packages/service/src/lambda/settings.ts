import { SettingsError } from "@drover/shared/errors";

/** Where notifications go, and how hard it is tried. */
export interface Target {
  /** The URL that is posted to. */
  url: string;
  /** Sent as a bearer. Never logged. */
  token: string | undefined;
  /** Longest wait for one answer. */
  timeoutMs: number;
  /** Tries in all, the first included. */
  attempts: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads API_ENDPOINT (required), API_TOKEN (default none), TIMEOUT_SECONDS (30) and RETRY_ATTEMPTS (3).
 *
 * @throws {SettingsError} in which no value is shown.
 */
export function readTarget(environment: Environment): Target {
  return {
    url: endpointOf(environment.API_ENDPOINT),
    token: tokenOf(environment.API_TOKEN),
    timeoutMs: numberOf(environment, { name: "TIMEOUT_SECONDS", fallback: 30, least: 1, most: 900 }) * 1000,
    attempts: numberOf(environment, { name: "RETRY_ATTEMPTS", fallback: 3, least: 1, most: 10 }),
  };
}

function endpointOf(text = ""): string {
  const url = URL.parse(text.trim());
  const isWeb = url?.protocol === "http:" || url?.protocol === "https:";
  if (!isWeb) throw new SettingsError("API_ENDPOINT must be the http(s) URL of the service");
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw new SettingsError("API_ENDPOINT must have no user, query or fragment: a token goes to API_TOKEN");
  return `${url.href.replace(/\/+$/, "")}/sync/s3-notification`;
}

function tokenOf(text = ""): string | undefined {
  const token = text.trim();
  if (token === "") return undefined;
  // Else the error of fetch would show it.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new SettingsError("API_TOKEN must be ASCII without spaces");
  return token;
}

interface NumberSetting {
  name: string;
  fallback: number;
  least: number;
  most: number;
}

function numberOf(environment: Environment, { name, fallback, least, most }: NumberSetting): number {
  const text = environment[name]?.trim() ?? "";
  if (text === "") return fallback;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new SettingsError(`${name} must be a whole number from ${least} to ${most}`);
  return value;
}
