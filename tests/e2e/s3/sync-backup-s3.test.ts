import { describe, expect } from "vitest";
import { type FakeRequest, type FakeS3, sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { TestFleet } from "../../harness/fleet.js";
import { listRuns } from "../../harness/runs.js";

const toDst = ["--artifact-root", "s3://bucket/dst"];
const backup = ["--backup-dir", "s3://bucket/keep"];
const text = (s3: FakeS3, key: string) => s3.stored(key)?.content.toString();
const all = (s3: FakeS3) => Object.fromEntries(s3.keys.map((key) => [key, text(s3, key)]));
const isCopyTo = (key: string) => (request: FakeRequest) =>
  request.method === "PUT" && request.headers["x-amz-copy-source"] !== undefined && request.key === key;

/** Has old versions of two files in the bucket, as another program wrote them, and new ones at the source. */
function prepare(work: Work, s3: FakeS3): void {
  work.write({ "in/a": "a2 is longer", "in/d/b": "b2 is longer" });
  s3.put("dst/a", "a1", { "content-type": "text/x-old", "x-amz-meta-other": "x" });
  s3.put("dst/d/b", "b1");
}

describe("sync --backup-dir s3://", () => {
  it.for(["quoted", "bare", "none"] as const)(
    "keeps what it overwrites as it was, and nothing that is unchanged (conditions: %s)",
    async (conditions, { box, work, s3 }) => {
      s3.writes.conditions = conditions;
      prepare(work, s3);
      const args = ["sync", work.at("in"), ...toDst, ...backup];
      const { code, stderr } = await box.run(args, { env: s3.env });
      expect([code, stderr]).toEqual([0, ""]);
      const now = { "dst/a": "a2 is longer", "dst/d/b": "b2 is longer" };
      expect(all(s3)).toEqual({ ...now, "keep/a": "a1", "keep/d/b": "b1" });
      expect(s3.stored("keep/a")?.headers).toEqual({
        "content-type": "text/x-old",
        "x-amz-meta-other": "x",
      });
      expect((await box.run(args, { env: s3.env })).code).toBe(0);
      expect(text(s3, "keep/a")).toBe("a1");
      // Known from the catalog; what is kept is replaced.
      work.write({ "in/a": "a3 is even longer" });
      expect((await box.run(args, { env: s3.env })).code).toBe(0);
      expect([text(s3, "dst/a"), text(s3, "keep/a")]).toEqual(["a3 is even longer", "a2 is longer"]);
    },
  );

  it.for(["quoted", "none"] as const)(
    "keeps the version that it overwrites, where others write meanwhile (conditions: %s)",
    async (conditions, { box, work, s3 }) => {
      s3.writes.conditions = conditions;
      prepare(work, s3);
      let times = 0;
      s3.writes.after = (request) => {
        if (isCopyTo("keep/a")(request) && times++ === 0) s3.put("dst/a", "written meanwhile");
        return false;
      };
      const args = ["sync", work.at("in"), ...toDst, ...backup];
      const { code, stderr } = await box.run(args, { env: s3.env });
      expect([code, stderr]).toEqual([0, ""]);
      expect([text(s3, "dst/a"), text(s3, "keep/a")]).toEqual(["a2 is longer", "written meanwhile"]);
    },
  );

  it("leaves alone what cannot be kept", async ({ box, work, s3 }) => {
    prepare(work, s3);
    s3.fault = (request, answer) => {
      if (!isCopyTo("keep/a")(request)) return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const { code, items } = await box.sync([work.at("in"), ...toDst, ...backup], { env: s3.env });
    expect(code).toBe(1);
    expect(items.find(({ status }) => status === "failed")?.error?.message).toMatch(
      /cannot write to s3:\/\/bucket\/keep: /,
    );
    expect(all(s3)).toEqual({ "dst/a": "a1", "dst/d/b": "b2 is longer", "keep/d/b": "b1" });
  });

  it.for(["verify", "kept", "kept:2", "commit", "commit:2", "commit:3", "committed", "settled"])(
    "loses nothing if it is killed at %s",
    async (point, { box, work, s3 }) => {
      const own = ["--state-dir", work.at("s")];
      prepare(work, s3);
      const args = ["sync", work.at("in"), ...toDst, ...backup, ...own, "--max-workers", "1"];
      const killed = await box.run(args, { env: { ...s3.env, DROVER_FAULT: point } });
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      for (const [name, old] of [
        ["a", "a1"],
        ["d/b", "b1"],
      ] as const)
        if (text(s3, `dst/${name}`) !== old) expect(text(s3, `keep/${name}`)).toBe(old);
      const [run] = await listRuns(box, own);
      const resumed = await box.run(["resume", run?.run as string, ...own], { env: s3.env });
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      const now = { "dst/a": "a2 is longer", "dst/d/b": "b2 is longer" };
      expect(all(s3)).toEqual({ ...now, "keep/a": "a1", "keep/d/b": "b1" });
    },
  );
});

describe("sync --suffix to S3", () => {
  it("keeps former versions beside the new ones, which --delete leaves", async ({ box, work, s3 }) => {
    prepare(work, s3);
    s3.put("dst/old", "old");
    const args = ["sync", work.at("in"), ...toDst, "--delete", "--suffix", ".bak"];
    const kept = { "dst/a.bak": "a1", "dst/d/b.bak": "b1", "dst/old.bak": "old" };
    for (let times = 0; times < 2; times++) {
      const { code, stderr } = await box.run(args, { env: s3.env });
      expect([code, stderr]).toEqual([0, ""]);
      expect(all(s3)).toEqual({ "dst/a": "a2 is longer", "dst/d/b": "b2 is longer", ...kept });
    }
  });
});

describe("a fleet", () => {
  it("keeps what it overwrites below a worker's root", async ({ box, work, s3 }) => {
    const fleet = await TestFleet.start(box, ["s3://bucket/dst", "s3://bucket/keep"]);
    fleet.env = s3.env;
    try {
      await fleet.worker();
      prepare(work, s3);
      const args = ["sync", work.at("in"), ...toDst, ...fleet.own, ...backup, "--suffix", ".1"];
      const { code, stdout } = await box.run(args, { env: s3.env });
      expect(code, stdout).toBe(0);
      expect([text(s3, "keep/a.1"), text(s3, "keep/d/b.1")]).toEqual(["a1", "b1"]);
    } finally {
      await fleet.stop();
    }
  });
});
