import { readdirSync, readFileSync, statSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { type Item, leftovers } from "../../harness/drover.js";
import type { Behaviour } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";
import { listRuns, onlyRun, statusOf } from "../../harness/runs.js";

const content = pattern(4_000_000);

describe("drover runs and drover status", () => {
  it("report a finished run", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const urls = [origin.route("/a", does.file("a")), origin.route("/b", does.status(404))];
    await box.run(["sync", ...urls, ...work.into, ...own]);
    const run = await onlyRun(box, own);
    expect(run.state).toBe("done");
    const { stdout: list } = await box.run(["runs", ...own]);
    expect(list).toMatch(new RegExp(`^${run.run} .*done`, "m"));
    const { code, stdout } = await box.run(["status", run.run, ...own]);
    expect(code).toBe(0);
    expect(stdout).toContain(run.run);
    expect(stdout).toContain(urls[1]);
    expect(stdout).toContain("404");
    expect(await statusOf(box, run.run, own)).toMatchObject({ files: 2, copied: 1, failed: 1 });
  });

  it("say where a run comes from, where it goes and what it is called, and take a part of its id", async ({
    box,
    work,
  }) => {
    work.write({ "in/a": "a", "too/b": "b" });
    const own = ["--state-dir", work.at("state")];
    for (const label of ["nightly", "weekly"])
      await box.run(["sync", work.at("in"), work.at("too"), ...work.into, ...own, "--label", label]);
    const [latest, first] = await listRuns(box, own);
    expect([latest, first]).toMatchObject([{ label: "weekly" }, { label: "nightly" }]);
    expect(await listRuns(box, [...own, "--label", "nightly"])).toEqual([first]);
    const line = `[weekly]  ${work.at("in")} and 1 more -> ${work.out}\n`;
    expect((await box.run(["runs", ...own])).stdout).toContain(line);
    const { stdout } = await box.run(["status", "latest", ...own]);
    expect(stdout).toContain(`label weekly\nfrom ${work.at("in")} and 1 more\nto ${work.out}\n`);
    const unique = (first?.run ?? "").slice(0, -1);
    expect((await box.run(["status", unique, ...own])).stdout).toContain(`run ${first?.run}:`);
    const several = await box.run(["status", "r", ...own]);
    expect([several.code, several.stderr]).toEqual([
      2,
      `drover: several runs begin with r: ${latest?.run}, ${first?.run}\n`,
    ]);
    const none = await box.run(["resume", "x", ...own]);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("no such run: x")]);
  });

  it("list what a run did, as far as it is kept", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    work.write({ "in/a": "a", "in/b": "b", "in/c": "c", "out/old": "old" });
    await box.run(["sync", `${work.at("in")}/`, ...work.into, ...own]);
    work.write({ "in/a": "anew" });
    const gone = origin.route("/gone", does.status(404));
    await box.run(["sync", `${work.at("in")}/`, gone, ...work.into, ...own]);
    const args = ["status", "latest", ...own];
    const { stdout } = await box.run([...args, "--files"]);
    expect(stdout).toMatch(/\n✓ a \(4 B, .*\)\n✗ .*\/gone \(.*404.*\)\n/);
    expect(stdout).not.toContain("✓ b");
    expect(stdout).not.toContain("truncated");
    const listed = JSON.parse((await box.run([...args, "--files", "--json"])).stdout);
    expect(listed).toMatchObject({
      files: [{ outcome: "copied", source: work.at("in/a"), destination: work.at("out/a"), bytes: 4 }],
      truncated: false,
      failures: [{ source: gone, outcome: "failed" }],
    });
    const failed = JSON.parse((await box.run([...args, "--outcome", "failed", "--json"])).stdout);
    expect(failed).toMatchObject({ files: [], truncated: false, failures: [{ source: gone }] });
    const copied = JSON.parse((await box.run([...args, "--outcome", "copied", "--json"])).stdout);
    expect(copied).toMatchObject({ files: [{ source: work.at("in/a") }], failures: [] });
    const wrong = await box.run([...args, "--outcome", "fine"]);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining("copied, deleted, failed")]);
  });

  it("say that what a run did is kept in part, or no more", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    work.write(Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`in/f${at}`, String(at)])));
    const sync = ["sync", `${work.at("in")}/`, ...own];
    await box.run([...sync, "--to", work.at("few"), "--keep-outcomes", "20"]);
    const few = JSON.parse((await box.run(["status", "latest", "--files", "--json", ...own])).stdout);
    expect([few.files.length, few.truncated, few.copied]).toEqual([20, true, 30]);
    await box.run([...sync, "--to", work.at("none"), "--keep-outcomes", "0"]);
    const { stdout } = await box.run(["status", "latest", "--files", ...own]);
    expect(stdout).toContain("truncated: what it did is not kept");
  });

  it("count unchanged files", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/b": "b", "in/c": "c" });
    await box.run(["sync", work.at("in"), ...work.into]);
    work.write({ "in/c": "new" });
    const own = ["--state-dir", work.at("state")];
    for (let i = 0; i < 2; i++) await box.run(["sync", work.at("in"), ...work.into, ...own]);
    const [newest, older] = await listRuns(box, own);
    expect(newest).toMatchObject({ files: 3, copied: 0, unchanged: 3 });
    expect(older?.files).toBe(3);
  });

  it("say so if there are no runs", async ({ box, work }) => {
    const { code, stderr } = await box.run(["runs", "--state-dir", work.at("state")]);
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it.for(["status", "retry", "resume", "cancel"])(
    "%s refuses a run that does not exist",
    async (command, { box }) => {
      const { code, stdout, stderr } = await box.run([command, "r123-abcdef"]);
      expect(code).toBe(2);
      expect(stdout).toBe("");
      expect(stderr).toContain("r123-abcdef");
      expect(stderr).toBe(
        "drover: no such run: r123-abcdef in Drover's own Redis: --redis names a fleet's (drover runs lists them)\n",
      );
    },
  );
});

describe("drover retry", () => {
  it("retries exactly what failed", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const urls = [
      origin.route("/good", does.file("good")),
      origin.route("/gone", does.status(404), does.file("back")),
      origin.route("/broken", does.status(500), does.file("mended")),
    ];
    expect((await box.run(["sync", ...urls, ...work.into, ...own, "--retries", "1"])).code).toBe(1);
    const { run: id } = await onlyRun(box, own);
    const { code, stdout } = await box.run(["retry", id, ...own]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^2\/2 successful$|^3\/3 successful$/m);
    expect(origin.requestsTo("/good")).toHaveLength(1);
    expect(readFileSync(work.to("gone"), "utf8")).toBe("back");
    expect(readFileSync(work.to("broken"), "utf8")).toBe("mended");
    const after = await statusOf(box, id, own);
    expect(after).toMatchObject({ files: 3, copied: 3 });
    expect(after.failed).toBe(0);
  });

  it("retries what failed with one class of error, or at one host, alone", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const urls = [
      origin.route("/gone", does.status(404), does.file("back")),
      origin.route("/broken", does.status(500), does.file("mended")),
    ];
    expect((await box.run(["sync", ...urls, ...work.into, ...own, "--retries", "1"])).code).toBe(3);
    const { run: id } = await onlyRun(box, own);
    const none = await box.run(["retry", id, ...own, "--class", "timeout"]);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("is meant by this")]);
    expect((await box.run(["retry", id, ...own, "--host", "example.com"])).code).toBe(2);
    expect((await box.run(["retry", id, ...own, "--class", "not-found"])).code).toBe(1);
    expect(await statusOf(box, id, own)).toMatchObject({ state: "done", files: 2, copied: 1, failed: 1 });
    expect(origin.requestsTo("/broken")).toHaveLength(1);
    expect((await box.run(["retry", id, ...own, "--host", origin.host])).code).toBe(0);
    expect(await statusOf(box, id, own)).toMatchObject({ state: "done", files: 2, copied: 2, failed: 0 });
  });

  it("may fail again, and can be repeated", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const url = origin.route("/a", ...does.times(2, does.status(404)), does.file("third time"));
    await box.run(["sync", url, ...work.into, ...own]);
    const { run: id } = await onlyRun(box, own);
    expect((await box.run(["retry", id, ...own])).code).toBe(3);
    expect((await statusOf(box, id, own)).failed).toBe(1);
    expect((await box.run(["retry", id, ...own])).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("third time");
    expect(await statusOf(box, id, own)).toMatchObject({ files: 1, copied: 1 });
  });

  it("finds a source that did not exist the first time", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    work.write({ "here.txt": "here" });
    const sources = [work.at("here.txt"), work.at("late.txt")];
    expect((await box.run(["sync", ...sources, ...work.into, ...own])).code).toBe(1);
    work.write({ "late.txt": "late" });
    const { run: id } = await onlyRun(box, own);
    const { code, stdout, stderr } = await box.run(["retry", id, ...own]);
    expect(code, stdout + stderr).toBe(0);
    expect(readFileSync(work.to("late.txt"), "utf8")).toBe("late");
    expect(await statusOf(box, id, own)).toMatchObject({ files: 2, copied: 2, failed: 0 });
  });

  it("keeps the settings of the run: headers, checksum, destination", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const url = origin.route("/a", does.status(404), does.file("content"));
    const terms = ["--checksum", `${url}=${sha256("content")}`, "--header", "X-Tenant: blue"];
    await box.run(["sync", url, ...work.into, ...terms, ...own]);
    const { run: id } = await onlyRun(box, own);
    const { code, stdout } = await box.run(["retry", id, ...own, "--json"]);
    expect(code).toBe(0);
    expect(origin.requests[1]?.headers["x-tenant"]).toBe("blue");
    expect((JSON.parse(stdout) as Item[])[0]).toMatchObject({
      source: url,
      outcome: "copied",
      verified_by: "sha256",
    });
  });

  it("does nothing if nothing failed", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    await box.run(["sync", work.write({ a: "a" }), ...work.into, ...own]);
    const { run: id } = await onlyRun(box, own);
    const { code, stdout } = await box.run(["retry", id, ...own]);
    expect(code).toBe(0);
    expect(stdout).toBe(`Run ${id} is done: nothing is left to retry\n1/1 successful\n`);
    expect(await statusOf(box, id, own)).toMatchObject({ files: 1, copied: 1 });
  });
});

describe("Ctrl-C", () => {
  it("exits with 130, and resume does the rest", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const urls = [
      origin.route("/done", does.file("done")),
      origin.route("/half", does.pausedAt(content, 2_000_000, gate), does.file(content)),
      origin.route("/waiting", does.silence, does.file("waiting")),
      ...Array.from({ length: 20 }, (_, i) => origin.route(`/late${i}`, does.file(`late ${i}`))),
    ];
    const run = box.start(["sync", ...urls, ...work.into, ...own, "--max-workers", "3"]);
    await gate.reached;
    await origin.waitFor(1, "/waiting");
    await run.waitFor("stdout", /✓ done/);
    run.interrupt();
    const { code, durationMs } = await run.result;
    gate.open();
    expect(code).toBe(130);
    expect(durationMs).toBeLessThan(20_000);
    const { run: id } = await onlyRun(box, own);
    const resumed = await box.run(["resume", id, ...own]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(readFileSync(work.to("waiting"), "utf8")).toBe("waiting");
    expect(await sha256OfFile(work.to("half"))).toBe(sha256(content));
    for (let i = 0; i < 20; i++) expect(readFileSync(work.to(`late${i}`), "utf8")).toBe(`late ${i}`);
    expect(origin.requestsTo("/done")).toHaveLength(1);
    expect(leftovers(work.out)).toEqual([]);
    expect(await statusOf(box, id, own)).toMatchObject({ files: 23, copied: 23 });
  });

  it("leaves a valid array with --json", async ({ box, origin, work }) => {
    const urls = [origin.route("/a", does.file("a")), origin.route("/b", does.silence)];
    const run = box.start(["sync", ...urls, ...work.into, "--json"]);
    await run.waitFor("stdout", /"copied"/);
    await origin.waitFor(1, "/b");
    run.interrupt();
    const { code, stdout } = await run.result;
    expect(code).toBe(130);
    const items = JSON.parse(stdout) as Item[];
    expect(items.filter((item) => item.status === "ok")).toHaveLength(1);
  });

  it("pressed twice stops at once", async ({ box, origin, work }) => {
    const run = box.start(["sync", origin.route("/a", does.silence), ...work.into]);
    await origin.waitFor(1);
    run.interrupt();
    run.interrupt();
    const { code, signal } = await run.result;
    expect(signal ?? code).toBe(130);
  });

  it("SIGTERM leaves a resumable run", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const url = origin.route("/a", does.silence, does.file("content"));
    const run = box.start(["sync", url, ...work.into, ...own]);
    await origin.waitFor(1);
    run.kill("SIGTERM");
    const { code, signal } = await run.result;
    expect([143, "SIGTERM", 130]).toContain(signal ?? code);
    const { run: id } = await onlyRun(box, own);
    expect((await box.run(["resume", id, ...own])).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("content");
  });
});

describe("drover cancel", () => {
  it("ends a run in progress", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const slow = origin.route("/slow", does.pausedAt(content, 1_000_000, gate));
    const urls = [origin.route("/quick", does.file("quick")), slow];
    const run = box.start(["sync", ...urls, ...work.into, ...own, "--json"]);
    await gate.reached;
    await run.waitFor("stdout", /"copied"/);
    const { run: id } = await onlyRun(box, own);
    expect((await box.run(["cancel", id, ...own])).code).toBe(0);
    const { code, stdout } = await run.result;
    gate.open();
    expect(code).toBe(1);
    const items = JSON.parse(stdout) as Item[];
    expect(items.find((item) => item.source === slow)?.status).toBe("cancelled");
    expect(leftovers(work.out)).toEqual([]);
    expect((await onlyRun(box, own)).state).toBe("cancelled");
    expect(await statusOf(box, id, own)).toMatchObject({ files: 2, copied: 1, cancelled: 1 });
    expect((await box.run(["runs", ...own])).stdout).toMatch(
      / {2}1\/2 successful, 1 cancelled {2}http\S* and 1 more -> /,
    );
  });

  it("changes nothing in a finished run", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    await box.run(["sync", work.write({ a: "a" }), ...work.into, ...own]);
    const before = await onlyRun(box, own);
    const { stderr } = await box.run(["cancel", before.run, ...own]);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect((await onlyRun(box, own)).state).toBe("done");
    expect(await statusOf(box, before.run, own)).toMatchObject({ files: 1, copied: 1 });
  });

  it("settles waiting files without requesting them", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const hold = new Gate();
    const first = origin.route("/first", does.gated(hold, does.file("first")));
    origin.route("/next/*", does.file("next"));
    const urls = Array.from({ length: 30 }, (_, i) => origin.url(`/next/${i}`));
    const run = box.start(["sync", first, ...urls, ...work.into, ...own, "--max-workers", "1", "--json"]);
    await hold.reached;
    const { run: id } = await onlyRun(box, own);
    await box.run(["cancel", id, ...own]);
    const { code, stdout } = await run.result;
    hold.open();
    expect(code).toBe(3);
    const items = JSON.parse(stdout) as Item[];
    expect(items).toHaveLength(31);
    expect(new Set(items.map((item) => item.status))).toEqual(new Set(["cancelled"]));
    expect(origin.requests).toHaveLength(1);
  });
});

describe("drover gc", () => {
  it("forgets finished and interrupted runs with their lists, and none in progress", async ({
    box,
    origin,
    work,
  }) => {
    const own = ["--state-dir", work.at("state")];
    await box.run(["sync", work.write({ a: "a" }), ...work.into, ...own]);
    const list = ["--from-file", "-"];
    const input = `${origin.route("/b", does.silence)}\n`;
    const killed = box.start(["sync", ...list, ...work.into, ...own], { input });
    await origin.waitFor(1, "/b");
    killed.kill("SIGKILL");
    await killed.result;
    const gate = new Gate();
    const source = origin.route("/c", does.gated(gate, does.file("c")));
    const alive = box.start(["sync", source, ...work.into, ...own]);
    await gate.reached;
    expect((await listRuns(box, own)).map(({ state }) => state)).toEqual(["running", "interrupted", "done"]);
    expect(readdirSync(work.at("state/lists"))).toHaveLength(1);
    expect((await box.run(["gc", ...own])).stdout).toBe("0 runs forgotten\n");
    expect((await box.run(["gc", "--older-than", "0", ...own])).stdout).toBe("2 runs forgotten\n");
    expect((await onlyRun(box, own)).state).toBe("running");
    expect(readdirSync(work.at("state/lists"))).toEqual([]);
    gate.open();
    expect((await alive.result).code).toBe(0);
  });
});

describe("drover resume", () => {
  it("shows how far the run is from its first line on", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const quick = ["/a", "/b"].map((path) => origin.route(path, does.file("x")));
    const last = origin.route("/c", does.silence, does.gated(gate, does.file("x")));
    const run = box.start(["sync", ...quick, last, ...work.into, ...own]);
    await run.waitFor("stdout", /✓ a.*✓ b|✓ b.*✓ a/s);
    await origin.waitFor(3);
    run.interrupt();
    await run.result;
    const { run: id } = await onlyRun(box, own);
    const resumed = box.start(["resume", id, ...own, "--stats", "50ms"]);
    await resumed.waitFor("stderr", /^2\/3 files · 0 B · 0 B\/s$/m);
    gate.open();
    expect((await resumed.result).code).toBe(0);
  });

  const mute: Behaviour = does.silence;

  it("continues after a kill -9, and the run is shown as interrupted before", async ({
    box,
    origin,
    work,
  }) => {
    const own = ["--state-dir", work.at("state")];
    const urls = [origin.route("/a", does.file("a")), origin.route("/b", mute, does.file("b"))];
    const run = box.start(["sync", ...urls, ...work.into, ...own]);
    await run.waitFor("stdout", /✓ a/);
    await origin.waitFor(1, "/b");
    run.kill("SIGKILL");
    await run.result;
    const { run: id, state } = await onlyRun(box, own);
    expect(state).toBe("interrupted");
    const { code, durationMs } = await box.run(["resume", id, ...own]);
    expect(code).toBe(0);
    expect(durationMs).toBeLessThan(10_000);
    expect(origin.requestsTo("/a")).toHaveLength(1);
    expect(readFileSync(work.to("b"), "utf8")).toBe("b");
    expect((await onlyRun(box, own)).state).toBe("done");
  });

  it("refuses a run whose list has changed", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const list = work.write({ list: `${origin.route("/a", mute)}\n${origin.url("/b")}\n` });
    const few = ["--backlog-high-water", "1"]; // so that it does not read the list completely
    const run = box.start(["sync", "--from-file", list, ...few, ...work.into, ...own]);
    await origin.waitFor(1, "/a");
    run.kill("SIGKILL");
    await run.result;
    const { run: id } = await onlyRun(box, own);
    work.write({ list: "another\n" });
    const { code, stdout, stderr } = await box.run(["resume", id, ...own]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^drover: the list .* has changed since run .*: start a new sync\n$/);
  });

  it("does not take a run from a live process", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const run = box.start([
      "sync",
      origin.route("/a", does.gated(gate, does.file("a"))),
      ...work.into,
      ...own,
    ]);
    await gate.reached;
    const { run: id, state } = await onlyRun(box, own);
    expect(state).toBe("running");
    const second = await box.run(["resume", id, ...own]);
    expect(second.code).toBe(2);
    expect(second.stderr).toContain(id);
    gate.open();
    expect((await run.result).code).toBe(0);
    expect(origin.requests).toHaveLength(1);
  });

  it("does nothing for a finished run", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    await box.run(["sync", origin.route("/a", does.file("a")), ...work.into, ...own]);
    const { run: id } = await onlyRun(box, own);
    const { stdout, code } = await box.run(["resume", id, ...own]);
    expect(code).toBe(0);
    expect(stdout).toContain("1/1 successful");
    expect((await box.run(["resume", id, ...own, "--json"])).stdout).toBe("[]\n");
    expect(origin.requests).toHaveLength(1);
    expect((await onlyRun(box, own)).state).toBe("done");
  });

  it("continues a partial download instead of starting again", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const url = origin.route("/a.bin", does.pausedAt(content, 3_000_000, gate), does.file(content));
    const run = box.start(["sync", url, ...work.into, ...own]);
    await until("the first part to be staged", () => {
      const [staged] = leftovers(work.out);
      return staged !== undefined && statSync(staged).size >= 3_000_000;
    });
    run.interrupt();
    expect((await run.result).code).toBe(130);
    gate.open();
    const { run: id } = await onlyRun(box, own);
    expect((await box.run(["resume", id, ...own])).code).toBe(0);
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(content));
    expect(origin.requests[1]?.headers.range).toMatch(/^bytes=[1-9]\d*-/);
  });
});
