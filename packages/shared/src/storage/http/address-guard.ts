import { type LookupAddress, lookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { TransferError } from "../../errors.js";
import { parseAddress, rangeOf } from "./addresses.js";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Whether an IP literal (without brackets) is outside the public internet: this machine, private networks, link-local
 * addresses (including cloud metadata), and everything that tunnels to IPv4. IPv4-mapped IPv6 counts as its IPv4. A
 * redirect may not lead there unless the user named it.
 */
export function isPrivateAddress(address: string): boolean {
  return rangeOf(parseAddress(address)) !== "public";
}

export function isLoopbackAddress(address: string): boolean {
  return LOOPBACK.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/**
 * The host of a URL without the brackets of an IPv6 literal. The URL parser has normalised `127.1`, `0x7f.1`
 * etc.
 */
export function bareHost(hostname: string): string {
  return hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
}

function refused(host: string): TransferError {
  return new TransferError(
    "address",
    `refused redirect to ${host}: a private address that was not asked for by name`,
    { permanent: true, verdict: "none" },
  );
}

/**
 * Makes a DNS lookup that drops addresses. It checks the very address that is then connected to, which defeats DNS
 * rebinding.
 *
 * @param fits whether an address may be connected to.
 * @param refuse makes the error of a name all of whose addresses are dropped.
 * @param resolve DNS lookup. Default: the system's.
 */
export function filteredLookup(
  fits: (address: string) => boolean,
  refuse: (addresses: string[], hostname: string) => TransferError,
  resolve: LookupFunction = lookup as LookupFunction,
): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      const addresses = found as LookupAddress[]; // since all were asked for
      const [first, ...others] = addresses.filter(({ address }) => fits(address));
      if (!first) {
        const dropped = addresses.map(({ address }) => address);
        return callback(refuse(dropped, hostname), []);
      }
      if (options.all) callback(null, [first, ...others]);
      else callback(null, first.address, first.family);
    });
  };
}

/** Makes the lookup for redirects. @param allowLoopback whether the user named a loopback address. */
export function guardedLookup(allowLoopback: boolean): LookupFunction {
  return filteredLookup(
    (address) => mayConnect(address, allowLoopback),
    (_addresses, hostname) => refused(hostname),
  );
}

/** Whether the guard allows a connection to this IP literal. */
export function mayConnect(address: string, allowLoopback: boolean): boolean {
  return !isPrivateAddress(address) || (allowLoopback && isLoopbackAddress(address));
}

/** @throws TransferError class `address` if the host is an IP literal that the guard refuses. */
export function checkLiteral(hostname: string, allowLoopback: boolean): void {
  const host = bareHost(hostname);
  if (isIP(host) !== 0 && !mayConnect(host, allowLoopback)) throw refused(host);
}
