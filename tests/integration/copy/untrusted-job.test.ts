import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../helpers/file-worker.js";
import { settledError } from "../helpers/http.js";

describe("a job that somebody wrote into Redis", () => {
  it.for([
    "../outside/x",
    "a/../../outside/x",
    "/outside/x",
    "a//b",
    "a/.drover-AAAAAAAAAAAAAAAA",
    "nul\0",
    "",
  ])("fails and writes nothing if its destination is %j", async (name, { fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file("content"));
    expect(await settledError(fileWorker, name, url)).toMatchObject({ class: "path", attempts: 1 });
    expect(space.files()).toEqual([]);
    expect(existsSync(join(space.root, "../outside"))).toBe(false);
    expect(origin.requestsTo("/file")).toEqual([]);
  });

  it("removes nothing outside of the tree", async ({ fileWorker, space }) => {
    writeFileSync(space.at("kept"), "content");
    const result = await fileWorker.removal("../kept", "1:2:3:4");
    expect(result).toMatchObject({ is: "settled", outcome: { outcome: "failed", error: { class: "path" } } });
    expect(existsSync(space.at("kept"))).toBe(true);
  });
});
