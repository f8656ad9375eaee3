import { lookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { SettingsError, TransferError } from "../../errors.js";
import { bareHost, filteredLookup } from "./address-guard.js";
import { type Address, embeddedIn, parseAddress, rangeOf, TRANSLATED } from "./addresses.js";

/** Where clouds tell a machine its credentials and its configuration. Some of them are public or private by their range. */
const METADATA_ADDRESSES = new Set(
  [
    "169.254.169.254", // nearly all
    "169.254.170.2", // AWS, tasks of ECS
    "169.254.170.23", // AWS, pods of EKS
    "169.254.0.23", // Tencent
    "169.254.42.42", // Scaleway
    "100.100.100.200", // Alibaba
    "168.63.129.16", // Azure
    "192.0.0.192", // Oracle
    "fd00:ec2::254", // AWS
    "fd00:ec2::23", // AWS, pods of EKS
    "fd20:ce::254", // Google
    "fd00:42::42", // Scaleway
  ].map((text) => parseAddress(text).toString()),
);
const METADATA_NAMES = new Set([
  ...["metadata", "metadata.google.internal", "metadata.goog"],
  ...["instance-data", "instance-data.ec2.internal"],
  ...["metadata.azure.internal", "metadata.azure.com", "metadata.tencentyun.com"],
]);

/** The entry of an allow list by which guarded URLs may use proxies. */
const PROXY = "proxy";

interface Network {
  range: [Address, bits: number];
  /** Default: every port. */
  port: string | undefined;
}

/**
 * Decides where guarded URLs may lead: those of people who must not aim this machine at its own network. Only globally
 * reachable unicast addresses are open, and what the operator allows.
 */
export class AddressGuard {
  /** Whether guarded URLs go through the proxies of the environment, which resolve names themselves. */
  readonly usesProxies: boolean;
  readonly #networks: Network[] = [];
  /** `host` or `host:port`. */
  readonly #names = new Set<string>();

  /**
   * @param allow what is open all the same: `CIDR`, `address`, `address:port`, `host`, `host:port`, or `proxy`. The
   *   metadata services of clouds stay closed. Default: nothing.
   * @param resolve DNS lookup. Default: the system's.
   * @throws SettingsError for an entry that is none of these.
   */
  constructor(
    allow: readonly string[] = [],
    private readonly resolve: LookupFunction = lookup as LookupFunction,
  ) {
    this.usesProxies = allow.includes(PROXY);
    for (const entry of allow) if (entry !== PROXY) this.#allow(entry);
  }

  #allow(entry: string): void {
    const network = networkOf(entry);
    if (network) {
      this.#networks.push({ range: network, port: undefined });
      return;
    }
    const [, written = "", port] = /^(\[[^\]]*\]|[^:/?#@\\]*)(?::(\d{1,5}))?$/.exec(entry) ?? [];
    const url = `http://${written}/`;
    const host = written !== "" && URL.canParse(url) ? hostOf(new URL(url)) : "";
    if (isIP(host) !== 0) this.#networks.push({ range: single(host), port });
    else if (/^[a-z0-9._-]+$/.test(host)) this.#names.add(port === undefined ? host : `${host}:${port}`);
    else throw invalid(entry);
  }

  /**
   * Checks the host of a URL as far as its text tells. Where it is a name, {@link lookup} does the rest.
   *
   * @throws TransferError class `address`.
   */
  check(url: URL): void {
    const host = hostOf(url);
    if (METADATA_NAMES.has(host)) throw closed(host);
    if (isIP(host) === 0) return;
    const address = parseAddress(host);
    if (isMetadata(address)) throw closed(host);
    if (!this.#isOpen(address, portOf(url))) throw refused(host, "is a private address");
  }

  /**
   * Makes the DNS lookup for connections to one origin, which drops addresses that are not open. The addresses that it
   * checks are those that are connected to, so a name that leads elsewhere when it is asked again gains nothing.
   *
   * @param origin `scheme://host:port`.
   */
  lookup(origin: URL): LookupFunction {
    const host = hostOf(origin);
    const port = portOf(origin);
    const named = this.#names.has(host) || this.#names.has(`${host}:${port}`);
    return filteredLookup(
      (text) => {
        const address = parseAddress(text);
        return !isMetadata(address) && (named || this.#isOpen(address, port));
      },
      (addresses) =>
        addresses.some((each) => isMetadata(parseAddress(each)))
          ? closed(host)
          : refused(host, "has a private address"),
      this.resolve,
    );
  }

  #isOpen(address: Address, port: string): boolean {
    const allowed = this.#networks.some(
      (network) => (network.port ?? port) === port && isWithin(address, network.range),
    );
    if (allowed) return true;
    const range = rangeOf(address);
    if (!TRANSLATED.has(range)) return range === "public";
    return embeddedIn(address).every((each) => this.#isOpen(each, port));
  }
}

/** A network in CIDR notation, or an IPv6 address without brackets; undefined for any other text. */
function networkOf(entry: string): [Address, number] | undefined {
  const [text = "", bits] = entry.split("/", 2);
  const family = isIP(text);
  if (bits === undefined) return family === 6 ? single(text) : undefined;
  if (family === 0 || !ipaddr.isValidCIDR(entry)) throw invalid(entry);
  const address = parseAddress(text);
  // Addresses are compared as IPv4 where they are IPv4-mapped.
  const mapped = family === 6 && address instanceof ipaddr.IPv4;
  if (!mapped) return [address, Number(bits)];
  if (Number(bits) < 96) throw invalid(entry);
  return [address, Number(bits) - 96];
}

function single(text: string): [Address, number] {
  const address = parseAddress(text);
  return [address, address instanceof ipaddr.IPv4 ? 32 : 128];
}

function isWithin(address: Address, [network, bits]: [Address, number]): boolean {
  return address.kind() === network.kind() && address.match(network as never, bits);
}

function isMetadata(address: Address): boolean {
  return [address, ...embeddedIn(address)].some((each) => METADATA_ADDRESSES.has(each.toString()));
}

/** The host of a URL as it is compared; the URL parser has put it into lower case. */
function hostOf(url: URL): string {
  return bareHost(url.hostname).replace(/\.$/, "");
}

function portOf({ port, protocol }: URL): string {
  return port || (protocol === "https:" ? "443" : "80");
}

function refused(host: string, why: string): TransferError {
  return addressError(`${host} ${why}: the operator may allow it with --allow-address`);
}

function closed(host: string): TransferError {
  return addressError(`${host} leads to a cloud's metadata service, which no guarded run may reach`);
}

function addressError(message: string): TransferError {
  return new TransferError("address", message, { permanent: true, verdict: "none" });
}

function invalid(entry: string): SettingsError {
  return new SettingsError(
    `--allow-address must be a network (10.1.0.0/16), an address or a host, each with a port or without, or proxy, not ${JSON.stringify(entry)}`,
  );
}
