import type { LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import { SettingsError, TransferError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { describe, expect, test } from "vitest";

/** A resolver that gives each of these answers once, and then the last one. */
function answering(...answers: string[][]): LookupFunction {
  let asked = 0;
  return (_hostname, _options, callback) => {
    const addresses = answers[Math.min(asked++, answers.length - 1)] as string[];
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  };
}

function check(host: string, allow: string[] = []): void {
  new AddressGuard(allow).check(new URL(`http://${host}/file`));
}

function look(guard: AddressGuard, origin: string, all = true): Promise<string[]> {
  const url = new URL(origin);
  return new Promise((resolve, reject) => {
    guard.lookup(url)(url.hostname, { all }, (error, found) => {
      if (error) return reject(error);
      resolve(typeof found === "string" ? [found] : (found as LookupAddress[]).map((each) => each.address));
    });
  });
}

const REFUSED: [kind: string, ...hosts: string[]][] = [
  ["unspecified", "0", "0.0.0.0", "0.255.255.255", "[::]"],
  ["loopback", "127.0.0.1", "127.1", "127.255.255.254", "127.0.0.1.", "[::1]"],
  ["loopback in another notation", "017700000001", "0x7f.0.0.1", "0x7f000001", "2130706433", "0177.1"],
  ["private", "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
  ["link-local", "169.254.0.0", "169.254.255.255", "[fe80::1]", "[febf:ffff::1]"],
  ["carrier-grade NAT", "100.64.0.0", "100.127.255.255"],
  ["multicast", "224.0.0.0", "239.255.255.255", "[ff02::1]", "[ff0e::1]"],
  ["reserved", "240.0.0.0", "255.255.255.254", "192.0.0.1", "192.88.99.1", "[4000::1]", "[fbff::1]"],
  ["broadcast", "255.255.255.255"],
  ["benchmarking", "198.18.0.0", "198.19.255.255", "[2001:2::1]"],
  ["documentation", "192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[3fff::1]"],
  ["IPv4-mapped", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::ffff:a00:1]", "[::ffff:0:0]"],
  ["IPv4-compatible", "[::127.0.0.1]", "[::a9fe:a9fe]", "[::8.8.8.8]"],
  ["IPv4-translated", "[::ffff:0:127.0.0.1]", "[::ffff:0:8.8.8.8]"],
  ["NAT64", "[64:ff9b::127.0.0.1]", "[64:ff9b::a00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::c0a8:101]"],
  ["a network's own NAT64", "[64:ff9b:1::8.8.8.8]", "[64:ff9b:1:ffff::1]"],
  ["6to4", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2002:a9fe:a9fe::1]", "[2002:c0a8:101::1]"],
  // The server's address comes first, the client's last with its bits inverted: here 8.8.8.8 and 10.0.0.1, and vice versa.
  ["Teredo", "[2001::1]", "[2001:0:808:808::f5ff:fffe]", "[2001:0:a00:1::f7f7:f7f7]"],
  ["unique local", "[fc00::1]", "[fd12:3456:789a::1]", "[fdff:ffff::1]"],
  ["site-local", "[fec0::1]", "[feff::1]"],
  ["discard-only", "[100::1]", "[100::ffff:ffff:ffff:ffff]"],
  ["segment routing and ORCHID", "[5f00::1]", "[2001:10::1]", "[2001:20::1]"],
];

describe.for(REFUSED)("an address is refused that is %s", ([, ...hosts]) => {
  test.for(hosts)("%s", (host) => {
    expect(() => check(host)).toThrow(TransferError);
    try {
      check(host);
    } catch (error) {
      expect(error).toMatchObject({ class: "address", permanent: true, verdict: "none" });
    }
  });
});

describe("a public address is open", () => {
  test.for([
    ...[
      "1.1.1.1",
      "8.8.8.8",
      "9.255.255.255",
      "11.0.0.0",
      "100.63.255.255",
      "100.128.0.0",
      "126.255.255.255",
    ],
    ...["128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255"],
    ...["192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "134744072"],
    ...["[2606:4700:4700::1111]", "[2a00:1450::1]", "[2001:4860:4860::8888]", "[::ffff:8.8.8.8]"],
    ...["[64:ff9b::8.8.8.8]", "[2002:808:808::1]", "[2001:0:808:808::f7f7:f7f7]"],
  ])("%s", (host) => {
    expect(() => check(host)).not.toThrow();
  });
});

test("an error names the host and what to do", () => {
  expect(() => check("2130706433")).toThrow(
    /^127\.0\.0\.1 is a private address: the operator may allow it with --allow-address$/,
  );
  expect(() => check("[::ffff:10.0.0.1]")).toThrow("::ffff:a00:1 is a private address");
});

describe("what the operator allows is open:", () => {
  test.for([
    ["a network", "10.1.0.0/16", "10.1.2.3", "10.2.0.1"],
    ["a network of IPv6", "fd00:1::/32", "[fd00:1::5]", "[fd00:2::5]"],
    ["a network that is written as IPv4-mapped", "::ffff:10.1.0.0/112", "10.1.2.3", "10.2.0.1"],
    ["an address", "10.1.2.3", "10.1.2.3", "10.1.2.4"],
    ["an address of IPv6", "::1", "[::1]", "[::2]"],
    ["an address of IPv6 in brackets", "[fd00::1]", "[fd00::1]", "[fd00::2]"],
    ["an address in another notation", "127.1", "127.0.0.1", "127.0.0.2"],
    ["an address with a port", "10.1.2.3:8080", "10.1.2.3:8080", "10.1.2.3"],
    ["an address with the port of the scheme", "10.1.2.3:80", "10.1.2.3", "10.1.2.3:81"],
    ["an address of IPv6 with a port", "[fd00::1]:8080", "[fd00::1]:8080", "[fd00::1]:8081"],
    ["its IPv4-mapped form", "10.1.2.3", "[::ffff:10.1.2.3]", "[::ffff:10.1.2.4]"],
    ["its form behind NAT64", "10.1.0.0/16", "[64:ff9b::10.1.2.3]", "[64:ff9b::10.2.0.1]"],
    ["a network's own NAT64", "64:ff9b:1::/48", "[64:ff9b:1::8.8.8.8]", "[64:ff9b:2::8.8.8.8]"],
    ["all of IPv4, and nothing of IPv6", "0.0.0.0/0", "127.0.0.1", "[::1]"],
    ["all of IPv6, and nothing of IPv4", "::/0", "[::1]", "[::ffff:127.0.0.1]"],
  ] as const)("%s", ([, allowed, open, refused]) => {
    expect(() => check(open, [allowed])).not.toThrow();
    expect(() => check(refused, [allowed])).toThrow(TransferError);
  });

  test("a name, with every port or with one", async () => {
    const resolve = answering(["10.0.0.1"]);
    const guard = new AddressGuard(["Files.Internal", "db.internal:8080"], resolve);
    expect(await look(guard, "http://files.internal")).toEqual(["10.0.0.1"]);
    expect(await look(guard, "https://FILES.internal.:9000")).toEqual(["10.0.0.1"]);
    expect(await look(guard, "http://db.internal:8080")).toEqual(["10.0.0.1"]);
    for (const other of ["http://db.internal", "https://db.internal", "http://a.files.internal"])
      await expect(look(guard, other)).rejects.toMatchObject({ class: "address" });
  });

  test.for([
    ...["", "10.0.0.0/33", "10.0.0.0/x", "10.1/16", "host/8", "::ffff:10.0.0.0/64", "*.internal", "a b"],
    ...["http://host", "host:port", "host:8:8", "user@host", "[::1", "256.1.1.1"],
  ])("but not %j, which is a mistake", (entry) => {
    expect(() => new AddressGuard([entry])).toThrow(SettingsError);
  });
});

describe("a cloud's metadata service stays closed, whatever is allowed:", () => {
  const ALL = ["0.0.0.0/0", "::/0", "metadata.google.internal", "innocent.test", "169.254.169.254"];

  test.for([
    ...["169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.170.2", "169.254.170.23", "100.100.100.200"],
    ...["168.63.129.16", "192.0.0.192", "[fd00:ec2::254]", "[fd00:ec2:0::23]", "[fd20:ce::254]"],
    ...["[::ffff:a9fe:a9fe]", "[::a9fe:a9fe]", "[::ffff:0:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]"],
    ...["[64:ff9b:1::a9fe:a9fe]", "[64:ff9b:1:a9fe:a9:fe00::]", "[2002:a9fe:a9fe::1]"],
    ...["[2001:0:a9fe:a9fe::1]", "[2001:0:808:808::5601:5601]"],
    ...["metadata.google.internal", "Metadata.Google.Internal.", "metadata", "instance-data"],
  ])("%s", (host) => {
    expect(() => check(host, ALL)).toThrow("metadata service");
    expect(() => check(host)).toThrow("metadata service");
  });

  test("a name that leads to it", async () => {
    const guard = new AddressGuard(ALL, answering(["169.254.169.254"], ["::ffff:169.254.169.254"]));
    for (const _ of [1, 2])
      await expect(look(guard, "http://innocent.test")).rejects.toMatchObject({
        class: "address",
        message: expect.stringContaining("innocent.test leads to a cloud's metadata service"),
      });
  });
});

describe("a name", () => {
  test.for([[["10.0.0.1"]], [["fd00::1"]], [["::1", "127.0.0.1"]], [["64:ff9b::10.0.0.1"]]])(
    "with only %s is refused",
    async ([addresses]) => {
      const guard = new AddressGuard([], answering(addresses as string[]));
      await expect(look(guard, "http://name.test")).rejects.toMatchObject({
        class: "address",
        permanent: true,
        verdict: "none",
        message: "name.test has a private address: the operator may allow it with --allow-address",
      });
    },
  );

  test("with private and public addresses leads to the public ones", async () => {
    const guard = new AddressGuard([], answering(["10.0.0.1", "8.8.8.8", "::1", "2606:4700:4700::1111"]));
    expect(await look(guard, "http://name.test")).toEqual(["8.8.8.8", "2606:4700:4700::1111"]);
    expect(await look(guard, "http://name.test", false)).toEqual(["8.8.8.8"]);
  });

  test("that leads elsewhere when it is asked again is checked each time", async () => {
    const guard = new AddressGuard([], answering(["8.8.8.8"], ["127.0.0.1"]));
    expect(await look(guard, "http://rebind.test")).toEqual(["8.8.8.8"]);
    await expect(look(guard, "http://rebind.test")).rejects.toMatchObject({ class: "address" });
  });
});

test("guarded URLs use proxies where that is allowed", () => {
  expect(new AddressGuard().usesProxies).toBe(false);
  expect(new AddressGuard(["proxy"]).usesProxies).toBe(true);
  expect(new AddressGuard(["proxy:80"]).usesProxies).toBe(false); // a host of that name
});
