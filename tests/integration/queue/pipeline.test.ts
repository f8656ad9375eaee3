import { pipelined } from "@drover/shared/redis/script";
import { describe, expect } from "vitest";
import { it } from "../../harness/redis.js";

describe("a pipeline", () => {
  it("is sent again when its connection breaks before all answers are there", async ({ redis, keys }) => {
    const id = await redis.client("ID");
    const key = `${keys.namespace}:test`;
    let sent = 0;
    const answers = await pipelined(redis, () => {
      sent++;
      const pipeline = redis.pipeline().set(key, "value");
      if (sent === 1) pipeline.call("CLIENT", "KILL", "ID", String(id), "SKIPME", "no");
      return pipeline.get(key);
    });
    expect(answers).toEqual(["OK", "value"]);
    expect(sent).toBe(2);
  });

  it("is not sent again when Redis refuses one of its commands", async ({ redis, keys }) => {
    const key = `${keys.namespace}:test`;
    let sent = 0;
    const refused = pipelined(redis, () => {
      sent++;
      return redis.pipeline().set(key, "text").hget(key, "field");
    });
    await expect(refused).rejects.toThrow(/WRONGTYPE/);
    expect(sent).toBe(1);
  });
});
