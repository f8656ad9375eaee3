import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/fixtures.js";
import { listRuns } from "../../harness/runs.js";

describe("runs are kept", () => {
  it("when many fetches come after them: what failed or was interrupted, and what went well", async ({
    box,
    origin,
    work,
  }) => {
    const own = ["--state-dir", work.at("state")];
    const kept = ["--keep-runs", "2", ...own];
    const killed = box.start(["sync", origin.route("/mute", does.silence), ...work.into, ...own]);
    await origin.waitFor(1, "/mute");
    killed.kill("SIGKILL");
    await killed.result;
    await box.run(["sync", origin.route("/none", does.status(404)), ...work.into, ...own]);
    await box.run(["sync", work.write({ "in/a": "a" }), ...work.into, ...own]);
    const fetch = ["fetch", "--source-url", work.at("in/a"), "--destination", work.at("fetched/a")];
    for (let nth = 0; nth < 22; nth++) expect((await box.run([...fetch, ...own])).code).toBe(0);
    const all = await listRuns(box, own);
    expect(all).toHaveLength(25);

    const { stdout } = await box.run(["runs", ...own]);
    expect(stdout.split("\n")).toHaveLength(22);
    expect(stdout).toMatch(/^5 older, 1 of them interrupted: --limit 25 lists all$/m);
    expect((await box.run(["runs", "--limit", "25", ...own])).stdout.split("\n")).toHaveLength(26);
    expect(await listRuns(box, ["--limit", "3", ...own])).toEqual(all.slice(0, 3));
    for (const limit of ["0", "x", "1.5", ""]) {
      const { code, stderr } = await box.run(["runs", "--limit", limit, ...own]);
      expect([code, stderr]).toEqual([2, expect.stringMatching(/--limit must be a whole number/)]);
    }

    expect((await box.run([...fetch, ...kept])).code).toBe(0);
    const shown = (await listRuns(box, own)).map((run) => [
      (run as unknown as { kind: string }).kind,
      run.state,
      run.failed,
    ]);
    expect(shown).toEqual([
      ["fetch", "done", 0],
      ["fetch", "done", 0],
      ["fetch", "done", 0],
      ["sync", "done", 0],
      ["sync", "done", 1],
      ["sync", "interrupted", 0],
    ]);
    const gc = await box.run(["gc", ...own], { env: { DROVER_KEEP_RUNS: "1" } });
    expect(gc.stdout).toBe("2 runs forgotten\n");
    expect((await box.run(["gc", "--older-than", "0", ...own])).stdout).toBe("4 runs forgotten\n");
    expect(await listRuns(box, own)).toEqual([]);
  });

  it("as gc --help says", async ({ box }) => {
    const { stdout } = await box.run(["gc", "--help"]);
    const [own = ""] = stdout.split("Global Options:");
    const said = own.replace(/\s+/g, " ");
    expect(said).toMatch(/interrupted \(default: 7, and 30 where something failed\) -h/);
    expect(said).toMatch(/forgotten \(default: 20000\) /);
    expect(said.match(/default: /g)).toHaveLength(3); // that of --config, too
  });
});
