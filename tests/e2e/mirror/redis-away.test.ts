import { describe, expect } from "vitest";
import { Gate, until } from "../../harness/gate.js";
import { itMirrors as it } from "../../harness/mirror.js";

describe("a mirror whose Redis goes away", { timeout: 300_000 }, () => {
  it("goes on when it is back: in the midst of a move and a copy, and between two syncs", async ({
    mirror,
    fleet,
  }) => {
    const { s3 } = mirror;
    const env = { REDIS_URL: fleet.url };
    const isSame = () => JSON.stringify(mirror.tree()) === JSON.stringify(mirror.source());
    const tell = async (name: string, ...events: string[]) => {
      const file = mirror.work.write({ [name]: `${events.join("\n")}\n` });
      expect((await mirror.run(["replay", file], env)).code).toBe(0);
    };
    s3.put("a", "1");
    s3.put("old", "moved");
    const daemon = mirror.start(["daemon", "--concurrency", "4"], env);
    await daemon.waitFor("stdout", /daemon ready/, 60_000);
    await until("the initial sync", isSame, 60_000);

    const gate = new Gate();
    s3.before = ({ key, method }) => (key === "b" && method === "GET" ? gate.pass() : undefined);
    s3.put("b", "2");
    s3.remove("old");
    s3.put("dir/new", "moved");
    await tell(
      "1.ndjson",
      mirror.event("create", { key: "b" }),
      mirror.event("rename", { from: "old", to: "dir/new" }),
    );
    await gate.reached;
    await fleet.redis.kill();
    gate.open();
    await fleet.redis.start();
    await until("the sync that Redis left", isSame, 120_000);

    await fleet.redis.restart();
    s3.put("a", "3");
    await tell("2.ndjson", mirror.event("create", { key: "a" }));
    await until("the sync behind that", isSame, 120_000);
    daemon.kill("SIGTERM");
    expect((await daemon.result).code).toBe(0);
  });
});
