import { readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern } from "../../harness/content.js";
import { hasTerminal } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";

/** The text on a terminal without cursor movements and colours. */
function plain(output: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
  return output.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "").replaceAll("\r", "");
}

describe.skipIf(!hasTerminal)("on a terminal", () => {
  it("progress is shown during the sync, and the result stays", async ({ box, origin, work }) => {
    const gate = new Gate();
    const urls = [
      origin.route("/quick.csv", does.file("quick")),
      origin.route("/slow.csv", does.pausedAt(pattern(4_000_000), 2_000_000, gate)),
      origin.route("/gone.csv", does.status(404)),
    ];
    const run = box.start(["sync", ...urls, ...work.into], { terminal: true });
    await gate.reached;
    await run.waitFor("stdout", /slow\.csv/);
    expect(run.running).toBe(true);
    gate.open();
    const { code, stdout } = await run.result;
    expect(code).toBe(1);
    expect(stdout).toContain("\u001b[");
    const text = plain(stdout);
    expect(text).toContain("Syncing 3 sources...");
    expect(text).toMatch(/✓ quick\.csv \(/);
    expect(text).toMatch(/✓ slow\.csv \(4(\.0)? MB, /);
    expect(text).toMatch(/✗ gone\.csv \(.*404.*\)/);
    expect(text).toContain("2/3 successful");
    // The cursor is restored.
    expect(stdout.lastIndexOf("\u001b[?25h")).toBeGreaterThanOrEqual(stdout.lastIndexOf("\u001b[?25l"));
  });

  it("an open breaker is shown", async ({ box, origin, work }) => {
    origin.route("/*", ...does.times(5, does.status(503)), does.file("x"));
    const urls = Array.from({ length: 8 }, (_, i) => origin.url(`/f${i}`));
    const options = ["--retries", "1", "--max-workers", "1", "--circuit-ttl", "2"];
    const run = box.start(["sync", ...urls, ...work.into, ...options], { terminal: true });
    await run.waitFor("stdout", new RegExp(`breaker[^\n]*${origin.host}|${origin.host}[^\n]*breaker`, "i"));
    expect((await run.result).code).toBe(1);
  });

  it("Ctrl-C stops the sync, restores the cursor, and says how to resume", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const url = origin.route("/a.csv", does.silence, does.file("content"));
    const run = box.start(["sync", url, ...work.into, ...own], { terminal: true });
    await origin.waitFor(1);
    run.interrupt();
    const { code, stdout } = await run.result;
    expect(code).toBe(130);
    const hint = /drover resume (\S+)/.exec(plain(stdout));
    expect(hint, stdout).not.toBeNull();
    expect(stdout.lastIndexOf("\u001b[?25h")).toBeGreaterThanOrEqual(stdout.lastIndexOf("\u001b[?25l"));
    const resumed = await box.run(["resume", hint?.[1] ?? "", ...own]);
    expect(resumed.code).toBe(0);
    expect(readFileSync(work.to("a.csv"), "utf8")).toBe("content");
  });
});
