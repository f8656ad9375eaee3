import type { LookupAddress } from "node:dns";
import { TransferError } from "@drover/shared/errors";
import {
  bareHost,
  checkLiteral,
  guardedLookup,
  isLoopbackAddress,
  isPrivateAddress,
  mayConnect,
} from "@drover/shared/storage/http/address-guard";
import { describe, expect, test } from "vitest";

/** Checks a host as a redirect delivers it: the URL parser normalises every notation of an IPv4 address. */
function check(host: string, allowLoopback = false): void {
  checkLiteral(new URL(`http://${host}/`).hostname, allowLoopback);
}

describe("an address that is not public is refused", () => {
  test.for([
    ...["127.0.0.1", "127.1", "127.255.255.254", "0", "0.0.0.0", "0.1.2.3"],
    ...["017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "0x7F.1", "2130706433", "127.0.1"],
    ...[
      "10.0.0.1",
      "10.255.255.255",
      "012.0.0.1",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.0.1",
      "192.168.257",
    ],
    ...["169.254.169.254", "0xa9fea9fe", "2852039166", "169.254.43518"],
    ...[
      "100.64.0.1",
      "100.127.255.255",
      "192.0.0.1",
      "192.0.2.1",
      "192.88.99.1",
      "198.18.0.1",
      "198.19.255.255",
    ],
    ...["198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
    ...["[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::7f00:1]"],
    ...["[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::ffff:10.0.0.1]", "[::ffff:0a00:1]", "[::ffff:0:1]"],
    ...["[64:ff9b::1.2.3.4]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]"],
    ...["[fc00::1]", "[fd12:3456::1]", "[fe80::1]", "[febf::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]"],
    ...["[100::1]", "[3fff::1]", "[5f00::1]"],
  ])("%s", (host) => {
    expect(() => check(host)).toThrow(TransferError);
    try {
      check(host);
    } catch (error) {
      expect(error).toMatchObject({ class: "address", permanent: true, verdict: "none" });
    }
  });
});

describe("a public address is accepted", () => {
  test.for([
    ...["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.1", "100.63.255.255"],
    ...["100.128.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0"],
    ...["192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "134744072"],
    ...["[2606:4700:4700::1111]", "[2a00:1450::1]", "[::ffff:8.8.8.8]", "[2001:4860:4860::8888]"],
  ])("%s", (host) => {
    expect(() => check(host)).not.toThrow();
  });

  test("a host name is accepted until its addresses are known", () => {
    for (const host of ["localhost", "example.com", "metadata.google.internal"]) {
      expect(() => check(host)).not.toThrow();
    }
  });
});

describe("a redirect from a loopback address", () => {
  test.for(["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])(
    "may lead to %s",
    (host) => {
      expect(() => check(host, true)).not.toThrow();
    },
  );

  test.for(["10.0.0.1", "169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "[::ffff:a9fe:a9fe]"])(
    "may not lead to %s",
    (host) => {
      expect(() => check(host, true)).toThrow(TransferError);
    },
  );
});

describe("a lookup", () => {
  const look = (allowLoopback: boolean, name: string, all: boolean) =>
    new Promise<string[]>((resolve, reject) => {
      guardedLookup(allowLoopback)(name, { all } as { all: true }, (error, found, family) => {
        if (error) return reject(error);
        if (typeof found === "string") return resolve([found, String(family)]);
        resolve((found as LookupAddress[]).map((each) => each.address));
      });
    });

  test.for([true, false])("of a name with only private addresses is refused (all: %s)", async (all) => {
    await expect(look(false, "localhost", all)).rejects.toMatchObject({ class: "address", permanent: true });
  });

  test("of a name of this machine is allowed if the user named a loopback address", async () => {
    const found = await look(true, "localhost", true);
    expect(found.length).toBeGreaterThan(0);
    expect(found.every(isLoopbackAddress)).toBe(true);
    const [address, family] = await look(true, "localhost", false);
    expect(isLoopbackAddress(address as string)).toBe(true);
    expect(["4", "6"]).toContain(family);
  });

  test("of an address is no way around the guard", async () => {
    for (const literal of ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"]) {
      await expect(look(false, literal, true)).rejects.toMatchObject({ class: "address" });
    }
    expect(await look(false, "8.8.8.8", true)).toEqual(["8.8.8.8"]);
  });

  test("of a missing name fails with the resolver's error", async () => {
    await expect(look(false, "no-such-name.invalid", true)).rejects.toMatchObject({
      code: expect.any(String),
    });
  });
});

test("the brackets of an IPv6 address are removed", () => {
  expect(bareHost("[::1]")).toBe("::1");
  expect(bareHost("127.0.0.1")).toBe("127.0.0.1");
  expect(isPrivateAddress("::ffff:192.168.1.1")).toBe(true);
  expect(mayConnect("::ffff:127.0.0.1", true)).toBe(true);
});
