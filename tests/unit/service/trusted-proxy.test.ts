import { TrustedProxy } from "@drover/service/security/trusted-proxy";
import type { Request } from "express";
import { describe, expect, it } from "vitest";

const from = (remoteAddress: string, headers: Record<string, string | string[]>) =>
  ({ socket: { remoteAddress }, headers }) as unknown as Request;
const alice = {
  "x-forwarded-user": "alice",
  "x-forwarded-host": "a.example",
  "x-forwarded-for": "203.0.113.9, 198.51.100.7",
};
const make = (...addresses: string[]) =>
  new TrustedProxy({
    addresses,
    userHeader: "X-Forwarded-User",
    scopes: ["alice=operate,read", "a=b=enqueue"],
  });

describe("a trusted proxy", () => {
  it.each([
    ["10.1.2.3", ["10.1.0.0/16"], true],
    ["::ffff:10.1.2.3", ["10.1.0.0/16"], true],
    ["10.2.0.1", ["10.1.0.0/16"], false],
    ["10.1.2.3", ["10.1.2.3"], true],
    ["10.1.2.4", ["10.1.2.3"], false],
    ["fd00::7", ["10.1.0.0/16", "fd00::/8"], true],
    ["fe80::7", ["10.1.0.0/16", "fd00::/8"], false],
    ["", ["0.0.0.0/0"], false],
  ])("that asks from %s is one of %s: %s", (address, addresses, expected) => {
    const proxy = make(...addresses);
    const request = from(address, alice);
    expect(proxy.callerOf(request)?.id).toBe(expected ? "proxy:alice" : undefined);
    expect(proxy.hostOf(request)).toBe(expected ? "a.example" : undefined);
    expect(proxy.clientOf(request)).toBe(expected ? "198.51.100.7" : undefined);
  });

  it("names users, who may read unless more is said", () => {
    const proxy = make("10.1.2.3");
    const scopesOf = (user: string) => proxy.callerOf(from("10.1.2.3", { "x-forwarded-user": user }))?.scopes;
    expect(scopesOf("alice")).toEqual(["read", "operate"]);
    expect(scopesOf("Alice")).toEqual(["read"]);
    expect(scopesOf("a=b")).toEqual(["enqueue"]);
    for (const user of ["", "a b", "a\u00e9", "x".repeat(201)]) expect(scopesOf(user), user).toBeUndefined();
  });
});
