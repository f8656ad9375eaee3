import { readFileSync, statSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { leftovers } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";

function command(url: string, to: string, ...more: string[]): string[] {
  return ["fetch", "--source-url", url, "--destination", to, ...more];
}

describe("two fetches at once", () => {
  it.for([{ more: [] }, { more: ["--lock-dir"] }])(
    "of the same source and destination: the second warns and skips $more",
    async ({ more }, { box, origin, work }) => {
      const gate = new Gate();
      const url = origin.route("/a", does.gated(gate, does.file("content")));
      const locks = more.flatMap((flag) => [flag, work.at("locks")]);
      const first = box.start(command(url, work.to("a"), ...locks));
      await gate.reached;
      const second = await box.run(command(url, work.to("a"), ...locks));
      expect(second.code).toBe(0);
      expect(first.running).toBe(true);
      const warning = `${second.stdout}${second.stderr}`
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as { level: string; message: string })
        .find((line) => line.level.startsWith("warn"));
      expect(warning?.message).toMatch(/lock|progress|running|already/i);
      gate.open();
      expect((await first.result).code).toBe(0);
      expect(origin.requests).toHaveLength(1);
      expect(readFileSync(work.to("a"), "utf8")).toBe("content");
    },
  );

  it("of two sources to one destination: the second waits and wins", async ({ box, origin, work }) => {
    const gate = new Gate();
    const slow = origin.route("/slow", does.gated(gate, does.file("first")));
    const quick = origin.route("/quick", does.file("second"));
    const first = box.start(command(slow, work.to("a")));
    await gate.reached;
    const second = box.start(command(quick, work.to("a")));
    // That something does not happen can only be tested by giving it time to happen.
    const early = await Promise.race([
      second.result,
      new Promise<"waits">((done) => setTimeout(done, 1500, "waits")),
    ]);
    expect(early).toBe("waits");
    gate.open();
    expect((await first.result).code).toBe(0);
    expect((await second.result).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("second");
    expect(leftovers(work.out)).toEqual([]);
  });

  it("to two destinations do not affect each other", async ({ box, origin, work }) => {
    const gate = new Gate();
    const url = origin.route("/a", does.gated(gate, does.file("content")), does.file("content"));
    const first = box.start(command(url, work.to("a")));
    await gate.reached;
    expect((await box.run(command(url, work.to("b")))).code).toBe(0);
    expect(readFileSync(work.to("b"), "utf8")).toBe("content");
    gate.open();
    expect((await first.result).code).toBe(0);
  });

  it("of the same source and destination, even if there are many, leave one complete file", async ({
    box,
    origin,
    work,
  }) => {
    const url = origin.route("/a", does.file(pattern(2_000_000)));
    const all = Array.from({ length: 6 }, () => box.start(command(url, work.to("a"))));
    for (const { result } of all) expect((await result).code).toBe(0);
    expect(await sha256OfFile(work.to("a"))).toBe(sha256(pattern(2_000_000)));
    expect(leftovers(work.out)).toEqual([]);
  });
});

describe("a fetch after a kill -9", () => {
  const content = pattern(4_000_000);

  it.for([{ more: [] }, { more: ["--lock-dir"] }])(
    "succeeds at once $more",
    async ({ more }, { box, origin, work }) => {
      const gate = new Gate();
      const url = origin.route("/a", does.pausedAt(content, 2_000_000, gate), does.file(content));
      const locks = more.flatMap((flag) => [flag, work.at("locks")]);
      const killed = box.start(command(url, work.to("a"), ...locks));
      await gate.reached;
      await until("staging", () => leftovers(work.out).length > 0);
      killed.kill("SIGKILL");
      expect((await killed.result).signal).toBe("SIGKILL");
      expect(() => statSync(work.to("a"))).toThrow();
      const { code, durationMs, stdout, stderr } = await box.run(command(url, work.to("a"), ...locks));
      expect(code, stdout + stderr).toBe(0);
      expect(durationMs).toBeLessThan(8000);
      expect(await sha256OfFile(work.to("a"))).toBe(sha256(content));
      expect(leftovers(work.out)).toEqual([]);
      gate.open();
    },
  );

  it("finds that the old file was there all the time", async ({ box, origin, work }) => {
    work.write({ "out/a": "old" });
    const gate = new Gate();
    const url = origin.route("/a", does.pausedAt(content, 3_000_000, gate), does.status(404));
    const killed = box.start(command(url, work.to("a")));
    await gate.reached;
    killed.kill("SIGKILL");
    await killed.result;
    expect(readFileSync(work.to("a"), "utf8")).toBe("old");
    expect((await box.run(command(url, work.to("a")))).code).toBe(70);
    expect(readFileSync(work.to("a"), "utf8")).toBe("old");
    gate.open();
  });

  it("of another source to that destination succeeds at once", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.silence);
    const killed = box.start(command(url, work.to("a")));
    await origin.waitFor(1);
    killed.kill("SIGKILL");
    await killed.result;
    const { code, durationMs } = await box.run(command(origin.route("/b", does.file("b")), work.to("a")));
    expect(code).toBe(0);
    expect(durationMs).toBeLessThan(8000);
    expect(readFileSync(work.to("a"), "utf8")).toBe("b");
  });
});
