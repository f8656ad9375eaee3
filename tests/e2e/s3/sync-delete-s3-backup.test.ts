import { describe, expect } from "vitest";
import { type FakeRequest, sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { TestFleet } from "../../harness/fleet.js";
import { named } from "../../harness/named-trees.js";
import { listRuns } from "../../harness/runs.js";

const toDst = ["--artifact-root", "s3://bucket/dst", "--delete", "--max-delete", "100%"];
const backup = ["--backup-dir", "s3://bucket/keep/today"];
const isCopyOf = (key: string) => (request: FakeRequest) =>
  request.method === "PUT" && request.headers["x-amz-copy-source"] !== undefined && request.key === key;

describe("sync --delete --backup-dir s3://", () => {
  it("copies an object unchanged before it removes it, and replaces an older backup", async ({
    box,
    work,
    s3,
  }) => {
    work.write(named("in", ["a"]));
    const noted = { "content-type": "text/x-old", "cache-control": "no-store", "x-amz-meta-mtime": "12.5" };
    s3.put("dst/old", "old", noted);
    s3.put("dst/d/ü +%?#", "odd", { "x-amz-meta-mode": "100600" });
    s3.put("dst/same", "same", { "x-amz-meta-mtime": "2" });
    s3.put("keep/today/old", "of an earlier day", { "x-amz-meta-other": "x" });
    s3.put("keep/today/same", "same", { "x-amz-meta-mtime": "1" }); // other metadata
    const args = ["sync", work.at("in"), ...toDst, ...backup];
    const dry = await box.run([...args, "--dry-run"], { env: s3.env });
    expect([dry.code, dry.stdout]).toEqual([0, expect.stringMatching(/^would delete s3:.*\/old /m)]);
    expect(s3.keys).toHaveLength(5);

    const { code, stdout, stderr } = await box.run(args, { env: s3.env });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^✓ old \(deleted\)$/m);
    expect(s3.keys).toEqual(["dst/a", "keep/today/d/ü +%?#", "keep/today/old", "keep/today/same"]);
    const old = s3.stored("keep/today/old");
    expect([old?.content.toString(), old?.headers]).toEqual(["old", noted]);
    expect(s3.stored("keep/today/d/ü +%?#")?.headers).toEqual({ "x-amz-meta-mode": "100600" });
    expect(s3.stored("keep/today/same")?.headers).toEqual({ "x-amz-meta-mtime": "2" });
    const at = (of: (request: FakeRequest) => boolean) => s3.requests.findIndex(of);
    const removed = at(({ method, key }) => method === "DELETE" && key === "dst/old");
    expect(at(isCopyOf("keep/today/old"))).toBeLessThan(removed);
  });

  it("finds the copy and removes the object when resumed after a kill between both", async ({
    box,
    work,
    s3,
  }) => {
    const own = ["--state-dir", work.at("s")];
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    const args = ["sync", work.at("in"), ...toDst, ...backup, ...own];
    const killed = await box.run(args, { env: { ...s3.env, DROVER_FAULT: "kept" } });
    expect([killed.signal, s3.keys]).toEqual(["SIGKILL", ["dst/a", "dst/old", "keep/today/old"]]);
    const [run] = await listRuns(box, own);
    const resumed = await box.run(["resume", run?.run as string, ...own], { env: s3.env });
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual(["dst/a", "keep/today/old"]);
    expect(s3.requests.filter(isCopyOf("keep/today/old"))).toHaveLength(1);
  });

  it.for([403, 503])(
    "keeps an object that cannot be backed up (%i), reports it, and retry removes it",
    async (status, { box, work, s3 }) => {
      const state = ["--state-dir", work.at("s")];
      work.write(named("in", ["a"]));
      for (const name of ["old", "older"]) s3.put(`dst/${name}`, name);
      s3.fault = (request, answer) => {
        if (!isCopyOf("keep/today/old")(request)) return false;
        sendError(answer, status, status === 403 ? "AccessDenied" : "InternalError");
        return true;
      };
      const args = ["sync", work.at("in"), ...toDst, ...backup];
      const failed = await box.run([...args, ...state, "--retries", "2"], { env: s3.env });
      expect([failed.code, failed.stderr]).toEqual([1, ""]);
      expect(failed.stdout).toMatch(
        /^✗ old \(cannot write to s3:\/\/bucket\/keep\/today: .*HTTP status \d+\)\)$/m,
      );
      expect(s3.keys).toEqual(["dst/a", "dst/old", "keep/today/older"]);
      s3.fault = () => false;
      const [run] = await listRuns(box, state);
      const retried = await box.run(["retry", run?.run as string, ...state], { env: s3.env });
      expect([retried.code, retried.stderr]).toEqual([0, ""]);
      expect(s3.keys).toEqual(["dst/a", "keep/today/old", "keep/today/older"]);
    },
  );

  it.for(["quoted", "none"] as const)(
    "leaves objects alone that are replaced meanwhile (conditions: %s)",
    async (conditions, { box, work, s3 }) => {
      s3.writes.conditions = conditions;
      work.write(named("in", ["a"]));
      for (const name of ["early", "late"]) s3.put(`dst/${name}`, name);
      let early = true;
      s3.fault = (request) => {
        // The copy is conditional on the version that was listed.
        if (early && isCopyOf("keep/today/early")(request)) s3.put("dst/early", "written meanwhile");
        if (isCopyOf("keep/today/early")(request)) early = false;
        return false;
      };
      s3.writes.after = (request) => {
        if (isCopyOf("keep/today/late")(request)) s3.put("dst/late", "written meanwhile");
        return false;
      };
      const { code, items } = await box.sync([work.at("in"), ...toDst, ...backup], { env: s3.env });
      expect(code).toBe(1);
      const failed = items.filter(({ status }) => status === "failed");
      expect(failed.map(({ error }) => error?.class)).toEqual(["changed", "changed"]);
      for (const name of ["early", "late"])
        expect(s3.stored(`dst/${name}`)?.content.toString()).toBe("written meanwhile");
      expect(s3.keys).toEqual(["dst/a", "dst/early", "dst/late", "keep/today/late"]);
      expect(s3.stored("keep/today/late")?.content.toString()).toBe("late"); // a surplus copy is harmless
    },
  );

  it("counts objects as removed that others remove meanwhile", async ({ box, work, s3 }) => {
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    s3.fault = (request) => {
      if (isCopyOf("keep/today/old")(request)) s3.remove("dst/old");
      return false;
    };
    const { code, items } = await box.sync([work.at("in"), ...toDst, ...backup], { env: s3.env });
    expect([code, items.at(-1)]).toEqual([0, expect.objectContaining({ outcome: "deleted" })]);
    expect(s3.keys).toEqual(["dst/a"]);
  });

  it.for([
    { options: ["in", "--backup-dir", "kept"], why: /kept cannot keep what is removed from s3:.*: name s3:/ },
    { options: ["in", "--backup-dir", "s3:/bucket/keep"], why: /^drover: --backup-dir: s3:\/ has one slash/ },
    { options: ["in", "--backup-dir", "s3://N/keep"], why: /^drover: --backup-dir: invalid bucket name/ },
    { options: ["in", "--backup-dir", "s3://bucket/dst/keep"], why: /the destination .*lie in each other/ },
    { options: ["in", "--backup-dir", "s3://bucket/"], why: /the destination .*lie in each other/ },
    { options: ["s3://bucket/src/", "--backup-dir", "s3://bucket/src/x"], why: /the source .*lie in each/ },
    { options: ["s3://bucket/a/src/", "--backup-dir", "s3://bucket/a"], why: /the source .*lie in each/ },
    {
      options: ["in", "--backup-dir", "s3://none/keep"],
      why: /^drover: cannot write to .*no such bucket: none/,
    },
    { options: ["in", "--backup-dir", "s3://none/keep", "--dry-run"], why: /no such bucket: none/ },
  ])("refuses $options.1 $options.2 before anything changes", async ({ options, why }, { box, work, s3 }) => {
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    s3.put("src/b", "b");
    const result = await box.run(["sync", ...options, ...toDst], { cwd: work.path, env: s3.env });
    expect([result.code, result.stdout]).toEqual([2, ""]);
    expect(result.stderr).toMatch(why);
    expect(s3.keys).toEqual(["dst/old", "src/b"]);
  });

  it("accepts a similar prefix, and a bucket of the same name on another service", async ({ box, s3 }) => {
    s3.put("keep/src/b", "b");
    s3.put("dst/old", "old");
    const same = ["sync", "s3://bucket/keep/src/", ...toDst, "--backup-dir", "s3://bucket/keep/sr"];
    const beside = await box.run(same, { env: s3.env });
    expect([beside.code, beside.stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual(["dst/b", "keep/sr/old", "keep/src/b"]);
    const other = ["sync", "s3://bucket/keep/src/", ...toDst, "--backup-dir", "s3://bucket/keep"];
    const refused = await box.run(other, { env: s3.env });
    expect(refused.code).toBe(2);
    const elsewhere = ["--s3-dest-endpoint", s3.endpoint.replace("127.0.0.1", "localhost")];
    const apart = await box.run([...other, ...elsewhere], { env: s3.env });
    expect([apart.code, apart.stderr]).toEqual([0, ""]);
  });

  it("is refused for a local destination, and so is a source's directory", async ({ box, work }) => {
    work.write({ "in/a": "a", "out/old": "old" });
    for (const [given, why] of [
      ["s3://bucket/keep", /cannot keep what is removed from .*: name a directory$/m],
      ["in/kept", /the source .* lie in each other/],
    ] as const) {
      const args = ["sync", work.at("in"), ...work.into, "--delete", "--max-delete", "9"];
      const result = await box.run([...args, "--backup-dir", given], { cwd: work.path });
      expect([result.code, result.stderr]).toEqual([2, expect.stringMatching(why)]);
    }
  });
});

describe("a fleet, with --backup-dir s3://", () => {
  it("backs up only below the workers' roots", async ({ box, work, s3 }) => {
    const fleet = await TestFleet.start(box, ["s3://bucket/dst", "s3://bucket/keep"]);
    fleet.env = s3.env;
    try {
      work.write(named("in", ["a"]));
      s3.put("dst/old", "old");
      const args = ["sync", work.at("in"), ...toDst, ...fleet.own];
      const outside = [...args, "--backup-dir", "s3://bucket/keeper"];
      // There is no worker yet that could refuse it.
      const early = box.start(outside, { env: s3.env });
      await early.waitFor("stderr", /no worker of this fleet is alive/);
      await fleet.worker();
      const first = await early.result;
      expect([first.code, first.stdout]).toEqual([
        3,
        expect.stringMatching(/✗ a \(.*s3:\/\/bucket\/keeper is outside of what this worker writes to\)/),
      ]);
      const late = await box.run(outside, { env: s3.env });
      expect([late.code, late.stderr]).toEqual([
        2,
        expect.stringMatching(/no worker writes to s3:.*dst and to s3:.*keeper: choose a --backup-dir below/),
      ]);
      expect(s3.keys).toEqual(["dst/old"]);
      const inside = await box.run([...args, ...backup], { env: s3.env });
      expect([inside.code, inside.stderr]).toEqual([0, ""]);
      expect(s3.keys).toEqual(["dst/a", "keep/today/old"]);
    } finally {
      await fleet.stop();
    }
  });

  it("has another worker remove an object whose worker was killed after the copy", async ({
    box,
    work,
    s3,
  }) => {
    const fleet = await TestFleet.start(box, ["s3://bucket/dst", "s3://bucket/keep"]);
    try {
      work.write(named("in", ["a"]));
      s3.put("dst/old", "old");
      fleet.env = { ...s3.env, DROVER_FAULT: "kept" };
      const doomed = await fleet.worker();
      const started = box.start(["sync", work.at("in"), ...toDst, ...backup, ...fleet.own], { env: s3.env });
      expect((await doomed.result).signal).toBe("SIGKILL");
      expect(s3.keys).toEqual(["dst/a", "dst/old", "keep/today/old"]);
      fleet.env = s3.env;
      await fleet.worker();
      const { code, stderr } = await started.result;
      expect([code, stderr]).toEqual([0, ""]);
      expect(s3.keys).toEqual(["dst/a", "keep/today/old"]);
      expect(s3.requests.filter(isCopyOf("keep/today/old"))).toHaveLength(1);
    } finally {
      await fleet.stop();
    }
  });
});
