import { lookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { TransferError } from "../../errors.js";

/**
 * Addresses that a redirect may not lead to unless the user named them: this machine, private networks,
 * link-local addresses (including cloud metadata), and everything that maps or tunnels to them. From the IANA
 * special-purpose address registries (RFC 6890 and its updates).
 */
const PRIVATE = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv4");
for (const [net, bits] of [
  ["::", 96], // unspecified, loopback, IPv4-compatible
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  ["100::", 64],
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
  ["5f00::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["fec0::", 10],
  ["ff00::", 8],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv6");

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Whether an IP literal (without brackets) is outside the public internet. IPv4-mapped IPv6 counts as its
 * IPv4.
 */
export function isPrivateAddress(address: string): boolean {
  return PRIVATE.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
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
 * Makes a DNS lookup that drops forbidden addresses. It checks the very address that is then connected to,
 * which defeats DNS rebinding.
 *
 * @param allowLoopback whether the user named a loopback address.
 */
export function guardedLookup(allowLoopback: boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, []);
      const fit = addresses.filter((each) => mayConnect(each.address, allowLoopback));
      if (fit.length === 0) return callback(refused(hostname), []);
      const first = fit[0] as (typeof fit)[number];
      if ((options as { all?: boolean }).all) callback(null, fit);
      else callback(null, first.address, first.family);
    });
  };
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
