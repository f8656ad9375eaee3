import ipaddr from "ipaddr.js";

export type Address = ipaddr.IPv4 | ipaddr.IPv6;

/**
 * What an address is for: `public` is globally reachable unicast. All else is a name of ipaddr.js, or one of
 * {@link TRANSLATED}.
 */
export type Range = "public" | "nat64" | "6to4" | "teredo" | Exclude<ReturnType<Address["range"]>, "unicast">;

/** The ranges whose addresses lead to the IPv4 addresses that are embedded in them. */
export const TRANSLATED: ReadonlySet<Range> = new Set(["nat64", "6to4", "teredo"]);

/** The part of IPv6 that unicast addresses are given out of. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR("2000::/3");
const NAT64 = ipaddr.IPv6.parseCIDR("64:ff9b::/96");
/** The deprecated IPv4-compatible addresses (RFC 4291, 2.5.5.1). */
const IPV4_COMPATIBLE = ipaddr.IPv6.parseCIDR("::/96");

/** Where an address of a network's own NAT64 may hold an IPv4 address (RFC 6052, 2.2), for prefixes of 48 bits or more. */
const NAT64_BYTES = [
  [6, 7, 9, 10],
  [7, 9, 10, 11],
  [9, 10, 11, 12],
  [12, 13, 14, 15],
];

/** Reads an IP literal without brackets. An IPv4-mapped address is the IPv4 address that it stands for. */
export function parseAddress(text: string): Address {
  return ipaddr.process(text);
}

/** The range of an address in the IANA special-purpose address registries (RFC 6890 and its updates). */
export function rangeOf(address: Address): Range {
  const range = address.range();
  if (address instanceof ipaddr.IPv6) {
    if (address.match(NAT64)) return "nat64";
    if (range === "unicast" && !address.match(GLOBAL_UNICAST)) return "reserved";
  }
  return range === "unicast" ? "public" : range;
}

/** The IPv4 addresses that an IPv6 address may lead to by translation or a tunnel. */
export function embeddedIn(address: Address): ipaddr.IPv4[] {
  if (address instanceof ipaddr.IPv4) return [];
  const bytes = address.toByteArray();
  const at = (...places: number[]) => new ipaddr.IPv4(places.map((place) => bytes[place] as number));
  const range = rangeOf(address);
  if (range === "6to4") return [at(2, 3, 4, 5)];
  if (range === "teredo") {
    const client = new ipaddr.IPv4(bytes.slice(12).map((byte) => byte ^ 0xff));
    return [at(4, 5, 6, 7), client]; // RFC 4380, 4: the server, and the client with its bits inverted
  }
  if (range === "rfc6052") return NAT64_BYTES.map((places) => at(...places));
  if (range === "nat64" || range === "rfc6145" || address.match(IPV4_COMPATIBLE)) return [at(12, 13, 14, 15)];
  return [];
}
