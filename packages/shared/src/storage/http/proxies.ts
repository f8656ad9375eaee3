import { BlockList, isIP } from "node:net";
import { TransferError } from "../../errors.js";
import { bareHost, isLoopbackAddress } from "./address-guard.js";
import { connectionError } from "./errors.js";

/** A proxy that requests are sent through. */
export interface ProxyServer {
  protocol: "http:" | "https:";
  /** Without the brackets of an IPv6 literal. */
  hostname: string;
  port: string;
  /** Value of Proxy-Authorization; undefined where the URL has no user. */
  authorization: string | undefined;
  /** The proxy as people see it: without user and password. */
  shown: string;
}

type Environment = Record<string, string | undefined>;

/**
 * The proxies of the environment, as curl reads them: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, or the same
 * in upper case. An empty variable means none.
 */
export class Proxies {
  readonly #byScheme: Record<string, { name: string; value: string } | undefined>;
  readonly #byOrigin = new Map<string, ProxyServer | undefined>();
  readonly #except: NoProxy;

  constructor(environment: Environment = process.env) {
    const first = (...names: string[]) => {
      const name = names.find((each) => environment[each] !== undefined);
      const value = name === undefined ? "" : (environment[name] as string).trim();
      return name === undefined || value === "" ? undefined : { name, value };
    };
    const all = ["all_proxy", "ALL_PROXY"];
    this.#byScheme = {
      "http:": first("http_proxy", "HTTP_PROXY", ...all),
      "https:": first("https_proxy", "HTTPS_PROXY", ...all),
    };
    this.#except = new NoProxy(environment.no_proxy ?? environment.NO_PROXY ?? "");
  }

  /**
   * The proxy that leads to an origin, or undefined for none. This machine is never behind one.
   *
   * @param origin `scheme://host:port`.
   * @throws TransferError class `proxy` if the variable names no http(s) URL.
   */
  for(origin: string): ProxyServer | undefined {
    if (!this.#byOrigin.has(origin)) this.#byOrigin.set(origin, this.#find(new URL(origin)));
    return this.#byOrigin.get(origin);
  }

  #find({ protocol, hostname, port }: URL): ProxyServer | undefined {
    const variable = this.#byScheme[protocol];
    const host = bareHost(hostname).replace(/\.$/, "");
    if (!variable || isThisMachine(host)) return undefined;
    if (this.#except.has(host, port || (protocol === "https:" ? "443" : "80"))) return undefined;
    return readProxy(variable.name, variable.value);
  }
}

/** The hosts of `no_proxy`. */
class NoProxy {
  #all = false;
  readonly #names: { suffix: string; port: string | undefined }[] = [];
  readonly #addresses = new BlockList();
  readonly #addressPorts = new Set<string>();

  /** @param list names, suffixes, addresses and networks (CIDR), each with a port or without, or `*`. */
  constructor(list: string) {
    for (const entry of list.toLowerCase().split(/[\s,]+/)) {
      if (entry === "*") this.#all = true;
      else if (entry !== "") this.#add(entry);
    }
  }

  #add(entry: string): void {
    const [, address = "", bits] = /^\[?([0-9a-f:.]+)\]?(?:\/(\d+))?$/.exec(entry) ?? [];
    const family = isIP(address);
    if (family !== 0) {
      const type = family === 6 ? "ipv6" : "ipv4";
      const most = family === 6 ? 128 : 32;
      if (bits === undefined) this.#addresses.addAddress(address, type);
      else if (Number(bits) <= most) this.#addresses.addSubnet(address, Number(bits), type);
      return;
    }
    const [, host = "", port] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
    const bare = bareHost(host);
    if (isIP(bare) !== 0) this.#addressPorts.add(`${bare} ${port}`);
    else this.#names.push({ suffix: bare.replace(/^\*?\./, "").replace(/\.$/, ""), port });
  }

  has(host: string, port: string): boolean {
    if (this.#all) return true;
    const family = isIP(host);
    if (family !== 0)
      return (
        this.#addresses.check(host, family === 6 ? "ipv6" : "ipv4") ||
        this.#addressPorts.has(`${host} ${port}`)
      );
    return this.#names.some(
      (each) =>
        each.suffix !== "" &&
        (each.port === undefined || each.port === port) &&
        (host === each.suffix || host.endsWith(`.${each.suffix}`)),
    );
  }
}

function isThisMachine(host: string): boolean {
  if (isIP(host) !== 0) return isLoopbackAddress(host);
  return host === "localhost" || host.endsWith(".localhost");
}

/** @throws TransferError class `proxy`, without the value, which may hold a password. */
function readProxy(name: string, value: string): ProxyServer {
  const text = value.includes("://") ? value : `http://${value}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const protocol = url?.protocol;
  if (!url || url.hostname === "" || (protocol !== "http:" && protocol !== "https:") || isCut(url))
    throw new TransferError(
      "proxy",
      `${name} must be the http(s) URL of a proxy, with special characters of user and password percent-encoded`,
      { permanent: true },
    );
  const port = url.port || (protocol === "https:" ? "443" : "80");
  const user = [url.username, url.password].map(decoded).join(":");
  return {
    protocol,
    hostname: bareHost(url.hostname),
    port,
    authorization: user === ":" ? undefined : `Basic ${Buffer.from(user).toString("base64")}`,
    shown: `${protocol}//${url.hostname}:${port}`,
  };
}

/** Whether a `/`, `?` or `#` in the password ended the host early, so that a part of the password is taken for the host. */
function isCut({ pathname, search, hash }: URL): boolean {
  return `${pathname}${search}${hash}`.includes("@");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not percent-encoded after all
  }
}

/** The error of a proxy that cannot be connected to, or gives no connection to the host behind it. */
export function proxyUnreachable(proxy: ProxyServer, error: unknown, timeoutMs: number): TransferError {
  const { message, permanent } = connectionError(error, timeoutMs);
  return new TransferError("proxy", `the proxy ${proxy.shown}: ${message}`, { permanent, cause: error });
}

/** The error of a proxy that answers, but with a refusal. It says nothing about the host behind it. */
export function proxyRefusal(proxy: ProxyServer, status: number): TransferError {
  const hint =
    status === 407
      ? proxy.authorization === undefined
        ? ": it wants a user and a password in its URL"
        : ": it does not accept the user and the password of its URL"
      : "";
  return new TransferError("proxy", `the proxy ${proxy.shown} refuses (HTTP status ${status})${hint}`, {
    permanent: status < 500 && status !== 408 && status !== 429,
    httpStatus: status,
  });
}
