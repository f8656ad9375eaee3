import { ByteBudget } from "@drover/service/intake/byte-budget";
import { describe, expect, it } from "vitest";

describe("memory for bodies", () => {
  it("is given in the order of asking, and never beyond its limit", async () => {
    const budget = new ByteBudget(100);
    const begun: string[] = [];
    const ask = async (name: string, bytes: number) => {
      const release = await budget.hold(bytes);
      begun.push(name);
      return release;
    };
    const [first, second] = [await ask("first", 60), await ask("second", 40)];
    const third = ask("third", 50);
    const fourth = ask("fourth", 1);
    await Promise.resolve();
    expect(begun).toEqual(["first", "second"]);
    second();
    await Promise.resolve();
    expect(begun).toEqual(["first", "second"]);
    first();
    await Promise.all([third, fourth]);
    expect(begun).toEqual(["first", "second", "third", "fourth"]);
  });

  it("is given back in part by who needs less than was asked for", async () => {
    const budget = new ByteBudget(100);
    const release = await budget.hold(100);
    const begun: string[] = [];
    const ask = async (name: string, bytes: number) => {
      await budget.hold(bytes);
      begun.push(name);
    };
    const second = ask("second", 70);
    const third = ask("third", 30);
    release(30);
    await second;
    await Promise.resolve();
    expect(begun).toEqual(["second"]);
    release();
    release();
    await third;
    const fourth = ask("fourth", 1);
    await Promise.resolve();
    expect(begun).toEqual(["second", "third"]);
    void fourth;
  });

  it("is given whole to who asks for more than there is", async () => {
    const budget = new ByteBudget(100);
    const release = await budget.hold(1_000);
    let hasBegun = false;
    const next = budget.hold(1).then(() => {
      hasBegun = true;
    });
    await Promise.resolve();
    expect(hasBegun).toBe(false);
    release();
    await next;
  });
});
