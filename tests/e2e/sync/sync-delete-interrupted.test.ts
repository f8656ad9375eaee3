import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { parseItems } from "../../harness/drover.js";
import { type FakeS3, sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { TestFleet } from "../../harness/fleet.js";
import { Gate, until } from "../../harness/gate.js";
import { here, named } from "../../harness/named-trees.js";
import { listRuns, statusOf } from "../../harness/runs.js";

const all = ["--delete", "--max-delete", "100%"];

describe("a sync killed while it deletes", () => {
  it.for(["delete", "enqueue:2", "admit:4", "taken", "removed", "settled:4"])(
    "at %s can be resumed, and loses nothing that is to be kept",
    async (point, { box, work }) => {
      const own = ["--state-dir", work.at("s")];
      work.write(named("in", ["a", "b", "d/c"]));
      work.write(named("out", ["old1", "d/old2", "e/old3"]));
      const args = ["sync", work.at("in"), ...work.into, ...all, "--backup-dir", work.at("kept"), ...own];
      const killed = await box.run(args, { env: { DROVER_FAULT: point } });
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      const [run] = await listRuns(box, own);
      const resumed = await box.run(["resume", run?.run as string, ...own]);
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "b", "d/c"]);
      expect(here(work.at("kept"))).toEqual(["d/old2", "e/old3", "old1"]);
      expect(await statusOf(box, run?.run as string, own)).toMatchObject({ files: 6, copied: 3, deleted: 3 });
      expect(existsSync(work.to("e"))).toBe(false);
    },
  );

  it("before everything has arrived still deletes nothing if a file failed meanwhile", async ({
    box,
    work,
    s3,
  }) => {
    const own = ["--state-dir", work.at("s")];
    s3.pageKeys = 10;
    for (let n = 10; n < 40; n++) s3.put(`k/${n}`, `${n}`);
    work.write({ "out/old": "old" });
    const options = { env: s3.env };
    const args = ["sync", "s3://bucket/k/", ...work.into, ...all, ...own];
    const killed = await box.run(args, { env: { ...s3.env, DROVER_FAULT: "settled:5" } });
    expect(killed.signal).toBe("SIGKILL");
    s3.fault = ({ key }, answer) => {
      if (key !== "k/39") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const [run] = await listRuns(box, own);
    const resumed = await box.run(["resume", run?.run as string, ...own], options);
    expect([resumed.code, resumed.stderr]).toEqual([
      1,
      expect.stringMatching(/1 of 30 files did not arrive/),
    ]);
    expect(here(work.out)).toContain("old");
    // Deletion is also refused for an empty source.
    for (let n = 10; n < 40; n++) s3.remove(`k/${n}`);
    const empty = await box.run(["retry", run?.run as string, ...own], options);
    expect([empty.code, empty.stderr]).toEqual([1, expect.stringMatching(/nothing was deleted/)]);
    expect(here(work.out)).toContain("old");
  });
});

describe("a sync stopped while it looks for files to delete", () => {
  const args = (work: Work) => ["sync", work.at("in"), "--artifact-root", "s3://bucket/dst", ...all];
  /** Holds the listing of the destination back. */
  function hold(s3: FakeS3): Gate {
    const gate = new Gate();
    s3.before = ({ query }) =>
      query.has("list-type") && query.get("prefix") === "dst/" ? gate.pass() : undefined;
    return gate;
  }

  it("is cancelled, and says so", async ({ box, work, s3 }) => {
    const own = ["--state-dir", work.at("s")];
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    const gate = hold(s3);
    const started = box.start([...args(work), ...own], { env: s3.env });
    await gate.reached;
    const [run] = await listRuns(box, own);
    await box.run(["cancel", run?.run as string, ...own]);
    const { code, stderr } = await started.result;
    gate.open();
    expect([code, stderr]).toEqual([1, expect.stringMatching(/was cancelled$/m)]);
    expect(s3.keys).toEqual(["dst/a", "dst/old"]);
  });

  it("by Ctrl-C in a fleet can be resumed", async ({ box, work, s3 }) => {
    const fleet = await TestFleet.start(box, ["s3://bucket/dst"]);
    try {
      fleet.env = s3.env;
      await fleet.worker();
      work.write(named("in", ["a"]));
      s3.put("dst/old", "old");
      const gate = hold(s3);
      const started = box.start([...args(work), ...fleet.own], { env: s3.env });
      await gate.reached;
      started.interrupt();
      const { code, stderr } = await started.result;
      gate.open();
      expect([code, stderr]).toEqual([130, expect.stringMatching(/drover resume \S+ --redis \S+ goes on/)]);
      const [run] = await listRuns(box, fleet.own);
      const resumed = await box.run(["resume", run?.run as string, ...fleet.own], { env: s3.env });
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(s3.keys).toEqual(["dst/a"]);
    } finally {
      await fleet.stop();
    }
  });
});

describe("a fleet", () => {
  it("deletes like one process; the run of a killed producer can be resumed", async ({ box, work }) => {
    mkdirSync(work.out);
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      mkdirSync(work.at("kept"));
      await fleet.worker();
      await fleet.worker();
      work.write(named("in", ["a", "b", "d/c"]));
      work.write(named("out", ["old1", "d/old2", "e/old3"]));
      const args = [
        "sync",
        work.at("in"),
        ...work.into,
        ...all,
        "--backup-dir",
        work.at("kept"),
        ...fleet.own,
      ];
      const killed = await box.run(args, { env: { DROVER_FAULT: "delete" } });
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      const [run] = await listRuns(box, fleet.own);
      expect(run).toMatchObject({ state: "interrupted", copied: 3 });
      expect(here(work.out)).toContain("old1");
      const resumed = await box.run(["resume", run?.run as string, ...fleet.own]);
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "b", "d/c"]);
      expect(here(work.at("kept"))).toEqual(["d/old2", "e/old3", "old1"]);
      rmSync(work.at("in/b"));
      writeFileSync(work.to("old4"), "old4");
      const again = await box.sync([work.at("in"), ...work.into, "--delete", ...fleet.own]);
      expect([again.code, again.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "d/c"]);

      // What changes between listing and removal must be left alone.
      for (const worker of fleet.workers) worker.kill("SIGTERM");
      await Promise.all(fleet.workers.map((worker) => worker.result));
      work.write(named("out", ["old5", "old6"]));
      const command = ["sync", work.at("in"), ...work.into, "--delete", "--json", ...fleet.own];
      const started = box.start(command);
      await until("the removals to be registered", async () => {
        const [latest] = await listRuns(box, fleet.own);
        return latest?.state === "running" && latest.files === 4;
      });
      writeFileSync(work.to("old5"), "new content");
      await fleet.worker();
      const changed = await started.result;
      expect(changed.code).toBe(1);
      const failed = parseItems(changed).filter(({ status }) => status === "failed");
      expect(failed).toEqual([expect.objectContaining({ destination: work.to("old5") })]);
      expect(failed[0]?.error).toMatchObject({ class: "changed" });
      expect(here(work.out)).toEqual(["a", "d/c", "old5"]);
      expect(readFileSync(work.to("old5"), "utf8")).toBe("new content");
    } finally {
      await fleet.stop();
    }
  });

  it("backs up nothing outside of its workers' roots, whenever these start", async ({ box, work, fleet }) => {
    work.write(named("in", ["a"]));
    work.write(named("out", ["old"]));
    const args = ["sync", work.at("in"), ...work.into, ...all, "--backup-dir", work.at("no"), ...fleet.own];
    const early = box.start(args);
    await early.waitFor("stderr", /no worker of this fleet is alive/);
    await fleet.worker();
    const failed = await early.result;
    expect([failed.code, failed.stdout]).toEqual([3, expect.stringMatching(/✗ a .*no is outside of the/)]);
    const refused = await box.run(args);
    expect([refused.code, refused.stdout]).toEqual([2, ""]);
    expect(refused.stderr).toMatch(/no worker writes to .*out and to .*no: choose a --backup-dir below/);
    expect(here(work.out)).toEqual(["old"]);
  });

  it("resumes and retries decided removals, and decides on no new ones", async ({ box, work }) => {
    mkdirSync(work.out);
    mkdirSync(work.at("kept"));
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      const first = await fleet.worker();
      work.write(named("in", ["a", "b"]));
      const args = ["sync", work.at("in"), ...work.into, ...fleet.own];
      expect((await box.run(args)).code).toBe(0);
      first.kill("SIGTERM");
      await first.result;
      work.write({ "out/d/old": "old", "kept/d": "a file where a directory is needed" });
      const started = box.start([...args, "--delete", "--max-delete", "9", "--backup-dir", work.at("kept")]);
      const registered = async () => (await listRuns(box, fleet.own))[0]?.files === 3;
      await until("the removal to be registered", registered);
      started.interrupt();
      expect((await started.result).stderr).toMatch(/the run goes on/);
      const [run] = await listRuns(box, fleet.own);
      await fleet.worker();
      const resumed = await box.run(["resume", run?.run as string, ...fleet.own]);
      expect([resumed.code, here(work.out)]).toEqual([1, ["a", "b", "d/old"]]);
      rmSync(work.at("kept/d"));
      const retried = await box.run(["retry", run?.run as string, ...fleet.own]);
      expect([retried.code, retried.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "b"]);
    } finally {
      await fleet.stop();
    }
  });

  it("loses nothing if a worker is killed after it took a file for removal", async ({ box, work }) => {
    for (const directory of [work.out, work.at("kept")]) mkdirSync(directory);
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      const first = await fleet.worker();
      work.write(named("in", ["a", "b", "c"]));
      const args = ["sync", work.at("in"), ...work.into, ...fleet.own];
      expect((await box.run(args)).code).toBe(0);
      first.kill("SIGTERM");
      await first.result;
      work.write(named("out", ["d/old1", "old2"]));
      fleet.env = { DROVER_FAULT: "taken" };
      const doomed = await fleet.worker();
      const started = box.start([...args, "--delete", "--backup-dir", work.at("kept")]);
      expect((await doomed.result).signal).toBe("SIGKILL");
      fleet.env = {};
      await fleet.worker();
      const { code, stderr } = await started.result;
      expect([code, stderr]).toEqual([0, ""]);
      expect([here(work.out), here(work.at("kept"))]).toEqual([
        ["a", "b", "c"],
        ["d/old1", "old2"],
      ]);
      expect(await listRuns(box, fleet.own)).toMatchObject([{ files: 5, unchanged: 3, deleted: 2 }, {}]);
    } finally {
      await fleet.stop();
    }
  });
});
